"""Small files of each format, made by code."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping

import pytest
from tests.pdfs import make


def _zipped(parts: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def _docx(body: str, **more: str) -> bytes:
    """A Word file with this body; more parts by their name in word/, without .xml."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{office}/{name}" Target="{name}.xml"/>' for n, name in enumerate(more)
    )
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    return _zipped(
        {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="m" Type="{office}/officeDocument"'
            ' Target="word/document.xml"/></Relationships>',
            "word/_rels/document.xml.rels": f'<Relationships xmlns="{package}">{relations}</Relationships>',
            "word/document.xml": f"<w:document {_WORD}><w:body>{body}</w:body></w:document>",
            **{f"word/{name}.xml": content.replace("{w}", _WORD) for name, content in more.items()},
        }
    )


def _xlsx(sheets: Mapping[str, list[list[str | float | None]]], **more: str) -> bytes:
    """A workbook of sheets of cells; more parts by their name in xl/, without .xml."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    names = list(sheets)
    listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(names, 1))
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{office}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(names) + 1)
    )
    types = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    return _zipped(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{types}.sheet.main+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="m" Type="{office}/officeDocument"'
            ' Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook {main} xmlns:r="{office}"><sheets>{listed}</sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">{relations}</Relationships>',
            **{f"xl/worksheets/sheet{n}.xml": _sheet(main, sheets[name]) for n, name in enumerate(names, 1)},
            **{f"xl/{name}.xml": content for name, content in more.items()},
        }
    )


def _sheet(main: str, rows: list[list[str | float | None]]) -> str:
    lines = []
    for number, row in enumerate(rows, 1):
        cells = "".join(
            f'<c r="{chr(65 + at)}{number}" t="inlineStr"><is><t>{cell}</t></is></c>'
            if isinstance(cell, str)
            else f'<c r="{chr(65 + at)}{number}"><v>{cell}</v></c>'
            for at, cell in enumerate(row)
            if cell is not None
        )
        lines.append(f'<row r="{number}">{cells}</row>')
    return f"<worksheet {main}><sheetData>{''.join(lines)}</sheetData></worksheet>"


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    return make


@pytest.fixture
def make_docx() -> Callable[..., bytes]:
    return _docx


@pytest.fixture
def make_xlsx() -> Callable[..., bytes]:
    return _xlsx


@pytest.fixture
def make_zip() -> Callable[..., bytes]:
    return _zipped
