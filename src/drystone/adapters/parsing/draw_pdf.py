"""A page of a PDF as pixels, through PDFium, with a passage marked on it. Runs in the child only.

Pixels are all that leaves it, never a file: whoever asked makes the picture of them. Scripts of a PDF do not run: this build of
PDFium has no engine for them.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from drystone.adapters.parsing import pdf_places
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.parsed import MOST_PIXELS

# A page is not drawn much larger than it would be printed on paper, nor is one a thin strip.
_LARGEST_SCALE, _LONGEST = 6.0, 4000
_MOST_CHARACTERS = 40_000
# As far as a mark reaches beyond the letters, in points.
_MARGIN = 1.5
# What is marked is multiplied with this colour, as a felt pen does.
_PEN = (255, 231, 130)


def answer(document: int, asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Its size, and three bytes for each pixel: red, green, blue. asked: page (from 0), width in pixels, passage to mark."""
    with os.fdopen(os.dup(document), "rb") as file:
        try:
            pdf = pdfium.PdfDocument(file)
            pdf.init_forms()
            if not 0 <= asked["page"] < len(pdf):
                raise failure("document.corrupt", "The file has no such page.")
            page = pdf[asked["page"]]
            bitmap = page.render(
                scale=_scale(page.get_width(), page.get_height(), asked["width"]),
                fill_color=(255, 255, 255, 255),
                rev_byteorder=True,
            )
        except pdfium.PdfiumError as exc:
            is_locked = getattr(exc, "err_code", None) == raw.FPDF_ERR_PASSWORD
            raise failure("document.encrypted" if is_locked else "document.corrupt") from exc
        pixels = _pixels(bitmap)
        marks = _marks(page, bitmap, asked["passage"]) if asked["passage"] else []
        _mark(pixels, bitmap.width, marks)
        return {"width": bitmap.width, "height": bitmap.height, "marks": len(marks)}, bytes(pixels)


def _scale(width: float, height: float, wanted: int) -> float:
    """How many pixels a point gets. Raises Invalid for a page without a size."""
    if not (0 < width < 1e6 and 0 < height < 1e6):
        raise failure("document.corrupt", "The page has no size.")
    return min(wanted / width, _LONGEST / height, math.sqrt(MOST_PIXELS / (width * height)) * 0.99, _LARGEST_SCALE)


def _pixels(bitmap: Any) -> bytearray:
    """All rows one after the other, without what fills them up."""
    row = bitmap.width * 3
    if bitmap.n_channels != 3:
        raise failure("document.corrupt", "The page cannot be drawn.")
    given = memoryview(bitmap.buffer).cast("B")
    pixels = bytearray()
    for start in range(0, bitmap.height * bitmap.stride, bitmap.stride):
        pixels += given[start : start + row]
    return pixels


def _marks(page: Any, bitmap: Any, passage: str) -> list[pdf_places.Box]:
    """Where a passage stands, in pixels: left, top, right, bottom."""
    text_page = page.get_textpage()
    count = min(raw.FPDFText_CountChars(text_page.raw), _MOST_CHARACTERS)
    letters = [
        chr(code) if (code := raw.FPDFText_GetUnicode(text_page.raw, at)) < 0x110000 else " " for at in range(count)
    ]
    to_pixels = bitmap.get_posconv(page)
    boxes = [
        _box(to_pixels, rectangle)
        for start, end in pdf_places.find(letters, passage)
        for rectangle in _rectangles(text_page.raw, start, end)
    ]
    return pdf_places.joined(boxes)


def _rectangles(handle: Any, start: int, end: int) -> Iterator[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each line of a stretch, in points."""
    sides = [ctypes.c_double() for _ in range(4)]
    for number in range(max(0, raw.FPDFText_CountRects(handle, start, end - start))):
        if raw.FPDFText_GetRect(handle, number, *sides):
            left, top, right, bottom = (side.value for side in sides)
            yield left - _MARGIN, top + _MARGIN, right + _MARGIN, bottom - _MARGIN


def _box(to_pixels: Any, rectangle: tuple[float, float, float, float]) -> pdf_places.Box:
    left, top, right, bottom = rectangle
    corners = to_pixels.to_bitmap(left, top), to_pixels.to_bitmap(right, bottom)
    (x, other_x), (y, other_y) = (sorted(each) for each in zip(*corners, strict=True))
    return round(x), round(y), round(other_x), round(other_y)


def _mark(pixels: bytearray, width: int, boxes: Sequence[pdf_places.Box]) -> None:
    """Draw over each box as a felt pen does; twice is as once."""
    height = len(pixels) // (3 * width)
    columns: dict[int, set[tuple[int, int]]] = {}
    for left, top, right, bottom in boxes:
        for y in range(max(0, top), min(height, bottom)):
            columns.setdefault(y, set()).add((max(0, left), min(width, right)))
    tables = [bytes(value * ink // 255 for value in range(256)) for ink in _PEN]
    for y, stretches in columns.items():
        done = 0
        for left, right in sorted(stretches):
            first, last = (y * width + max(left, done)) * 3, (y * width + right) * 3
            done = max(done, right)
            for channel, table in enumerate(tables):
                if first < last:
                    pixels[first + channel : last : 3] = pixels[first + channel : last : 3].translate(table)
