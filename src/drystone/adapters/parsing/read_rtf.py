"""RTF, read by its control words: paragraphs, headings by style or outline level, tables as rows, notes below.

Written for what Word, LibreOffice, Pages and old editors make; pictures, objects and unknown destinations are left out.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field, replace

from drystone.adapters.parsing import tables
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.normalising import Builder, squeeze
from drystone.adapters.parsing.parsed import Parsed
from drystone.adapters.parsing.titles import sensible_title

_TOKEN = re.compile(
    r"\\(?:([a-zA-Z]{1,32})(-?\d{1,10})? ?|'([0-9a-fA-F]{2})|([^a-zA-Z']))|([{}])|([^\\{}\r\n]+)|[\r\n]+|\\"
)
_MAX_DEPTH = 5_000
_MAX_UNICODE_SKIP = 8
_SKIPPED = frozenset(
    [
        "colortbl", "pict", "objdata", "themedata", "datastore", "header", "headerl", "headerr", "headerf", "footer",
        "footerl", "footerr", "footerf", "listtable", "listoverridetable", "revtbl", "rsidtbl", "generator", "xmlnstbl",
        "author", "operator", "company", "keywords", "doccomm", "subject", "comment", "manager", "category", "hlinkbase",
        "creatim", "revtim", "printim", "buptim", "nonshppict", "fldinst", "datafield", "sp", "bkmkstart", "bkmkend",
        "tc", "tcn", "xe", "atnid", "atnauthor", "atnref", "atrfstart", "atrfend", "ftnsep", "ftnsepc", "aftnsep", "aftnsepc",
        "mmathPr", "latentstyles", "filetbl", "pgptbl", "wgrffmtfilter", "picprop", "passwordhash", "falt", "panose",
    ]
)  # fmt: skip
# Destinations that begin with \* and are read all the same: what is in a drawing is text of the document.
_KEPT = frozenset(("shpinst", "shppict", "shptxt", "footnote", "annotation", "listtext", "pntext", "result", "fldrslt"))
_SIGNS = {
    "par": "\n", "sect": "\n", "line": "\n", "tab": "\t", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’",
    "ldblquote": "“", "rdblquote": "”", "bullet": "•", "emspace": " ", "enspace": " ", "qmspace": " ", "zwnj": "\u200c",
    "zwj": "\u200d", "softline": "\n",
}  # fmt: skip
_CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "big5hkscs",
    161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251",
    222: "cp874", 238: "cp1250",
}  # fmt: skip
_SYMBOL_CHARSET = 2
_HEADING_STYLE = re.compile(r"heading\s*([1-9])\b|berschrift\s*([1-9])\b|titre\s*([1-9])\b", re.IGNORECASE)

# A list whose bullets or numbers somebody, or some program, wrote into the text.
_TYPED_LABEL = re.compile(r"(?:([•–▪·◦])|(\d{1,3}[.)]))\t+")


@dataclass(frozen=True)
class _State:
    """What holds within a group."""

    destination: str = "text"
    encoding: str = "cp1252"
    unicode_skip: int = 1
    is_hidden: bool = False
    is_symbol: bool = False


@dataclass
class _Paragraph:
    """What holds for a paragraph until `pard`."""

    style: int = 0
    outline: int | None = None
    is_row: bool = False


@dataclass
class _Capture:
    """Text that is gathered apart from the document's own: a note, a style's name, the title."""

    kind: str
    depth: int
    pieces: list[str] = field(default_factory=list)
    number: int = 0


def read(body: bytes, max_bytes: int) -> Parsed:
    """The text without headers and footers of pages."""
    if not body.lstrip().startswith(b"{\\rtf"):
        raise failure("document.wrong_type", "The file is no RTF.")
    return _Reader(body.decode("latin-1"), max_bytes).read()


class _Reader:
    """Follows the control words and writes blocks."""

    def __init__(self, source: str, max_bytes: int) -> None:
        self._source = source
        self._builder = Builder(max_bytes)
        self._state = _State()
        self._stack: list[_State] = []
        self._paragraph = _Paragraph()
        self._words: list[str] = []
        self._bytes = bytearray()
        self._captures: list[_Capture] = []
        self._skip = 0
        self._is_starred = False
        self._default_encoding = "cp1252"
        self._fonts: dict[int, tuple[str, bool]] = {}
        self._default_font = 0
        self._font = 0
        self._style_levels: dict[int, int] = {}
        self._cells: list[str] = []
        self._rows: list[list[str]] = []
        self._notes: list[str] = []
        self._note_count = 0
        self._label = ""
        self._is_list = False
        self._title: str | None = None

    def read(self) -> Parsed:
        position, end = 0, len(self._source)
        while position < end:
            found = _TOKEN.match(self._source, position)
            if found is None:
                break
            position = found.end()
            word, number, code, sign, brace, text = found.groups()
            if text is not None:
                self._text(text)
            elif code is not None:
                self._byte(int(code, 16))
            elif brace == "{":
                self._open()
            elif brace == "}":
                self._close()
            elif word == "bin":
                position += max(0, int(number or 0))
                if position > end:  # whatever is behind it, words or a picture, would be passed over
                    raise failure("document.corrupt")
            elif word is not None:
                self._control(word, None if number is None else int(number))
            elif sign is not None:
                self._sign(sign)
        self._end_paragraph()
        self._end_table()
        return self._builder.done("rtf", sensible_title(self._title) or self._builder.top_heading)

    # --- groups

    def _open(self) -> None:
        self._decode_bytes()
        self._skip = 0
        if len(self._stack) > _MAX_DEPTH:
            raise failure("document.too_nested")
        self._stack.append(self._state)

    def _close(self) -> None:
        self._decode_bytes()
        self._skip = 0
        if self._captures and self._captures[-1].depth == len(self._stack):
            self._end_capture(self._captures.pop())
        if self._stack:
            self._state = self._stack.pop()

    def _enter(self, destination: str) -> None:
        self._decode_bytes()
        self._state = replace(self._state, destination=destination)

    def _capture(self, kind: str, number: int = 0) -> None:
        self._enter("text")
        self._captures.append(_Capture(kind, len(self._stack), number=number))

    def _end_capture(self, capture: _Capture) -> None:
        text = "".join(capture.pieces)
        if capture.kind == "title":
            self._title = squeeze(_paired(text))
        elif capture.kind == "style":
            found = _HEADING_STYLE.search(text)
            if found:
                self._style_levels[capture.number] = int(next(filter(None, found.groups())))
        elif capture.kind == "label":
            label = squeeze(_paired(text))
            self._label = label if re.search(r"\w", label) else "-" if label else ""
        elif capture.kind == "box":
            self._notes.append(_paired(text).strip())
        elif capture.kind in ("note", "comment") and (note := squeeze(_paired(text))):
            if capture.kind == "comment":
                self._notes.append(f"Comment: {note}")
                return
            self._note_count += 1
            self._notes.append(f"[{self._note_count}] {note}")
            self._add(f"[{self._note_count}]")

    # --- characters

    def _add(self, text: str) -> None:
        if self._state.destination == "text" and not self._state.is_hidden:
            (self._captures[-1].pieces if self._captures else self._words).append(text)

    def _text(self, text: str) -> None:
        if self._skip:  # what stands for a character given by its number, for old readers
            taken = min(self._skip, len(text))
            self._skip -= taken
            text = text[taken:]
        if self._state.destination != "text" or not text:
            return
        if text.isascii():
            self._decode_bytes()
            self._add(text)
        else:
            self._bytes += text.encode("latin-1")

    def _byte(self, value: int) -> None:
        if self._skip:
            self._skip -= 1
        elif self._state.destination == "text":
            self._bytes.append(value)

    def _decode_bytes(self) -> None:
        if self._bytes:
            if self._state.is_symbol:
                self._add("•" if self._bytes == b"\xb7" else "")
            else:
                self._add(bytes(self._bytes).decode(self._state.encoding, "replace"))
            self._bytes.clear()

    def _sign(self, sign: str) -> None:
        if sign == "*":
            self._is_starred = True
            return
        self._decode_bytes()
        if sign in "\\{}":
            self._add(sign)
        elif sign == "~":
            self._add(" ")
        elif sign == "_":
            self._add("-")
        elif sign in "\r\n":
            self._break()

    # --- control words

    def _control(self, word: str, number: int | None) -> None:
        self._decode_bytes()
        starred, self._is_starred = self._is_starred, False
        if word == "u":
            self._add(chr((number or 0) & 0xFFFF))
            self._skip = self._state.unicode_skip
        elif word in _SKIPPED or (starred and word not in _KEPT):
            self._enter("skipped")
        elif self._state.destination in ("skipped", "fonts", "styles") and word not in ("shptxt", "f", "fcharset", "s"):
            return
        elif word in ("par", "sect", "page"):
            self._break()
        elif word in _SIGNS:
            self._add(_SIGNS[word])
        elif handler := getattr(self, f"_on_{word.lower()}", None):
            handler(number)

    def _break(self) -> None:
        if self._state.destination != "text":
            return
        if self._captures:
            self._add("\n")
        else:
            self._end_paragraph()

    def _on_ansicpg(self, number: int | None) -> None:
        self._default_encoding = _code_page(number) or "cp1252"
        self._state = replace(self._state, encoding=self._default_encoding)

    def _on_mac(self, _: int | None) -> None:
        self._default_encoding = "mac_roman"
        self._state = replace(self._state, encoding="mac_roman")

    def _on_pc(self, _: int | None) -> None:
        self._default_encoding = "cp437"
        self._state = replace(self._state, encoding="cp437")

    def _on_uc(self, number: int | None) -> None:
        self._state = replace(self._state, unicode_skip=_unicode_skip(number or 0))

    def _on_v(self, number: int | None) -> None:
        self._state = replace(self._state, is_hidden=number != 0)

    def _on_deleted(self, number: int | None) -> None:
        self._on_v(number)

    def _on_plain(self, _: int | None) -> None:
        self._state = replace(self._state, is_hidden=False)

    def _on_fonttbl(self, _: int | None) -> None:
        self._enter("fonts")

    def _on_deff(self, number: int | None) -> None:
        self._default_font = number or 0

    def _on_f(self, number: int | None) -> None:
        if self._state.destination == "fonts":
            self._font = number or 0
        elif self._state.destination == "text":
            encoding, is_symbol = self._fonts.get(number or 0, (self._default_encoding, False))
            self._state = replace(self._state, encoding=encoding, is_symbol=is_symbol)

    def _on_fcharset(self, number: int | None) -> None:
        if self._state.destination == "fonts":
            encoding = _CHARSETS.get(number or 0, self._default_encoding) if number else self._default_encoding
            self._fonts[self._font] = (encoding, number == _SYMBOL_CHARSET)

    def _on_stylesheet(self, _: int | None) -> None:
        self._enter("styles")

    def _on_s(self, number: int | None) -> None:
        if self._state.destination == "styles":
            self._capture("style", number or 0)
        elif self._state.destination == "text" and not self._captures:
            self._paragraph.style = number or 0

    def _on_title(self, _: int | None) -> None:
        self._capture("title")

    def _on_footnote(self, _: int | None) -> None:
        self._capture("note")

    def _on_annotation(self, _: int | None) -> None:
        self._capture("comment")

    def _on_listtext(self, _: int | None) -> None:
        self._capture("label")

    def _on_pntext(self, _: int | None) -> None:
        self._capture("label")

    def _on_shptxt(self, _: int | None) -> None:
        self._capture("box")

    def _on_pard(self, _: int | None) -> None:
        if not self._captures:
            self._paragraph = _Paragraph()

    def _on_outlinelevel(self, number: int | None) -> None:
        if not self._captures:
            self._paragraph.outline = number

    def _on_intbl(self, _: int | None) -> None:
        if not self._captures:
            self._paragraph.is_row = True

    def _on_cell(self, _: int | None) -> None:
        self._cells.append(squeeze(self._taken()))

    def _on_nestcell(self, _: int | None) -> None:
        self._add(" ")

    def _on_row(self, _: int | None) -> None:
        if any(self._cells):
            self._rows.append(self._cells)
        self._cells = []

    # --- blocks

    def _taken(self) -> str:
        text = _paired("".join(self._words))
        self._words.clear()
        return text

    def _end_paragraph(self) -> None:
        self._decode_bytes()
        if self._paragraph.is_row:
            self._words.append("\n")  # a cell may hold several
            return
        text = self._taken().strip()
        label, self._label = self._label, ""
        if typed := _TYPED_LABEL.match(text):
            label, text = "-" if typed[2] is None else typed[2], text[typed.end() :]
        if not text:
            self._write_notes()
            return
        self._end_table()
        level = self._level()
        if level and len(text) < 1_000:
            self._builder.heading(f"{label} {text}" if label not in ("", "-") else text, level)
        else:
            write = self._builder.line if label and self._is_list else self._builder.block
            write(f"{label} {text}" if label else text)
        self._is_list = bool(label) and not level
        self._write_notes()

    def _level(self) -> int:
        if self._paragraph.outline is not None:
            return self._paragraph.outline + 1 if 0 <= self._paragraph.outline < 9 else 0
        return self._style_levels.get(self._paragraph.style, 0)

    def _end_table(self) -> None:
        rows, self._rows = self._rows, []
        if self._cells and any(self._cells):
            rows.append(self._cells)
        self._cells = []
        if rows:
            self._builder.block("\n".join(line for line in tables.lines(rows) if line))

    def _write_notes(self) -> None:
        notes, self._notes = self._notes, []
        for note in notes:
            self._builder.block(note)


def _unicode_skip(number: int) -> int:
    """Characters after one given by its number that stand for it. More than a handful is damage, and would swallow words."""
    return number if 0 <= number <= _MAX_UNICODE_SKIP else 1


def _paired(text: str) -> str:
    """The text with characters beyond the first 65 536, which RTF gives in two halves, put together."""
    if not re.search("[\ud800-\udfff]", text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _code_page(number: int | None) -> str | None:
    for name in (
        f"cp{number}",
        {10000: "mac_roman", 65001: "utf-8", 936: "gb18030", 950: "big5hkscs"}.get(number or 0),
    ):
        try:
            return codecs.lookup(name or "").name
        except LookupError:
            continue
    return None
