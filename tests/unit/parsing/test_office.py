"""DOCX and XLSX, and containers that are not what they claim."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time

import docx
import pytest

from drystone.adapters.parsing import Parsed, containers, read_docx, read_xlsx
from drystone.adapters.parsing.read_xlsx import _written
from drystone.core.errors import Invalid

Make = Callable[..., bytes]


def _docx(body: bytes) -> Parsed:
    return read_docx.read(body, 1_000_000)


def _xlsx(body: bytes) -> Parsed:
    return read_xlsx.read(body, 1_000_000)


def _code(read: Callable[[bytes], Parsed], body: bytes) -> str:
    with pytest.raises(Invalid) as caught:
        read(body)
    return caught.value.code


def test_a_word_file_of_python_docx_reads_in_order() -> None:
    document = docx.Document()
    document.core_properties.title = "Field walls"
    document.add_heading("Walls", 1)
    document.add_paragraph("First paragraph.")
    table = document.add_table(rows=3, cols=3)
    words = iter(("Wall", "cm", "Stone", "North", "120", "gneiss", "South", "90", "schist"))
    for cell in (cell for row in table.rows for cell in row.cells):
        cell.text = next(words)
    document.add_heading("Tools", 2)
    document.add_paragraph("hammer", style="List Bullet")
    document.add_paragraph("string line", style="List Bullet")
    document.add_paragraph("Last.")
    out = io.BytesIO()
    document.save(out)

    parsed = _docx(out.getvalue())

    assert parsed.text == (
        "Walls\n\nFirst paragraph.\n\nWall: North | cm: 120 | Stone: gneiss\nWall: South | cm: 90 | Stone: schist\n\n"
        "Tools\n\n- hammer\n- string line\n\nLast."
    )
    assert [(h.level, parsed.text[h.start : h.end]) for h in parsed.headings] == [(1, "Walls"), (2, "Tools")]
    assert parsed.title == "Field walls"


def _p(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def test_what_word_shows_is_read_and_what_it_hides_is_not(make_docx: Make) -> None:
    body = (
        "<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del>"
        "<w:r><w:tab/><w:t>tab</w:t><w:br/><w:t>line</w:t></w:r><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
        "<w:hyperlink><w:r><w:t> link</w:t></w:r></w:hyperlink><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
        f"<w:sdt><w:sdtContent>{_p('control')}</w:sdtContent></w:sdt>"
        "<w:p><w:r><w:t>anchor</w:t><w:txbxContent>" + _p("in a box") + "</w:txbxContent></w:r></w:p>"
    )

    assert _docx(make_docx(body)).text == "new\ttab\nline link\n\ncontrol\n\nanchor\n\nin a box"


def test_a_note_stands_below_what_cites_it(make_docx: Make) -> None:
    body = '<w:p><w:r><w:t>Claim</w:t><w:footnoteReference w:id="2"/><w:t>.</w:t></w:r></w:p>' + _p("Next.")
    notes = f'<w:footnotes {{w}}><w:footnote w:id="0" w:type="separator">{_p("-")}</w:footnote>'
    notes += f'<w:footnote w:id="2">{_p("Proof.")}</w:footnote></w:footnotes>'

    assert _docx(make_docx(body, footnotes=notes)).text == "Claim[1].\n\n[1] Proof.\n\nNext."


def test_headings_and_their_numbers_come_from_styles(make_docx: Make) -> None:
    styles = (
        "<w:styles {w}><w:style w:styleId='h1'><w:name w:val='heading 1'/></w:style>"
        "<w:style w:styleId='own'><w:name w:val='Chapter'/><w:basedOn w:val='h1'/><w:pPr><w:numPr><w:numId w:val='7'/>"
        "</w:numPr></w:pPr></w:style><w:style w:styleId='T'><w:name w:val='Title'/></w:style></w:styles>"
    )
    numbering = (
        "<w:numbering {w}><w:abstractNum w:abstractNumId='3'><w:lvl w:ilvl='0'><w:start w:val='1'/><w:numFmt"
        " w:val='upperRoman'/><w:lvlText w:val='%1.'/></w:lvl><w:lvl w:ilvl='1'><w:numFmt w:val='lowerLetter'/>"
        "<w:lvlText w:val='%1.%2)'/></w:lvl></w:abstractNum><w:num w:numId='7'><w:abstractNumId w:val='3'/></w:num>"
        "</w:numbering>"
    )
    item = "<w:numPr><w:ilvl w:val='1'/><w:numId w:val='7'/></w:numPr>"
    body = (
        _p("The Book", "<w:pStyle w:val='T'/>")
        + _p("Stones", "<w:pStyle w:val='own'/>")
        + _p("granite", item)
        + _p("slate", item)
        + _p("Walls", "<w:pStyle w:val='own'/>")
        + _p("Outlined", "<w:outlineLvl w:val='2'/>")
        + _p("text")
    )

    parsed = _docx(make_docx(body, styles=styles, numbering=numbering))

    assert parsed.text == "The Book\n\nI. Stones\n\nI.a) granite\nI.b) slate\n\nII. Walls\n\nOutlined\n\ntext"
    assert [(h.level, h.title) for h in parsed.headings] == [(1, "I. Stones"), (1, "II. Walls"), (3, "Outlined")]
    assert parsed.title == "The Book"


def test_a_strict_file_and_one_without_relations_read_like_others(make_zip: Make) -> None:
    strict = "http://purl.oclc.org/ooxml/wordprocessingml/main"
    document = f'<d:document xmlns:d="{strict}"><d:body><d:p><d:r><d:t>strict</d:t></d:r></d:p></d:body></d:document>'

    assert _docx(make_zip({"[Content_Types].xml": "<Types/>", "word/document.xml": document})).text == "strict"


def test_sheets_are_headings_over_readable_rows(make_xlsx: Make) -> None:
    body = make_xlsx(
        {
            "Walls": [["Wall", "cm"], ["North", 120.0], [None, None], ["Note"], ["South", 90.25]],
            "Empty": [],
            "More": [["just a cell"]],
        }
    )

    parsed = _xlsx(body)

    assert parsed.text == "Walls\n\nWall: North | cm: 120\n\nNote\nSouth | 90.25\n\nMore\n\njust a cell"
    assert [h.title for h in parsed.headings] == ["Walls", "More"]


def test_comments_on_cells_are_text_too(make_xlsx: Make) -> None:
    comments = "<comments><commentList><comment><text><r><t>Check </t></r><r><t>this</t></r></text></comment></commentList></comments>"

    assert _xlsx(make_xlsx({"S": [["x"]]}, comments1=comments)).text == "S\n\nx\n\nComments\n\nCheck this"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (3.0, "3"),
        (0.1 + 0.2, "0.3"),
        (True, "TRUE"),
        (datetime.fromisoformat("2026-03-01"), "2026-03-01"),
        (datetime.fromisoformat("2026-03-01 12:30"), "2026-03-01 12:30:00"),
        (date(2026, 3, 1), "2026-03-01"),
        (time(9, 5), "09:05:00"),
        (1e20, "1e+20"),
    ],
)
def test_cells_are_written_as_people_write(cell: object, expected: str) -> None:
    assert _written(cell) == expected  # type: ignore[arg-type]  # one case of each type


@pytest.mark.parametrize("read", [_docx, _xlsx])
def test_an_empty_file_has_no_text(read: Callable[[bytes], Parsed], make_docx: Make, make_xlsx: Make) -> None:
    assert _code(read, make_docx("") if read is _docx else make_xlsx({"S": [[None]]})) == "document.no_text"


def test_the_one_under_the_others_name_is_of_the_wrong_type(make_docx: Make, make_xlsx: Make) -> None:
    assert _code(_docx, make_xlsx({"S": [["x"]]})) == "document.wrong_type"
    assert _code(_xlsx, make_docx(_p("x"))) == "document.wrong_type"


def test_an_old_container_is_encrypted_or_an_old_file() -> None:
    mark = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)

    assert _code(_docx, mark + "EncryptedPackage".encode("utf-16-le")) == "document.encrypted"
    assert _code(_xlsx, mark + "ENCRYPTIONINFO".encode("utf-16-le")) == "document.encrypted"
    assert _code(_docx, mark + "WordDocument".encode("utf-16-le")) == "document.legacy_office"


def test_damaged_files_are_corrupt(make_docx: Make, make_zip: Make) -> None:
    whole = make_docx(_p("some words that are long enough"))

    assert _code(_docx, whole[: len(whole) // 2]) == "document.corrupt"
    assert _code(_docx, make_zip({"word/document.xml": "<w:document"})) == "document.corrupt"
    assert _code(_docx, whole.replace(b"PK\x01\x02", b"PK\x01\x09")) == "document.corrupt"


def test_a_bomb_is_stopped_by_counting_what_comes_out(make_zip: Make) -> None:
    bomb = make_zip({"word/document.xml": b" " * 30_000_000})
    lying = bomb.replace((30_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
    many = make_zip({f"word/{n}.xml": "x" for n in range(2_001)})
    wide = make_zip({f"word/{n}.bin": bytes(3_000_000) for n in range(70)})

    assert _code(_docx, bomb) == "document.unsafe_archive"
    assert _code(_docx, lying) in ("document.unsafe_archive", "document.corrupt")
    assert _code(_docx, many) == "document.unsafe_archive"
    assert _code(_docx, wide) == "document.unsafe_archive"


def test_an_archive_within_or_a_path_out_is_refused(make_zip: Make) -> None:
    document = {"word/document.xml": "<document/>"}

    assert _code(_docx, make_zip({**document, "word/inner.zip": "x"})) == "document.unsafe_archive"
    assert _code(_docx, make_zip({**document, "word/inner.bin": make_zip({"a": "b"})})) == "document.unsafe_archive"
    assert _code(_docx, make_zip({**document, "../evil.xml": "x"})) == "document.unsafe_archive"
    assert _code(_docx, make_zip({**document, "a\\..\\..\\evil.xml": "x"})) == "document.unsafe_archive"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_no_part_may_declare_a_document_type(encoding: str, make_zip: Make) -> None:
    laughs = "<!DOCTYPE lolz [<!ENTITY a 'lol'>" + "".join(
        f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9)
    )
    part = f"<?xml version='1.0'?><!--{' ' * 2_000_000}-->{laughs}]><document><p>&j;</p></document>".encode(encoding)

    assert _code(_docx, make_zip({"word/document.xml": part})) == "document.unsafe_archive"
    assert (
        _code(_xlsx, make_zip({"xl/workbook.xml": "<w/>", "xl/sharedStrings.xml": part})) == "document.unsafe_archive"
    )


def test_a_member_with_a_password_makes_it_encrypted(make_zip: Make) -> None:
    body = bytearray(make_zip({"word/document.xml": "<document/>"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(mark) + offset] |= 1

    assert zipfile.ZipFile(io.BytesIO(bytes(body))).infolist()[0].flag_bits & 1
    assert _code(_docx, bytes(body)) == "document.encrypted"


def test_deeply_nested_tables_are_explained(make_docx: Make) -> None:
    deep = "<w:tbl><w:tr><w:tc>" * 3_000 + _p("x") + "</w:tc></w:tr></w:tbl>" * 3_000

    assert _code(_docx, make_docx(deep)) in ("document.too_nested", "document.corrupt")


def test_the_limits_are_the_promised_ones() -> None:
    assert (containers.MAX_MEMBERS, containers.MAX_INFLATED_BYTES, containers.MAX_RATIO) == (2_000, 209_715_200, 100)
