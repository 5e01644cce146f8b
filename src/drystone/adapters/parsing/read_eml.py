"""Messages: who wrote to whom, when and about what, then the words; attachments by name, forwarded messages in place.

The headers are decoded here and not by the newer interface of `email`, which refuses what real programs write and
takes quadratic time on what they should not.
"""

from __future__ import annotations

import email
import email.policy
import email.utils
import re
from collections.abc import Iterator
from email.header import decode_header
from email.message import Message
from typing import TypeAlias

from drystone.adapters.parsing import read_html
from drystone.adapters.parsing.decoding import decode
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.normalising import Builder, squeeze
from drystone.adapters.parsing.parsed import Parsed
from drystone.core.errors import Invalid

_SHOWN = ("From", "To", "Cc", "Date")
_MAX_HEADER_CHARS = 20_000
_MAX_FORWARDED = 20
_ENCODED_WORD = re.compile(r"=\?[^?\s]{1,60}\?[bBqQ]\?")
_HAS_WORD = re.compile(r"[^\W_]")
_IS_HEADER = re.compile(rb"\A(?:\s*From [^\n]*\n)?\s*[!-9;-~]{1,80}[ \t]*:")

_Mail: TypeAlias = "Message[str, str]"  # not to be subscripted at run time in 3.11


def read(body: bytes, max_bytes: int) -> Parsed:
    """The message; of several forms of the same words the plain one."""
    if not _IS_HEADER.match(body):
        raise failure("document.wrong_type", "The file is no message: it does not begin with headers.")
    message: _Mail = email.message_from_bytes(body, policy=email.policy.compat32)
    builder = Builder(max_bytes)
    _Writer(builder).write(message)
    return builder.done("eml", _header(message, "Subject"))


class _Writer:
    """Writes a message and those within it."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._forwarded = 0

    def write(self, message: _Mail, level: int = 1) -> None:
        """Subject, headers, words, names of attachments."""
        self._builder.heading(_header(message, "Subject"), level)
        lines = [f"{name}: {value}" for name in _SHOWN if (value := _header(message, name))]
        self._builder.block("\n".join(lines))
        attached: list[str] = []
        for part in _parts(message):
            if part.get_content_type() == "message/rfc822":
                self._forward(part, level)
            elif _is_read(part):
                self._words(part)
            elif name := _file_name(part):
                attached.append(name)
        if attached:
            self._builder.block("Attachments: " + ", ".join(attached))

    def _forward(self, part: _Mail, level: int) -> None:
        self._forwarded += 1
        inner = part.get_payload()
        if self._forwarded > _MAX_FORWARDED:
            raise failure("document.too_nested", "The message holds too many messages.")
        if isinstance(inner, list) and inner and isinstance(inner[0], Message):
            self.write(inner[0], min(level + 1, 6))

    def _words(self, part: _Mail) -> None:
        text = _text(part)
        if part.get_content_type() == "text/html":
            try:
                read_html.add(self._builder, text)
            except Invalid as exc:
                if exc.code != "document.no_text":
                    raise
        else:
            self._builder.block(_unfolded(text) if _parameter(part, "format").lower() == "flowed" else text)


def _parts(message: _Mail) -> Iterator[_Mail]:
    """The parts that are not parts of others, in order; of alternatives only the one to be read."""
    if not message.is_multipart() or message.get_content_type() == "message/rfc822":
        yield message
        return
    children = [child for child in message.get_payload() if isinstance(child, Message)]
    if message.get_content_type() == "multipart/alternative":
        yield from _parts_of_best(children)
        return
    for child in children:
        yield from _parts(child)


def _parts_of_best(children: list[_Mail]) -> Iterator[_Mail]:
    forms = [list(_parts(child)) for child in children]
    for kind in ("text/plain", "text/html"):
        for form in forms:
            texts = [part for part in form if part.get_content_type() == kind and _is_read(part)]
            if texts and any(_HAS_WORD.search(_text(part)) for part in texts):
                yield from form
                return
    for form in forms:
        yield from form


def _is_read(part: _Mail) -> bool:
    """Whether a part is words of the message itself, not a file that came with it."""
    is_text = part.get_content_type() in ("text/plain", "text/html", "text/enriched")
    return is_text and str(part.get("Content-Disposition") or "").partition(";")[0].strip().lower() != "attachment"


def _text(part: _Mail) -> str:
    body = part.get_payload(decode=True)
    return decode(body, _parameter(part, "charset") or None) if isinstance(body, bytes) else ""


def _unfolded(text: str) -> str:
    """Lines that a mail program broke, joined again (RFC 3676)."""
    return re.sub(r"(?<!^-- )(?<= )\r?\n(?!>)", "", text, flags=re.MULTILINE)


def _header(message: _Mail, name: str) -> str:
    """A header's words, decoded, on one line; dates so that they can be read and sorted."""
    values = (str(value) for key, value in message.raw_items() if key.lower() == name.lower())
    raw = ", ".join(values)[:_MAX_HEADER_CHARS]
    if name == "Date":
        try:
            return f"{email.utils.parsedate_to_datetime(raw):%Y-%m-%d %H:%M %z}".strip()
        except (ValueError, TypeError, OverflowError):
            pass
    return squeeze(_decoded(raw))


def _decoded(raw: str) -> str:
    raw = decode(raw.encode("utf-8", "surrogateescape")) if _has_bytes(raw) else raw
    if not _ENCODED_WORD.search(raw):
        return raw
    try:
        pieces = decode_header(raw)
    except ValueError:
        return raw
    return "".join(piece if isinstance(piece, str) else decode(piece, charset) for piece, charset in pieces)


def _has_bytes(raw: str) -> bool:
    """Whether a header holds bytes beyond ASCII, which `email` keeps as surrogates."""
    return any("\udc80" <= char <= "\udcff" for char in raw)


def _file_name(part: _Mail) -> str:
    try:
        name = part.get_filename()
    except (ValueError, LookupError, TypeError):
        name = None
    return squeeze(_decoded(str(name or "")))[:200]


def _parameter(part: _Mail, name: str) -> str:
    try:
        value = part.get_param(name)
    except (ValueError, LookupError, TypeError):
        return ""
    return str(value[2] if isinstance(value, tuple) else value or "")
