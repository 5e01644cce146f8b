"""From the bytes of a file to its text, with headings and pages, in a child process with hard limits.

`media_type_of` says what a file is, `Parser` reads it. The readers themselves (`read_*.py`) run only in the child.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drystone.adapters.parsing.formats import ARCHIVE, SUPPORTED, Format, check_readable, media_type_of
from drystone.adapters.parsing.parsed import PARSER_VERSION, Heading, Member, Parsed, Picture

if TYPE_CHECKING:
    from drystone.adapters.parsing.sandbox import Archive, Parser, ParserDied

__all__ = [
    "ARCHIVE",
    "PARSER_VERSION",
    "SUPPORTED",
    "Archive",
    "Format",
    "Heading",
    "Member",
    "Parsed",
    "Parser",
    "ParserDied",
    "Picture",
    "check_readable",
    "media_type_of",
]


def __getattr__(name: str) -> Any:
    # The child imports this package too; without asyncio it is half the size, and a fork costs half the time.
    if name in ("Archive", "Parser", "ParserDied"):
        from drystone.adapters.parsing import sandbox

        return getattr(sandbox, name)
    raise AttributeError(name)
