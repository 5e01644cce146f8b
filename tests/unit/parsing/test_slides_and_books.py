"""PPTX, OpenDocument, EPUB and RTF."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drystone.adapters.parsing import Parsed, read_epub, read_odf, read_pptx, read_rtf
from drystone.core.errors import Invalid

Make = Callable[..., bytes]

_DRAW = 'xmlns:a="urn:a" xmlns:p="urn:p" xmlns:r="urn:r" xmlns:c="urn:c"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def _relations(targets: dict[str, str]) -> str:
    rows = "".join(
        f'<Relationship Id="{name}" Type="{_OFFICE}/{name.rstrip("0123456789")}" Target="{target}"/>'
        for name, target in targets.items()
    )
    return f"<Relationships>{rows}</Relationships>"


def _shape(kind: str | None, *paragraphs: str) -> str:
    placeholder = f'<p:ph type="{kind}"/>' if kind else ""
    texts = "".join(p if p.startswith("<") else f"<a:p><a:r><a:t>{p}</a:t></a:r></a:p>" for p in paragraphs)
    return f"<p:sp><p:nvSpPr><p:nvPr>{placeholder}</p:nvPr></p:nvSpPr><p:txBody>{texts}</p:txBody></p:sp>"


def _slide(*shapes: str) -> str:
    return f"<p:sld {_DRAW}><p:cSld><p:spTree>{''.join(shapes)}</p:spTree></p:cSld></p:sld>"


def _pptx(
    make_zip: Make, slides: list[str], order: list[int] | None = None, parts: dict[str, str] | None = None
) -> bytes:
    ids = "".join(f'<p:sldId id="{n}" r:id="slide{n}"/>' for n in order or range(1, len(slides) + 1))
    return make_zip(
        {
            "ppt/presentation.xml": f"<p:presentation {_DRAW}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
            "ppt/_rels/presentation.xml.rels": _relations(
                {f"slide{n}": f"slides/slide{n}.xml" for n in range(1, len(slides) + 1)}
            ),
            **{f"ppt/slides/slide{n}.xml": slide for n, slide in enumerate(slides, start=1)},
            **{f"ppt/{name}": content for name, content in (parts or {}).items()},
        }
    )


def _code(read: Callable[[bytes, int], Parsed], body: bytes) -> str:
    with pytest.raises(Invalid) as caught:
        read(body, 1_000_000)
    return caught.value.code


def test_slides_are_pages_under_their_titles_in_the_order_of_the_show(make_zip: Make) -> None:
    item = '<a:p><a:pPr lvl="1"/><a:r><a:t>deeper</a:t></a:r></a:p>'
    table = (
        '<p:graphicFrame><a:tbl><a:tblPr firstRow="1"/>'
        + "".join(
            "<a:tr>"
            + "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{c}</a:t></a:r></a:p></a:txBody></a:tc>" for c in row)
            + "</a:tr>"
            for row in (("Wall", "cm"), ("North", "120"))
        )
        + "</a:tbl></p:graphicFrame>"
    )
    slides = [
        _slide(_shape("body", "trench", item, "hearting"), _shape("title", "Footings"), _shape("sldNum", "7"), table),
        _slide(_shape("ctrTitle", "Dry walls")),
        _slide(f"<p:grpSp>{_shape(None, 'A picture of a wall')}</p:grpSp>"),
    ]
    notes = f"<p:notes {_DRAW}><p:cSld><p:spTree>{_shape('body', 'Say it slowly.')}</p:spTree></p:cSld></p:notes>"
    body = _pptx(
        make_zip,
        slides,
        order=[2, 1, 3, 2],
        parts={
            "slides/_rels/slide1.xml.rels": _relations({"notesSlide": "../notesSlides/n1.xml"}),
            "notesSlides/n1.xml": notes,
        },
    )

    parsed = read_pptx.read(body, 1_000_000)

    assert parsed.text == (
        "Dry walls\n\nFootings\n\n- trench\n  - deeper\n- hearting\n\nWall: North | cm: 120\n\nNotes: Say it slowly.\n\n"
        "Slide 3\n\nA picture of a wall"
    )
    assert [h.title for h in parsed.headings] == ["Dry walls", "Footings", "Slide 3"]
    assert [parsed.text[start : start + 6] for start in parsed.page_starts] == ["Dry wa", "Footin", "Slide "]
    assert parsed.title == "Dry walls"
    assert parsed.has_slides


def test_words_in_charts_and_diagrams_are_read(make_zip: Make) -> None:
    frame = '<p:graphicFrame><c:chart r:id="chart1"/></p:graphicFrame>'
    chart = (
        f"<c:chartSpace {_DRAW}><c:title><a:t>Stone by year</a:t></c:title><c:cat><c:strCache><c:v>gneiss</c:v>"
        "</c:strCache></c:cat><c:val><c:numCache><c:v>42</c:v></c:numCache></c:val></c:chartSpace>"
    )
    body = _pptx(
        make_zip,
        [_slide(frame)],
        parts={"slides/_rels/slide1.xml.rels": _relations({"chart1": "../charts/c.xml"}), "charts/c.xml": chart},
    )

    assert read_pptx.read(body, 1_000).text == "Slide 1\n\nStone by year | gneiss"


def test_a_presentation_without_words_and_one_that_is_none_are_refused(make_zip: Make, make_docx: Make) -> None:
    assert _code(read_pptx.read, _pptx(make_zip, [_slide(), _slide(_shape("sldNum", "1"))])) == "document.no_text"
    assert _code(read_pptx.read, make_docx("")) == "document.wrong_type"


def _odf(make_zip: Make, body: str, styles: str = "", **parts: str) -> bytes:
    spaces = 'xmlns:text="urn:t" xmlns:table="urn:tb" xmlns:draw="urn:d" xmlns:office="urn:o" xmlns:style="urn:s" xmlns:presentation="urn:p"'
    content = f"<office:document-content {spaces}><office:automatic-styles>{styles}</office:automatic-styles>"
    return make_zip(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": f"{content}<office:body>{body}</office:body></office:document-content>",
            **{name.replace("__", "/").replace("_xml", ".xml"): part for name, part in parts.items()},
        }
    )


def test_an_open_document_reads_in_order_with_headings_lists_tables_and_notes(make_zip: Make) -> None:
    styles = '<text:list-style style:name="L1"><text:list-level-style-number text:level="1" style:num-format="1"/></text:list-style>'
    rows = "".join(
        "<table:table-row>"
        + "".join(f"<table:table-cell><text:p>{c}</text:p></table:table-cell>" for c in row)
        + "</table:table-row>"
        for row in (("Wall", "cm"), ("North", "120"), ("South", "90"))
    )
    body = (
        "<office:text><text:tracked-changes><text:p>old</text:p></text:tracked-changes>"
        '<text:p text:style-name="Title">Field walls</text:p><text:h text:outline-level="2">Footings</text:h>'
        '<text:p>A<text:s text:c="2"/>trench<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>Deep.</text:p>'
        "</text:note-body></text:note>,<text:span> wide</text:span><text:line-break/>and long</text:p>"
        '<text:list text:style-name="L1"><text:list-item><text:p>hammer</text:p></text:list-item><text:list-item><text:p>string</text:p>'
        "<text:list><text:list-item><text:p>nylon</text:p></text:list-item></text:list></text:list-item></text:list>"
        f"<table:table>{rows}</table:table><text:p><draw:frame><draw:text-box><text:p>in a box</text:p></draw:text-box></draw:frame></text:p>"
        "</office:text>"
    )

    parsed = read_odf.read(_odf(make_zip, body, styles), 1_000_000)

    assert parsed.text == (
        "Field walls\n\nFootings\n\nA  trench[1], wide\nand long\n\n[1] Deep.\n\n1. hammer\n2. string\n  - nylon\n\n"
        "Wall: North | cm: 120\nWall: South | cm: 90\n\nin a box"
    )
    assert [(h.level, h.title) for h in parsed.headings] == [(2, "Footings")]
    assert parsed.title == "Field walls"


def test_sheets_and_slides_of_open_documents(make_zip: Make) -> None:
    cell = "<table:table-cell {n}><text:p>{t}</text:p></table:table-cell>"
    sheet = (
        '<office:spreadsheet><table:table table:name="Walls"><table:table-row>'
        + cell.format(n="", t="a")
        + cell.format(n='table:number-columns-repeated="3"', t="b")
        + '</table:table-row><table:table-row table:number-rows-repeated="1048576"><table:table-cell '
        'table:number-columns-repeated="16384"/></table:table-row></table:table></office:spreadsheet>'
    )
    slide = (
        '<office:presentation><draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>Opening</text:p></draw:text-box>'
        "</draw:frame><draw:frame><draw:text-box><text:p>words</text:p></draw:text-box></draw:frame><presentation:notes>"
        '<draw:frame presentation:class="notes"><draw:text-box><text:p>breathe</text:p></draw:text-box></draw:frame></presentation:notes>'
        "</draw:page><draw:page/></office:presentation>"
    )

    assert read_odf.read(_odf(make_zip, sheet), 1_000).text == "Walls\n\na | b | b | b"
    shown = read_odf.read(_odf(make_zip, slide), 1_000)
    assert shown.text == "Opening\n\nwords\n\nNotes: breathe"
    assert shown.page_starts == (0, len(shown.text))


def test_an_encrypted_open_document_and_another_archive_are_told_apart(make_zip: Make) -> None:
    manifest = '<m:manifest xmlns:m="urn:m"><m:file-entry><m:encryption-data/></m:file-entry></m:manifest>'

    assert _code(read_odf.read, _odf(make_zip, "", **{"META-INF__manifest_xml": manifest})) == "document.encrypted"
    assert _code(read_odf.read, make_zip({"a.txt": "x"})) == "document.wrong_type"


def test_a_flat_open_document_reads_like_a_packed_one() -> None:
    flat = '<?xml version="1.0"?><o:document xmlns:o="urn:o" xmlns:t="urn:t"><o:body><o:text><t:p>flat words</t:p></o:text></o:body></o:document>'

    assert read_odf.read(flat.encode("utf-16"), 1_000).text == "flat words"


def _epub(make_zip: Make, chapters: dict[str, str], **parts: str) -> bytes:
    items = "".join(f'<item id="{n}" href="{n}.xhtml" media-type="application/xhtml+xml"/>' for n in chapters)
    spine = "".join(f'<itemref idref="{n}"/>' for n in (*chapters, next(iter(chapters))))
    return make_zip(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OEBPS/b.opf"/></rootfiles></container>',
            "OEBPS/b.opf": '<package xmlns:dc="urn:dc"><metadata><dc:title>Walls</dc:title></metadata><manifest>'
            f'<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>{items}</manifest><spine>{spine}</spine></package>',
            **{
                f"OEBPS/{n}.xhtml": f"<!DOCTYPE html><html><body>{chapter}</body></html>"
                for n, chapter in chapters.items()
            },
            **{name.replace("__", "/"): part for name, part in parts.items()},
        }
    )


def test_a_book_reads_by_its_spine_with_names_from_its_contents(make_zip: Make) -> None:
    ncx = (
        '<!DOCTYPE ncx PUBLIC "-//NISO//DTD ncx 2005-1//EN" "ncx-2005-1.dtd"><ncx><navMap><navPoint><navLabel><text>Coping</text>'
        '</navLabel><content src="two.xhtml#a"/></navPoint></navMap></ncx>'
    )
    body = _epub(
        make_zip, {"one": "<h1>Footings</h1><p>A trench.</p>", "two": "<p>The top.</p>"}, **{"OEBPS__toc.ncx": ncx}
    )

    parsed = read_epub.read(body, 1_000)

    assert parsed.text == "Footings\n\nA trench.\n\nCoping\n\nThe top."
    assert [h.title for h in parsed.headings] == ["Footings", "Coping"]
    assert parsed.title == "Walls"


def test_a_book_that_is_locked_or_declares_entities_is_refused(make_zip: Make) -> None:
    locked = '<encryption><CipherReference URI="OEBPS/one.xhtml"/></encryption>'
    bomb = '<!DOCTYPE ncx [<!ENTITY a "aaaa">]><ncx/>'

    assert (
        _code(read_epub.read, _epub(make_zip, {"one": "x"}, **{"META-INF__encryption.xml": locked}))
        == "document.encrypted"
    )
    assert _code(read_epub.read, _epub(make_zip, {"one": "x"}, **{"OEBPS__toc.ncx": bomb})) == "document.unsafe_archive"
    assert _code(read_epub.read, make_zip({"a.txt": "x"})) == "document.wrong_type"


def _rtf(body: str) -> Parsed:
    return read_rtf.read(("{\\rtf1\\ansi\\ansicpg1252\\deff0" + body + "}").encode("latin-1"), 1_000_000)


def test_an_rtf_file_reads_with_headings_lists_tables_and_notes() -> None:
    parsed = _rtf(
        "{\\fonttbl{\\f0 Times;}{\\f1\\fcharset204 Arial;}}{\\stylesheet{\\s1 heading 1;}{\\s2\\outlinelevel1 Own;}}"
        "{\\info{\\title Field walls}{\\author Ada}}{\\header page}\\pard\\s1 Footings\\par\\pard A {\\b trench}{\\footnote Deep.}\\line wide\\par"
        "{\\listtext\\'b7\\tab}hammer\\par{\\listtext 2.\\tab}string\\par\\pard\\outlinelevel1 Tools\\par\\pard\\intbl Wall\\cell cm\\cell\\row"
        "\\intbl North\\cell 120\\cell\\row\\intbl South\\cell 90\\cell\\row\\pard after {\\v hidden}{\\*\\unknown gone}{\\pict ffd8}\\par"
    )

    assert parsed.text == (
        "Footings\n\nA trench[1]\nwide\n\n[1] Deep.\n\n· hammer\n2. string\n\nTools\n\nWall: North | cm: 120\nWall: South | cm: 90\n\nafter"
    ).replace("· ", "- ")
    assert [(h.level, h.title) for h in parsed.headings] == [(1, "Footings"), (2, "Tools")]
    assert parsed.title == "Field walls"


def test_characters_of_rtf_come_from_code_pages_and_numbers() -> None:
    fonts = "{\\fonttbl{\\f0 Times;}{\\f1\\fcharset204 Arial;}{\\f2\\fcharset128 Gothic;}}"

    assert _rtf(fonts + "gr\\'f6\\'dfer \\f1\\'ef\\'f0\\'e8 \\f2\\'93\\'fa\\'96\\'7b").text == "größer при 日本"
    assert _rtf("\\uc1\\u26085? \\u-10180?\\u-8378? {\\uc0\\u8364}\\{x\\}\\~\\_y\\emdash").text == "日 🍆 €{x} -y—"
    assert _rtf("{\\pict\\bin5 }}{{x}text").text == "text"


@pytest.mark.parametrize("count", ["99999999", "9999999999", "-1", "17"])
def test_a_count_in_rtf_that_cannot_be_swallows_no_words(count: str) -> None:
    assert _rtf(f"\\uc{count}\\u26085?Thin shells buckle.").text == "日Thin shells buckle."


def test_rtf_whose_binary_part_is_longer_than_the_file_is_damaged() -> None:
    assert _code(read_rtf.read, b"{\\rtf1 {\\pict\\bin2147483647 }Thin shells buckle.}") == "document.corrupt"
    assert _code(read_rtf.read, b"{\\rtf1 Thin\\bin9999999999 shells buckle.}") == "document.corrupt"


def test_rtf_that_is_no_text_is_refused() -> None:
    assert _code(read_rtf.read, b"{\\rtf1 }") == "document.no_text"
    assert _code(read_rtf.read, b"hello") == "document.wrong_type"
    assert _code(read_rtf.read, b"{\\rtf1" + b"{" * 100_000 + b"x") == "document.too_nested"


def test_a_text_without_a_title_is_called_as_its_first_heading_and_a_sheet_is_not(make_zip: Make) -> None:
    heading = '<office:text><text:h text:outline-level="1">Beekeeping</text:h><text:p>Hives.</text:p></office:text>'
    row = "<table:table-row><table:table-cell><text:p>x</text:p></table:table-cell></table:table-row>"
    sheet = f'<office:spreadsheet><table:table table:name="Sheet1">{row}</table:table></office:spreadsheet>'

    assert read_odf.read(_odf(make_zip, heading), 1_000).title == "Beekeeping"
    assert read_odf.read(_odf(make_zip, sheet), 1_000).title is None
