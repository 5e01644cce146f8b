"""XLSX sheets through calamine: each row becomes a line, each sheet's name a heading."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import groupby, islice
from typing import TYPE_CHECKING

from lxml import etree
from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum

from drystone.adapters.parsing import tables
from drystone.adapters.parsing.containers import Container
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.normalising import Builder
from drystone.adapters.parsing.office import core_title, local_name, parse_xml
from drystone.adapters.parsing.parsed import Parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from python_calamine import CalamineSheet

_LINES_AT_ONCE = 1_000
_Cell = int | float | str | bool | time | date | datetime | timedelta


def read(body: bytes, max_bytes: int) -> Parsed:
    """All sheets in their order, then the comments on cells and the words in charts and drawings."""
    container = Container(body)
    if "xl/workbook.xml" not in container and not any(name.startswith("xl/") for name in container.names()):
        raise failure("document.wrong_type", "The file is no Excel workbook.")
    builder = Builder(max_bytes)
    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(body)) as workbook:
            for sheet in workbook.sheets_metadata:
                if sheet.typ == SheetTypeEnum.WorkSheet:
                    _add_sheet(builder, workbook.get_sheet_by_name(sheet.name))
    except PasswordError as exc:
        raise failure("document.encrypted") from exc
    except CalamineError as exc:
        raise failure("document.corrupt", detail=str(exc)[:300]) from exc
    _add_notes(builder, container)
    return builder.done("calamine", core_title(container))


def _add_sheet(builder: Builder, sheet: CalamineSheet) -> None:
    is_empty = True
    for is_gap, lines in groupby(tables.lines(_rows(sheet)), key=lambda line: line is None):
        if is_gap:
            continue
        if is_empty:
            builder.heading(sheet.name, 1)
            is_empty = False
        rows = (line for line in lines if line)
        builder.block("\n".join(islice(rows, _LINES_AT_ONCE)))
        while several := list(islice(rows, _LINES_AT_ONCE)):
            builder.line("\n".join(several))


def _rows(sheet: CalamineSheet) -> Iterator[Sequence[str]]:
    if sheet.height == 0:
        return
    for row in sheet.iter_rows():
        yield [_written(cell) for cell in row]


def _written(cell: _Cell) -> str:
    """A cell as a person would write it: no `.0`, no midnight, no binary fractions."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, float):
        return f"{cell:.0f}" if cell.is_integer() and abs(cell) < 1e15 else f"{cell:.15g}"
    if isinstance(cell, datetime):
        return str(cell.date()) if cell.time() == time() else str(cell.replace(microsecond=0))
    if isinstance(cell, time):
        return str(cell.replace(microsecond=0))
    return str(cell)


def _add_notes(builder: Builder, container: Container) -> None:
    """Comments, and the text of drawings and charts, which are no cells."""
    for pattern, title in ((r"xl/(threadedComments/|comments)[^/]*\.xml", "Comments"), (_DRAWING, "Drawings")):
        names = sorted(name for name in container.names() if re.fullmatch(pattern, name))
        texts = [text for name in names for text in _texts(parse_xml(container.read(name)))]
        for position, text in enumerate(dict.fromkeys(texts)):
            if position == 0:
                builder.heading(title, 1)
            builder.line(text) if position else builder.block(text)


_DRAWING = r"xl/(drawings/drawing|charts/chart)[^/]*\.xml"
_PARAGRAPHS = frozenset(("comment", "threadedComment", "p"))


def _texts(root: etree._Element) -> Iterator[str]:
    for element in root.iter():
        if local_name(element) in _PARAGRAPHS:
            text = "".join(part.text or "" for part in element.iter() if local_name(part) in ("t", "text"))
            if text.strip():
                yield " ".join(text.split())
