"""PDF: paragraphs, headings, pages, and files that are broken or locked."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pypdf
import pytest

from drystone.adapters.parsing import Parsed, pdf_layout, read_pdf, read_pdf_again
from drystone.adapters.parsing.pdf_layout import Line, Words
from drystone.adapters.parsing.titles import sensible_title
from drystone.core.errors import Invalid

Make = Callable[..., bytes]
_PROSE = (
    "A dry stone wall stands without mortar, held by the weight of its own",
    "stones. It is built from the bottom in two faces that lean on one an-",
    "other, with small stones between them and long ones across both.",
)


def _read(body: bytes) -> Parsed:
    return read_pdf.read(body, 1_000_000)


def _paragraph(top: float, size: float = 11) -> list[tuple[float, float, float, str]]:
    return [(72, top - 13 * n, size, line) for n, line in enumerate(_PROSE)]


def _joined() -> str:
    return (
        "A dry stone wall stands without mortar, held by the weight of its own stones. It is built from the bottom in two"
        " faces that lean on one another, with small stones between them and long ones across both."
    )


def test_wrapped_lines_become_paragraphs_and_large_ones_headings(make_pdf: Make) -> None:
    page = [(72, 720, 18, "Walls"), *_paragraph(690), *_paragraph(630), (72, 580, 14, "Tools"), *_paragraph(555)]

    parsed = _read(make_pdf([page], title="Field walls"))

    assert parsed.text == f"Walls\n\n{_joined()}\n\n{_joined()}\n\nTools\n\n{_joined()}"
    assert [(h.level, parsed.text[h.start : h.end]) for h in parsed.headings] == [(1, "Walls"), (2, "Tools")]
    assert parsed.title == "Field walls"
    assert parsed.parser.startswith("pdfium-")


def test_pages_begin_where_their_text_begins(make_pdf: Make) -> None:
    parsed = _read(make_pdf([[(72, 700, 11, "one")], [], [(72, 700, 11, "three")]]))

    assert parsed.text == "one\n\nthree"
    assert parsed.page_starts == (0, 5, 5)


def test_rows_of_numbers_stay_rows(make_pdf: Make) -> None:
    rows = [("Monday", 23, 15), ("Tuesday", 28, 13), ("Wednesday", 18, 20)]
    page = [
        cell
        for n, (day, a, b) in enumerate(rows)
        for cell in ((72, 700 - 14 * n, 11, day), (250, 700 - 14 * n, 11, str(a)), (400, 700 - 14 * n, 11, str(b)))
    ]

    assert _read(make_pdf([page])).text == "Monday 23 15\nTuesday 28 13\nWednesday 18 20"


def _book(
    make_pdf: Make, header: Callable[[int], tuple[float, float, float, str]], footer: str = "", pages: int = 8
) -> bytes:
    """A book whose pages have a header and a footer; {n} and {of} in the footer are page and pages."""
    words = ("sand", "slate", "gneiss", "tuff", "marl", "chalk", "flint", "shale")
    return make_pdf(
        [
            [
                header(n),
                *_paragraph(580),
                (72, 500, 11, f"Only here: {words[n - 1]}."),
                (280, 30, 9, footer.format(n=n, of=pages)),
            ]
            for n in range(1, pages + 1)
        ]
    )


def test_running_titles_are_left_out_but_for_the_first(make_pdf: Make) -> None:
    parsed = _read(_book(make_pdf, lambda n: (72, 760, 9, "Journal of Walls")))

    assert parsed.text.count("Journal of Walls") == 1
    assert parsed.text.count("Only here") == 8
    assert len(parsed.page_starts) == 8


@pytest.mark.parametrize("footer", ["{n}", "- {n} -", "{n} / {of}", "Page {n} of {of}", "Seite {n} von {of}", "p. {n}"])
def test_page_numbers_are_left_out(make_pdf: Make, footer: str) -> None:
    parsed = _read(_book(make_pdf, lambda n: (72, 580, 11, f"Stone {n}"), footer))

    assert [line for line in parsed.text.split("\n") if re.fullmatch(r"(?!Stone)(\D{0,8}\d.*)", line)] == []


@pytest.mark.parametrize("footer", ["Walls | {n}", "{n} | Walls", "Walls, page {n}", "Walls                     {n}"])
def test_of_a_title_with_a_page_number_the_first_stays(make_pdf: Make, footer: str) -> None:
    parsed = _read(_book(make_pdf, lambda n: (72, 580, 11, f"Stone {n}"), footer))

    assert parsed.text.count("Walls") == 1


@pytest.mark.parametrize(
    ("y", "size", "text"),
    [
        (760, 20, "/BChapter {n}"),
        (760, 20, "/BInvoice 400{n}"),
        (760, 20, "/BExercises"),
        (760, 11, "/BChapter {n}"),
        (760, 11, "Invoice 400{n}"),
        (760, 11, "Contract {n}"),
        (760, 11, "Invoice | 400{n}"),
        (760, 11, "2026-11-0{n}"),
        (760, 11, "{n}/2026"),
        (760, 11, "Paid: {n},00"),
        (600, 11, "Contract {n}"),
        (600, 11, "{n}"),
        (600, 11, "Sworn before me"),
    ],
)
@pytest.mark.parametrize("pages", [4, 8])
def test_headings_with_numbers_stay(make_pdf: Make, y: float, size: float, text: str, pages: int) -> None:
    body = _book(make_pdf, lambda n: (72, y, size, text.format(n=n)), "Page {n} of {of}", pages)

    lines = _read(body).text.split("\n")

    wanted = [text.removeprefix("/B").format(n=n) for n in range(1, pages + 1)]
    assert [line for line in lines if line in wanted] == wanted


def test_numbered_chapters_are_headings_on_their_pages(make_pdf: Make) -> None:
    parsed = _read(_book(make_pdf, lambda n: (72, 760, 20, f"/BChapter {n}"), "{n}"))

    assert [heading.title for heading in parsed.headings] == [f"Chapter {n}" for n in range(1, 9)]
    assert [heading.start for heading in parsed.headings] == list(parsed.page_starts)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("long mortar-", "less walls", "long mortarless walls"),
        ("a well-", "known wall", "a well-known wall"),
        ("the years 1990-", "1995 were", "the years 1990-1995 were"),
        ("walls -", "and more", "walls - and more"),
        ("soft\u00ad", "ened", "softened"),
        ("stone-", "faced", "stone-faced"),
        ("日本", "語", "日本語"),
        ("one", "two", "one two"),
    ],
)
def test_broken_words_are_whole_again_and_others_keep_their_hyphen(before: str, after: str, expected: str) -> None:
    words = Words(["it was stone-faced there"])
    filler = "some words that fill the line to its end before "
    texts = (filler + before, after + " goes on to the end")
    lines = [Line(text, 72, 72 + 5.5 * len(text), 700 - 13 * n, 11) for n, text in enumerate(texts)]

    assert pdf_layout.blocks(lines, words, lines[0].right + 72)[0].text == f"{filler}{expected} goes on to the end"


def test_a_list_and_a_table_of_contents_keep_their_lines() -> None:
    texts = (
        "• the first thing to do is to dig a trench",
        "• the second is to sort the stones by size",
        "Intro ....... 3",
        "Walls ....... 9",
    )
    lines = [Line(text, 72, 500, 700 - 13 * n, 11) for n, text in enumerate(texts)]

    assert pdf_layout.blocks(lines, Words([]), 612)[0].text == "\n".join(texts)


def test_form_values_are_read_beside_the_page(make_pdf: Make) -> None:
    reader = pypdf.PdfReader(io.BytesIO(make_pdf([[(72, 700, 11, "Name")]])))
    writer = pypdf.PdfWriter(clone_from=reader)
    field = pypdf.generic.DictionaryObject()
    names = pypdf.generic.NameObject
    field.update(
        {
            names("/Type"): names("/Annot"),
            names("/Subtype"): names("/Widget"),
            names("/FT"): names("/Tx"),
            names("/T"): pypdf.generic.TextStringObject("mason"),
            names("/V"): pypdf.generic.TextStringObject("Ada"),
            names("/Rect"): pypdf.generic.ArrayObject([pypdf.generic.FloatObject(v) for v in (72, 650, 200, 670)]),
        }
    )
    reference = writer._add_object(field)
    writer.pages[0][names("/Annots")] = pypdf.generic.ArrayObject([reference])
    writer._root_object[names("/AcroForm")] = pypdf.generic.DictionaryObject(
        {names("/Fields"): pypdf.generic.ArrayObject([reference])}
    )
    out = io.BytesIO()
    writer.write(out)

    assert _read(out.getvalue()).text == "Name\n\nmason: Ada"


def test_the_outline_names_the_headings(make_pdf: Make) -> None:
    writer = pypdf.PdfWriter(
        clone_from=pypdf.PdfReader(
            io.BytesIO(
                make_pdf(
                    [[(72, 700, 11, "Part One"), *_paragraph(650)], [(72, 700, 11, "A Chapter"), *_paragraph(650)]]
                )
            )
        )
    )
    part = writer.add_outline_item(title="Part One", page_number=0)
    writer.add_outline_item(title="A  chapter", page_number=1, parent=part)
    out = io.BytesIO()
    writer.write(out)

    assert [(h.level, h.title) for h in _read(out.getvalue()).headings] == [(1, "Part One"), (2, "A Chapter")]


@pytest.mark.parametrize("read", [read_pdf.read, read_pdf_again.read])
def test_pdfs_without_text_with_a_password_or_broken_say_so(
    read: Callable[[bytes, int], Parsed], make_pdf: Make
) -> None:
    blank = make_pdf([[]])
    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(io.BytesIO(make_pdf([[(72, 700, 11, "secret")]]))))
    writer.encrypt("password", algorithm="RC4-128")
    locked = io.BytesIO()
    writer.write(locked)

    for body, code in (
        (blank, "document.no_text"),
        (locked.getvalue(), "document.encrypted"),
        (b"%PDF-1.7\nnothing", "document.corrupt"),
    ):
        with pytest.raises(Invalid) as caught:
            read(body, 1_000)
        assert caught.value.code == code


def test_a_pdf_that_only_restricts_its_use_is_read(make_pdf: Make) -> None:
    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(io.BytesIO(make_pdf([[(72, 700, 11, "readable")]]))))
    writer.encrypt("", owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)

    assert _read(out.getvalue()).text == "readable"


def test_pypdf_reads_what_pdfium_reads(make_pdf: Make) -> None:
    parsed = read_pdf_again.read(make_pdf([[(72, 700, 11, "one")], [(72, 700, 11, "two")]]), 1_000)

    assert parsed.text == "one\n\ntwo"
    assert parsed.page_starts == (0, 5)


@pytest.mark.parametrize(
    ("title", "is_sensible"),
    [
        ("Field walls", True),
        ("Word and sentence", True),
        ("Microsoft Word - report.doc", False),
        ("untitled", False),
        ("Untitled-1", False),
        ("C:\\texts\\wall v2.docx", False),
        ("report.pdf", False),
        ("Document1", False),
        ("", False),
        (None, False),
    ],
)
def test_a_title_is_what_a_person_wrote(title: str | None, is_sensible: bool) -> None:
    assert sensible_title(title) == (title if is_sensible else None)


def test_without_a_title_of_its_own_a_pdf_is_called_as_its_first_top_heading(make_pdf: Make) -> None:
    page = [(72, 720, 14, "Preface"), *_paragraph(690), (72, 640, 18, "Walls"), *_paragraph(610)]

    assert _read(make_pdf([page])).title == "Walls"
    assert _read(make_pdf([page], title="Microsoft Word - x.doc")).title == "Walls"
    assert _read(make_pdf([_paragraph(690)])).title is None
