"""What a parse gives. Offsets count Unicode code points of `Parsed.text`."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from drystone.core.errors import DrystoneError

# Stored with every version; raise it when the same bytes would give another text.
PARSER_VERSION = "2"
# Of a page that is drawn: one of A4 as wide as a screen is read at has two million.
MOST_PIXELS = 4_000_000


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


@dataclass(frozen=True)
class Picture:
    """A page that was drawn: three bytes for each pixel, row by row. marks: on how many places a passage was marked."""

    width: int
    height: int
    pixels: bytes
    marks: int = 0

    def png(self) -> bytes:
        """As PNG; of grey levels where there is no colour. Source: PNG (ISO/IEC 15948), sections 5 and 11.2."""
        red, green, blue = (self.pixels[channel::3] for channel in range(3))
        is_grey = red == green == blue
        body, row = (red, self.width) if is_grey else (self.pixels, self.width * 3)
        rows = b"".join(b"\0" + body[start : start + row] for start in range(0, len(body), row))
        head = struct.pack(">2I5B", self.width, self.height, 8, 0 if is_grey else 2, 0, 0, 0)
        parts = _part(b"IHDR", head) + _part(b"IDAT", zlib.compress(rows, 6)) + _part(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + parts


def _part(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
