"""Text as it is stored: NFC, no control, bidi-override, zero-width or tag characters, tidy white space.

`Builder` puts a text together from blocks that are each normalised on their own; since blocks are parted by
newlines, with which nothing composes, the offsets it notes are offsets of the final text.
"""

from __future__ import annotations

import re
import unicodedata

from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.parsed import PARSER_VERSION, Heading, Parsed
from drystone.adapters.parsing.titles import top_heading

# Scripts in which a joiner between two letters changes how the word is written (Arabic to Sinhala, Khmer, Mongolian),
# and the signs that emoji are joined from. Between other characters a joiner only hides something.
_JOINED = "\u0600-\u0dff\u1780-\u18af\u200d\u2600-\u27bf\ufb50-\ufdff\ufe0f\ufe70-\ufefc\U0001f000-\U0001faff"
_STRAY_JOINER = re.compile(f"(?<![{_JOINED}])[\u200c\u200d]|[\u200c\u200d](?![{_JOINED}])")

_REMOVED = [
    *range(0x09), 0x0E, 0x0F, *range(0x10, 0x20), *range(0x7F, 0x85), *range(0x86, 0xA0),  # controls
    0x00AD,  # soft hyphen: a place where a line might have been broken
    0x034F, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE0E), 0xFEFF, *range(0xFFF0, 0xFFFC), 0xFFFE, 0xFFFF,
    *range(0xD800, 0xE000),  # lone surrogates cannot be stored
    *range(0xE0000, 0xE0200),  # tags and variation selectors: invisible text within text
]  # fmt: skip
_NEWLINES = [0x0B, 0x0C, 0x85, 0x2028, 0x2029]
_SPACES = [0x00A0, 0x2007, 0x202F]
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
_MAP: dict[int, str | None] = {
    **dict.fromkeys(_REMOVED),
    **dict.fromkeys(_NEWLINES, "\n"),
    **dict.fromkeys(_SPACES, " "),
    **_LIGATURES,
}
# Up to U+FFFF the engine looks a character up in a bitmap; one character beyond would make it walk a list instead.
_SUSPECT = re.compile(f"[{''.join(re.escape(chr(code)) for code in sorted(_MAP) if code < 0x10000)}]")
_SUSPECT_ASCII = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SUSPECT_BEYOND = re.compile("[\U000e0000-\U000e01ff]")
_MANY_NEWLINES = re.compile(r"\n{4,}")
_HAS_WORD = re.compile(r"[^\W_]")


def normalise(text: str) -> str:
    """The text as it is stored; at most two blank lines in a row, no space at a line's end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        text = _SUSPECT_ASCII.sub(_replacement, text)
    else:
        text = _SUSPECT_BEYOND.sub("", _SUSPECT.sub(_replacement, _STRAY_JOINER.sub("", text)))
        text = unicodedata.normalize("NFC", text)
    text = "\n".join([line.rstrip() for line in text.split("\n")])
    return _MANY_NEWLINES.sub("\n\n\n", text).rstrip()


def _replacement(match: re.Match[str]) -> str:
    return _MAP[ord(match[0])] or ""


def squeeze(text: str) -> str:
    """The text on one line, each run of white space one space."""
    return " ".join(text.split())


class Builder:
    """Puts a document's text together and notes where headings and pages begin.

    Raises `document.text_too_large` as soon as the text is longer than max_bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pieces: list[str] = []
        self._length = 0
        self._page_starts: list[int] = []
        self._waiting_pages = 0
        self._headings: list[Heading] = []

    def block(self, text: str) -> None:
        """Add a paragraph, a blank line after what is there."""
        self._add(normalise(text).lstrip("\n"), "\n\n")

    def line(self, text: str) -> None:
        """Add a line, or several in one text, right below what is there."""
        self._add(normalise(text).lstrip("\n"), "\n")

    def heading(self, text: str, level: int) -> None:
        """Add a paragraph that is a heading."""
        title = squeeze(normalise(text))
        if title:
            start = self._add(title, "\n\n")
            self._headings.append(Heading(start, start + len(title), level, title))

    def page(self) -> None:
        """What is added from now on stands on a new page."""
        self._waiting_pages += 1

    @property
    def top_heading(self) -> str | None:
        """The first heading of the highest level so far, to be the title of a document that has none."""
        return top_heading(self._headings)

    def done(
        self, parser: str, title: str | None = None, *, language: str | None = None, has_slides: bool = False
    ) -> Parsed:
        """The document. Raises `document.no_text` when it holds neither a letter nor a digit."""
        text = "".join(self._pieces)
        self._page_starts += [len(text)] * self._waiting_pages
        require_words(text)
        require_size(text, self._max_bytes)
        name = f"{parser}-{PARSER_VERSION}"
        page_starts, headings = tuple(self._page_starts), tuple(self._headings)
        return Parsed(text, page_starts, headings, tidy_title(title), name, language, has_slides)

    def _add(self, text: str, gap: str) -> int:
        if not text:
            return self._length
        if self._length:
            self._pieces.append(gap)
            self._length += len(gap)
        start = self._length
        self._page_starts += [start] * self._waiting_pages
        self._waiting_pages = 0
        self._pieces.append(text)
        self._length += len(text)
        if self._length > self._max_bytes:
            raise failure("document.text_too_large")
        return start


def require_words(text: str) -> None:
    """Raises `document.no_text` when there is neither a letter nor a digit to search for."""
    if not _HAS_WORD.search(text):
        raise failure("document.no_text")


def require_size(text: str, max_bytes: int) -> None:
    """Raises `document.text_too_large` when the text takes more than max_bytes in UTF-8."""
    if len(text) * 4 > max_bytes and len(text.encode()) > max_bytes:
        raise failure("document.text_too_large")


def tidy_title(title: str | None) -> str | None:
    """A title on one line, cut at 300 characters; None when there is nothing to read in it."""
    tidy = squeeze(normalise(title or ""))[:300].rstrip()
    return tidy if _HAS_WORD.search(tidy) else None
