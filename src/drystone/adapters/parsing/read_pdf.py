"""PDF through PDFium: text with paragraphs, pages, headings, form fields and notes."""

from __future__ import annotations

import contextlib
import ctypes
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from drystone.adapters.parsing import pdf_layout, pdf_running
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.normalising import Builder, squeeze
from drystone.adapters.parsing.parsed import Parsed
from drystone.adapters.parsing.titles import sensible_title

_BOLD_FROM = 600
_NOTES = (
    raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_HIGHLIGHT, raw.FPDF_ANNOT_UNDERLINE,
    raw.FPDF_ANNOT_STRIKEOUT, raw.FPDF_ANNOT_SQUIGGLY, raw.FPDF_ANNOT_CARET, raw.FPDF_ANNOT_SQUARE,
    raw.FPDF_ANNOT_CIRCLE,
)  # fmt: skip
# Left, bottom, right and top of what is shown of a page.
_Box = tuple[float, float, float, float]
_UNCHECKED = frozenset(("", "off"))


def read(body: bytes, max_bytes: int) -> Parsed:
    """All pages in their order. What PDFium cannot open is given to pypdf, which mends more."""
    try:
        pdf = pdfium.PdfDocument(body)
    except pdfium.PdfiumError as exc:
        if getattr(exc, "err_code", None) == raw.FPDF_ERR_PASSWORD or "password" in str(exc).lower():
            raise failure("document.encrypted") from exc
        from drystone.adapters.parsing import read_pdf_again

        return read_pdf_again.read(body, max_bytes)
    with contextlib.suppress(pdfium.PdfiumError):
        pdf.init_forms()
    return _Reader(pdf, max_bytes).read()


class _Reader:
    def __init__(self, pdf: Any, max_bytes: int) -> None:
        self._pdf = pdf
        self._max_bytes = max_bytes
        self._length = 0
        self._widths: list[float] = []

    def read(self) -> Parsed:
        lines: list[list[pdf_layout.Line]] = []
        extras: list[list[str]] = []
        for number in range(len(self._pdf)):
            page_lines, page_extras = self._page(number)
            lines.append(page_lines)
            extras.append(page_extras)
        if not any(lines) or self._is_placeholder(lines):
            extras = [[*extra, *form] for extra, form in zip(extras, [self._form_text()], strict=False)] + extras[1:]
        words = pdf_layout.Words("\n".join(line.text for line in page) for page in lines)
        kept = pdf_running.without_running_lines(lines)
        pages = [pdf_layout.blocks(page, words, width) for page, width in zip(kept, self._widths, strict=True)]
        if not self._mark_by_outline(pages):
            pdf_layout.mark_headings(pages)
        return self._write(pages, extras)

    def _page(self, number: int) -> tuple[list[pdf_layout.Line], list[str]]:
        """The lines of a page, and what is written in its fields and notes. A damaged page is an empty one."""
        self._widths.append(0.0)
        try:
            page = self._pdf[number]
            self._widths[-1] = page.get_width()
            lines = _lines(page)
            extras = list(dict.fromkeys(_annotations(self._pdf, page)))
            is_drawn_over = not lines and not extras and _merge_annotations(page)
            page.close()
            if is_drawn_over:
                lines = _lines(self._pdf[number])
        except pdfium.PdfiumError:
            return [], []
        self._length += sum(len(line.text) for line in lines)
        if self._length > self._max_bytes:
            raise failure("document.text_too_large")
        return lines, extras

    def _write(self, pages: list[list[pdf_layout.Block]], extras: list[list[str]]) -> Parsed:
        builder = Builder(self._max_bytes)
        for blocks, extra in zip(pages, extras, strict=True):
            builder.page()
            for block in blocks:
                if block.level:
                    builder.heading(block.text, block.level)
                else:
                    builder.block(block.text)
            for position, line in enumerate(extra):
                builder.line(line) if position else builder.block(line)
        title = self._pdf.get_metadata_value("Title")
        return builder.done("pdfium", sensible_title(title) or builder.top_heading)

    def _mark_by_outline(self, pages: list[list[pdf_layout.Block]]) -> bool:
        """Mark the blocks that the outline names; False when it names too few to go by."""
        marked = 0
        entries = 0
        with contextlib.suppress(pdfium.PdfiumError):
            for bookmark in self._pdf.get_toc(max_depth=6):
                entries += 1
                title = _comparable(bookmark.get_title() or "")
                dest = bookmark.get_dest()
                number = dest.get_index() if dest else None
                if title and number is not None and 0 <= number < len(pages):
                    marked += _mark(pages[number], title, bookmark.level + 1)
                if entries > 5_000:
                    break
        return marked >= max(2, entries * 0.5)

    def _is_placeholder(self, pages: list[list[pdf_layout.Line]]) -> bool:
        """Whether the pages only ask for another viewer; the form itself is in the file's XFA part."""
        text = " ".join(line.text for page in pages for line in page)
        return (
            self._has_xfa() and len(text) < 2_000 and bool(re.search(r"please wait|adobe (reader|acrobat)", text, re.I))
        )

    def _has_xfa(self) -> bool:
        return self._pdf.get_formtype() in (raw.FORMTYPE_XFA_FULL, raw.FORMTYPE_XFA_FOREGROUND)

    def _form_text(self) -> list[str]:
        if not self._has_xfa():
            return []
        from drystone.adapters.parsing import xfa  # lxml, for one PDF in thousands

        return xfa.texts(dict(_xfa_packets(self._pdf)))


def _comparable(text: str) -> str:
    return re.sub(r"\W+", "", text).lower()


def _mark(blocks: list[pdf_layout.Block], title: str, level: int) -> bool:
    for block in blocks:
        if not block.level and len(block.text) < 300 and _comparable(block.text) == title:
            block.level = min(level, 6)
            block.text = squeeze(block.text)
            return True
    return False


def _lines(page: Any) -> list[pdf_layout.Line]:
    """The lines PDFium made out, with their places."""
    text_page = page.get_textpage()
    text = text_page.get_text_range(errors="ignore")
    handle = text_page.raw
    box = page.get_bbox()
    lines = []
    start = 0
    for part in re.split(r"\r\n|\r|\n", text):
        if stripped := part.strip():
            lead = start + _utf16_length(part[: len(part) - len(part.lstrip())])
            lines += _runs(handle, stripped, lead, box)
        start += _utf16_length(part) + 2
    text_page.close()
    return lines


def _runs(handle: Any, text: str, start: int, box: _Box) -> list[pdf_layout.Line]:
    """A line of PDFium's as its stretches on one height.

    PDFium at times takes two lines for one when the second begins to the right of where the first one ends.
    """
    length = _utf16_length(text)
    begin, end = _place(handle, start), _place(handle, start + length - 1)
    if abs(begin.y - end.y) >= 0.6 * min(begin.size, end.size) and length == len(text):
        cuts = _jumps(handle, text, start)
        if 0 < len(cuts) < 4:
            edges = [0, *cuts, length]
            parts = [(text[a:b].rstrip(), start + a) for a, b in pairwise(edges)]
            return [run for part, at in parts for run in _runs(handle, part, at, box)]
    last = raw.FPDFText_GetCharIndexFromTextIndex(handle, start + length - 1)
    return [_line(handle, squeeze(text), begin, end, last, box)]


def _jumps(handle: Any, text: str, start: int) -> list[int]:
    """Where the height changes within a text."""
    cuts = []
    before = _place(handle, start)
    for at, char in enumerate(text):
        if not char.isspace():
            place = _place(handle, start + at)
            if abs(place.y - before.y) >= 0.6 * max(place.size, before.size):
                cuts.append(at)
            before = place
    return cuts


class _Place(NamedTuple):
    """Where a character stands, as if its line ran from left to right, and its size in points."""

    x: float
    y: float
    size: float
    turns: int


def _place(handle: Any, text_index: int) -> _Place:
    index = raw.FPDFText_GetCharIndexFromTextIndex(handle, text_index)
    raw.FPDFText_GetCharOrigin(handle, index, _X, _Y)
    size, turns = float(raw.FPDFText_GetFontSize(handle, index)), 0
    # Many programs draw at size 1 and enlarge it; others lay the page on its side and its text upright.
    if raw.FPDFText_GetMatrix(handle, index, _MATRIX):
        size *= math.hypot(_MATRIX.c, _MATRIX.d)
        turns = round(math.atan2(_MATRIX.b, _MATRIX.a) / (math.pi / 2)) % 4
    return _Place(*_turned(_X.value, _Y.value, turns), max(size, 1.0), turns)


def _turned(x: float, y: float, turns: int) -> tuple[float, float]:
    return ((x, y), (y, -x), (-x, -y), (-y, x))[turns]


# What PDFium's calls write to. One thread, one child: allocating them for each character costs more than the call.
_X, _Y, _LEFT, _RIGHT, _BOTTOM, _TOP = (ctypes.c_double() for _ in range(6))
_MATRIX = raw.FS_MATRIX()


def _merge_annotations(page: Any) -> bool:
    """Make stamps and the like part of the page, in memory; whether there were any. Seen once it is loaded anew."""
    return bool(
        raw.FPDFPage_GetAnnotCount(page.raw)
        and raw.FPDFPage_Flatten(page.raw, raw.FLAT_NORMALDISPLAY) == raw.FLATTEN_SUCCESS
    )


def _line(handle: Any, text: str, begin: _Place, end: _Place, last: int, box: _Box) -> pdf_layout.Line:
    """A line of text between two places; `last` is the index of its last character."""
    raw.FPDFText_GetCharBox(handle, last, _LEFT, _RIGHT, _BOTTOM, _TOP)
    corners = (_turned(_LEFT.value, _BOTTOM.value, end.turns), _turned(_RIGHT.value, _TOP.value, end.turns))
    right = max(begin.x, *(x for x, _ in corners))
    is_bold = raw.FPDFText_GetFontWeight(handle, last) >= _BOLD_FROM
    return pdf_layout.Line(text, begin.x, right, begin.y, max(begin.size, end.size), is_bold, _edge(begin, box))


def _edge(place: _Place, box: _Box) -> float:
    """How far a place is from the upper or lower edge of its page, as a part of the page's height."""
    low, high = sorted(_turned(x, y, place.turns)[1] for x, y in (box[:2], box[2:]))
    return max(0.0, min(place.y - low, high - place.y) / (high - low)) if high > low else 0.5


def _utf16_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _annotations(pdf: Any, page: Any) -> Iterator[str]:
    """What was filled into fields, as `Name: value`, and what notes say."""
    for index in range(raw.FPDFPage_GetAnnotCount(page.raw)):
        annotation = raw.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        if kind == raw.FPDF_ANNOT_WIDGET and pdf.formenv:
            yield from _field(pdf.formenv.raw, annotation)
        elif kind in _NOTES:
            note = _string(raw.FPDFAnnot_GetStringValue, annotation, b"Contents")
            if note.strip():
                yield note
        raw.FPDFPage_CloseAnnot(annotation)


def _field(form: Any, annotation: Any) -> Iterator[str]:
    if raw.FPDFAnnot_GetFormFieldType(form, annotation) == raw.FPDF_FORMFIELD_PUSHBUTTON:
        return
    value = _string(raw.FPDFAnnot_GetFormFieldValue, form, annotation).strip()
    if value.lower() in _UNCHECKED:
        return
    name = _string(raw.FPDFAnnot_GetFormFieldAlternateName, form, annotation) or _string(
        raw.FPDFAnnot_GetFormFieldName, form, annotation
    )
    yield f"{squeeze(name)}: {squeeze(value)}" if name.strip() else squeeze(value)


def _string(getter: Any, *args: Any) -> str:
    """A string from one of PDFium's calls that first tell its length in bytes."""
    length = getter(*args, None, 0)
    if length <= 2:
        return ""
    buffer = ctypes.create_string_buffer(length)
    getter(*args, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), length)
    return buffer.raw[: length - 2].decode("utf-16-le", "replace")


def _xfa_packets(pdf: Any) -> Iterator[tuple[str, bytes]]:
    for index in range(max(0, raw.FPDF_GetXFAPacketCount(pdf.raw))):
        length = raw.FPDF_GetXFAPacketName(pdf.raw, index, None, 0)
        name = ctypes.create_string_buffer(max(length, 1))
        raw.FPDF_GetXFAPacketName(pdf.raw, index, name, length)
        size = ctypes.c_ulong()
        raw.FPDF_GetXFAPacketContent(pdf.raw, index, None, 0, size)
        content = ctypes.create_string_buffer(max(size.value, 1))
        raw.FPDF_GetXFAPacketContent(pdf.raw, index, content, size.value, size)
        yield name.value.decode("utf-8", "replace"), content.raw[: size.value]
