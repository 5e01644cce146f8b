"""Pages drawn by real child processes: what they give, and what no page gets out of them."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import AsyncIterator

import pypdf
import pytest
from tests.pdfs import make, printed

from drystone.adapters.parsing import Parser, sandbox
from drystone.adapters.parsing.parsed import MOST_PIXELS, Picture
from drystone.core.errors import Invalid
from drystone.core.settings import ParsingSettings

WALL = "A dry stone wall stands without mortar, and water runs through it."
TREE = "An oak that stands alone grows wide, and drops its branches late."


@pytest.fixture
async def parser() -> AsyncIterator[Parser]:
    parser = Parser(ParsingSettings())
    yield parser
    await parser.aclose()


def _colours(picture: Picture, top: int, bottom: int) -> set[bytes]:
    """Of the pixels between two heights, in points from above."""
    scale = picture.width / 612
    first, last = (round(each * scale) * picture.width * 3 for each in (top, bottom))
    rows = picture.pixels[first:last]
    return {rows[at : at + 3] for at in range(0, len(rows), 3)}


def _boxed(width: float, height: float) -> bytes:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(width, height)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


async def test_a_page_is_drawn_as_wide_as_it_is_asked_for(parser: Parser) -> None:
    picture = await parser.draw(printed([WALL], [TREE]), 1, width=600)

    assert (picture.width, picture.height) == (600, math.ceil(600 * 792 / 612))
    assert b"\xff\xff\xff" in _colours(picture, 0, 792)
    assert min(picture.pixels) < 60  # letters


async def test_the_passage_is_marked_and_nothing_else(parser: Parser) -> None:
    body = printed([WALL, TREE])

    plain = await parser.draw(body, 0, width=600)
    marked = await parser.draw(body, 0, width=600, passage=TREE)

    assert (plain.marks, marked.marks) == (0, 1)
    # Lines stand 72 and 96 points below the upper edge.
    assert _colours(marked, 50, 80) == _colours(plain, 50, 80)
    assert bytes((255, 231, 130)) in _colours(marked, 84, 102)
    assert bytes((255, 231, 130)) not in _colours(plain, 84, 102)


async def test_a_page_becomes_a_png_of_the_same_pixels(parser: Parser) -> None:
    for passage, channels in (("", 1), (WALL, 3)):
        picture = await parser.draw(printed([WALL]), 0, width=200, passage=passage)

        png = picture.png()

        assert png[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">2I", png[16:24]) == (picture.width, picture.height)
        size = struct.unpack(">I", png[33:37])[0]
        rows = zlib.decompress(png[41 : 41 + size])
        assert len(rows) == picture.height * (1 + picture.width * channels)
        assert rows[1 : 1 + channels] == picture.pixels[:channels]


@pytest.mark.parametrize("size", [(1.0, 14_000.0), (14_000.0, 1.0), (14_000.0, 14_000.0), (3.0, 3.0)])
async def test_no_page_is_larger_than_the_most(parser: Parser, size: tuple[float, float]) -> None:
    picture = await parser.draw(_boxed(*size), 0, width=1200)

    assert 0 < picture.width * picture.height <= MOST_PIXELS
    assert max(picture.width, picture.height) <= 4001


@pytest.mark.parametrize(
    ("body", "page"),
    [(b"%PDF-1.7 no more", 0), (b"", 0), (b"PK\3\4", 0), (printed([WALL]), 1), (printed([WALL]), -1)],
    ids=["cut off", "empty", "another format", "after the last", "before the first"],
)
async def test_what_is_no_page_is_told(parser: Parser, body: bytes, page: int) -> None:
    with pytest.raises(Invalid) as raised:
        await parser.draw(body, page, width=600)

    assert raised.value.code == "document.corrupt"


async def test_a_page_that_takes_too_long_ends() -> None:
    line = "0 0 m " + " ".join(f"{n % 600} {n % 790} l" for n in range(60)) + " S\n"
    writer = pypdf.PdfWriter(clone_from=_stream(line * 60_000))
    out = io.BytesIO()
    writer.write(out)
    parser = Parser(ParsingSettings(PARSE_WALL_S=1, PARSE_CPU_S=1))

    with pytest.raises(Invalid) as raised:
        await parser.draw(out.getvalue(), 0, width=1200)

    assert raised.value.code in ("parse.timeout", "parse.cpu_limit")
    assert (await parser.draw(printed([WALL]), 0, width=100)).width == 100
    await parser.aclose()


async def test_scripts_of_a_pdf_do_not_run(parser: Parser) -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(printed([WALL])))
    action = pypdf.generic.DictionaryObject()
    script = "while (true) { app.launchURL('http://127.0.0.1:1/') }"
    action[pypdf.generic.NameObject("/S")] = pypdf.generic.NameObject("/JavaScript")
    action[pypdf.generic.NameObject("/JS")] = pypdf.generic.TextStringObject(script)
    writer.root_object[pypdf.generic.NameObject("/OpenAction")] = action
    out = io.BytesIO()
    writer.write(out)

    with_scripts, without = [await parser.draw(each, 0, width=300) for each in (out.getvalue(), printed([WALL]))]

    assert with_scripts.pixels == without.pixels


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"width": 2, "height": 2, "marks": 0},
        {"width": -1, "height": -1, "marks": 0},
        {"width": True, "height": 1, "marks": 0},
        {"width": "1", "height": 1, "marks": 0},
        {"width": 1, "height": 1},
        {"width": 0, "height": 0, "marks": 0},
    ],
)
def test_a_child_that_lies_about_its_pixels_is_not_believed(head: dict[str, object]) -> None:
    with pytest.raises(sandbox.ParserDied):
        sandbox._picture(head, b"\xff\xff\xff")


def _stream(drawn: str) -> io.BytesIO:
    """A PDF with one page on which this is drawn."""
    return io.BytesIO(
        make([[]]).replace(
            b"<</Length 0>>stream\n\nendstream", b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn.encode())
        )
    )
