"""XML from strangers before a parser sees it: decoded by us, without a declaration, refused if it declares entities."""

from __future__ import annotations

import re

from drystone.adapters.parsing.decoding import decode
from drystone.adapters.parsing.failures import failure

_SAID = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)")
_DECLARATION = re.compile(r"^\s*<\?xml\b[^>]{0,500}\?>")
_ENTITY = re.compile(r"<!ENTITY", re.IGNORECASE)
# What XML 1.0 forbids; some programs write it all the same.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def utf8_source(body: bytes) -> bytes:
    """The document in UTF-8. Raises `document.unsafe_xml` when it declares an entity, in whatever encoding."""
    said = _SAID.search(body[:1024])
    text = _FORBIDDEN.sub("", _DECLARATION.sub("", decode(body, said[1].decode("ascii") if said else None)))
    if _ENTITY.search(text):
        raise failure("document.unsafe_xml")
    return text.lstrip().encode("utf-8", "replace")
