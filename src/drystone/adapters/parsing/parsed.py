"""What a parse gives. Offsets count Unicode code points of `Parsed.text`."""

from __future__ import annotations

from dataclasses import dataclass

from drystone.core.errors import DrystoneError

# Stored with every version; raise it when the same bytes would give another text.
PARSER_VERSION = "2"


@dataclass(frozen=True)
class Heading:
    """A heading that stands in the text as text[start:end]; level 1 is the highest."""

    start: int
    end: int
    level: int
    title: str


@dataclass(frozen=True)
class Parsed:
    """A document's text and where its parts begin.

    page_starts: where each page begins, empty if the format has no pages. An empty page begins where the next one does.
    parser: the reader and its version, such as "pdfium-1".
    language: of the text, as a BCP 47 tag such as "de"; None when nobody can be sure. A reader gives what the file declares,
    which holds where the text itself does not tell.
    has_slides: whether its pages are slides, each a thing of its own.
    """

    text: str
    page_starts: tuple[int, ...]
    headings: tuple[Heading, ...]
    title: str | None
    parser: str
    language: str | None = None
    has_slides: bool = False


@dataclass(frozen=True)
class Member:
    """A file in an archive. index: its place there. sha256: of its bytes, as the child says.

    refused: why it cannot be taken, if so; then it must not be asked for.
    """

    index: int
    path: str
    size_bytes: int
    sha256: bytes
    refused: DrystoneError | None
