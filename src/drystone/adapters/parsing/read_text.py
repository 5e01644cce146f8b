"""Plain text."""

from __future__ import annotations

from drystone.adapters.parsing.decoding import decode
from drystone.adapters.parsing.normalising import normalise, require_size, require_words
from drystone.adapters.parsing.parsed import PARSER_VERSION, Parsed


def read(body: bytes, max_bytes: int) -> Parsed:
    """The text as it is, decoded and normalised."""
    text = normalise(decode(body)).lstrip("\n")
    require_words(text)
    require_size(text, max_bytes)
    return Parsed(text, (), (), None, f"text-{PARSER_VERSION}")
