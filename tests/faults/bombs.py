"""Files made to break a parser, each built from a few lines, the same on every run.

`python -m tests.faults.bombs [WORD ...]` has each read by a parser with the limits of production and prints how it ended.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from drystone.adapters.parsing import ARCHIVE, Parser, media_type_of
from drystone.core.errors import DrystoneError
from drystone.core.settings import ParsingSettings

_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_ENTITIES = '<!DOCTYPE x [<!ENTITY a0 "dry stone ">{more}]>'
_DEEP = 300_000


@dataclass(frozen=True)
class Bomb:
    """A file and the ways in which it may end. codes: of failures; "ready" where its text may be searched.

    is_heavy: it takes many seconds of CPU, or its text as many minutes to embed.
    """

    name: str
    file: str
    build: Callable[[], bytes]
    codes: frozenset[str]
    declared: str | None = None
    is_heavy: bool = False


class Outcome(NamedTuple):
    """How a bomb ended. cpu_s: of the processes that read it, as far as they could be asked. refused: of its members."""

    code: str
    took_s: float
    cpu_s: float
    refused: int = 0


def _zipped(members: dict[str, bytes], *, level: int = 9) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, 21, 0, 0, 0)), body, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


def _flat_zip() -> bytes:
    return _zipped({f"{n}.txt": b" " * 50_000_000 for n in range(8)})


def _overlapping_zip() -> bytes:
    """Two hundred members that are all the same bytes (after Fifield, "A better zip bomb", 2019, in its simplest form)."""
    body = b"dry stone " * 100_000
    packed, crc = _deflated(body), zlib.crc32(body)
    name = b"a.txt"
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, crc, len(packed), len(body), len(name), 0)
    local = b"PK\x03\x04" + fields + name + packed
    central = b""
    for number in range(200):
        other = b"%05d" % number
        central += b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + other
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 200, 200, len(central), len(local), 0)
    return local + central + end


def _nested_zip() -> bytes:
    inner = _zipped({"a.txt": b"dry stone"})
    for depth in range(20):
        inner = _zipped({f"{depth}-{n}.zip": inner for n in range(4)})
    return inner


def _docx(document: bytes) -> bytes:
    return _zipped({"[Content_Types].xml": b"<Types/>", "word/document.xml": document})


def _odt(content: bytes) -> bytes:
    return _zipped({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": content})


def _laughs(element: str) -> bytes:
    more = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    return f'<?xml version="1.0"?>{_ENTITIES.format(more=more)}<{element}>&a11;</{element}>'.encode()


def _quadratic() -> bytes:
    more = f'<!ENTITY b "{"x" * 100_000}">'
    return f"{_ENTITIES.format(more=more)}<x>{'&b;' * 10_000}</x>".encode()


def _external() -> bytes:
    return b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'


def _objects(*bodies: bytes) -> bytes:
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(bodies) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1) + table + trailer


def _pdf(stream: bytes, filters: bytes) -> bytes:
    return _objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 5 0 R/Resources<</Font<</F1 4 0 R>>>>>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Length %d%s>>stream\n%s\nendstream" % (len(stream), filters, stream),
    )


def _nested_flate() -> bytes:
    stream = b" " * 1_000_000_000
    for _ in range(4):
        stream = zlib.compress(stream, 9)
    return _pdf(stream, b"/Filter[" + b"/FlateDecode " * 4 + b"]")


def _text_operators() -> bytes:
    drawn = b"BT /F1 9 Tf 10 10 Td " + b"(dry stone wall) Tj 1 0 Td " * 6_000_000 + b"ET"
    return _pdf(zlib.compress(drawn, 9), b"/Filter/FlateDecode")


def _page_loop() -> bytes:
    return _objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 99999999/Kids[3 0 R 2 0 R]/Parent 3 0 R>>",
        b"<</Type/Pages/Count 99999999/Kids[2 0 R 3 0 R]/Parent 2 0 R>>",
    )


def _hidden_text() -> bytes:
    return (
        "dry stone wall " * 40
        + "dry\0 \u202estone\u202c\u200b \ufeff"
        + "".join(chr(0xE0000 + ord(c)) for c in "ignore this")
        + "\x07 wall\n"
    ).encode() * 20


def _multipart() -> bytes:
    head = b"Subject: deep\n"
    body = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(1_000))
    return (
        head
        + body
        + b"Content-Type: text/plain\n\ndry stone\n"
        + b"".join(b"--b%d--\n" % n for n in reversed(range(1_000)))
    )


def _long_headers() -> bytes:
    return b"Subject: " + b"=?utf-8?q?dry?= " * 500_000 + b"\nTo: " + b"a@b.example, " * 500_000 + b"\n\nwords"


def _book() -> bytes:
    chapters = {f"c{n}.xhtml": b"<p>dry stone %d</p>" % n for n in range(10_000)}
    items = b"".join(
        b'<item id="c%d" href="c%d.xhtml" media-type="application/xhtml+xml"/>' % (n, n) for n in range(10_000)
    )
    spine = b"".join(b'<itemref idref="c%d"/>' % n for n in range(10_000))
    return _zipped(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": b'<container><rootfile full-path="b.opf"/></container>',
            "b.opf": b"<package><manifest>" + items + b"</manifest><spine>" + spine + b"</spine></package>",
            **chapters,
        },
        level=1,
    )


def _slides() -> bytes:
    """A slide that is its own notes, named ten thousand times, below groups that are nested deeply."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    spaces = 'xmlns:p="urn:p" xmlns:a="urn:a" xmlns:r="urn:r"'
    ids = '<p:sldId id="1" r:id="s"/>' * 10_000
    shape = "<p:sp><p:nvPr><p:ph type='body'/></p:nvPr><p:txBody><a:p><a:r><a:t>dry stone</a:t></a:r></a:p></p:txBody></p:sp>"
    group = "<p:grpSp>" * 200 + shape + "</p:grpSp>" * 200
    loop = f'<Relationships><Relationship Id="s" Type="{office}/{{kind}}" Target="{{target}}"/></Relationships>'
    parts = {
        "_rels/.rels": loop.format(kind="officeDocument", target="ppt/presentation.xml"),
        "ppt/presentation.xml": f"<p:presentation {spaces}>{ids}</p:presentation>",
        "ppt/_rels/presentation.xml.rels": loop.format(kind="slide", target="slides/a.xml"),
        "ppt/slides/a.xml": f"<p:sld {spaces}><p:cSld><p:spTree>{group}</p:spTree></p:cSld></p:sld>",
        "ppt/slides/_rels/a.xml.rels": loop.format(kind="notesSlide", target="a.xml"),
    }
    return _zipped({name: part.encode() for name, part in parts.items()})


def _repeated_rows() -> bytes:
    row = b'<r number-rows-repeated="1048576"><table-cell number-columns-repeated="16384"><p>dry</p></table-cell></r>'
    table = b"<table name='t'>" + row.replace(b"<r ", b"<table-row ").replace(b"</r>", b"</table-row>") + b"</table>"
    return _odt(b"<document-content><body><spreadsheet>" + table + b"</spreadsheet></body></document-content>")


def long_row(values: int) -> bytes:
    """A table of one row, which is honest text, and long."""
    return b",".join(b"value%d" % number for number in range(values))


_ARCHIVE, _XML = frozenset(("document.unsafe_archive",)), frozenset(("document.unsafe_xml",))
_NESTED, _READY = frozenset(("document.too_nested",)), frozenset(("ready",))
_LIMITS = frozenset(("parse.cpu_limit", "parse.memory_limit", "parse.timeout", "document.text_too_large"))
_REFUSED = frozenset(("document.unsupported_type", "document.legacy_office", "document.wrong_type"))
_DAMAGED = frozenset(("document.corrupt", "document.no_text", "document.wrong_type"))

BOMBS = (
    Bomb("zip: flat, 400 MB in 400 kB", "flat.zip", _flat_zip, _ARCHIVE),
    Bomb("zip: overlapping members", "overlap.zip", _overlapping_zip, _ARCHIVE),
    Bomb("zip: archives in archives", "nested.zip", _nested_zip, _READY),
    Bomb("zip: 2 001 members", "many.zip", lambda: _zipped({f"{n}.txt": b"dry" for n in range(2_001)}), _ARCHIVE),
    Bomb("zip: paths that lead out", "paths.zip", lambda: _zipped({"../a.txt": b"x", "/etc/b.txt": b"x"}), _READY),
    Bomb("docx: 1 GB of spaces", "spaces.docx", lambda: _docx(b" " * 1_000_000_000), _ARCHIVE, is_heavy=True),
    Bomb("docx: billion laughs", "laughs.docx", lambda: _docx(_laughs("document")), _ARCHIVE),
    Bomb("docx: nested 100 000 deep", "deep.docx", lambda: _docx(f"<w:document {_WORD}>".encode() + b"<w:p>" * 100_000), _NESTED | _DAMAGED),
    Bomb("odt: billion laughs", "laughs.odt", lambda: _odt(_laughs("body")), _ARCHIVE),
    Bomb("ods: rows repeated a million times", "rows.ods", _repeated_rows, _READY | _LIMITS),
    Bomb("xml: billion laughs", "laughs.xml", lambda: _laughs("x"), _XML),
    Bomb("xml: quadratic blow-up", "quadratic.xml", _quadratic, _XML),
    Bomb("xml: external entity", "external.xml", _external, _XML),
    Bomb("xml: billion laughs in UTF-16", "laughs16.xml", lambda: _laughs("x").decode().encode("utf-16"), _XML),
    Bomb("xml: nested 300 000 deep", "deep.xml", lambda: b"<a>" * _DEEP + b"x" + b"</a>" * _DEEP, _NESTED),
    Bomb("svg: external entity", "external.svg", lambda: _external().replace(b"<x>", b"<svg>").replace(b"</x>", b"</svg>"), _XML),
    Bomb("pdf: Flate in Flate in Flate", "flate.pdf", _nested_flate, _LIMITS | _DAMAGED, is_heavy=True),
    Bomb("pdf: six million text operators", "operators.pdf", _text_operators, _LIMITS | _READY, is_heavy=True),
    Bomb("pdf: a page tree that is its own child", "loop.pdf", _page_loop, _LIMITS | _DAMAGED),
    Bomb("html: 300 000 nested divs", "divs.html", lambda: b"<div>" * _DEEP + b"x", _NESTED),
    Bomb("html: 40 MB", "large.html", lambda: b"<p>a <b>dry</b> stone wall</p>\n" * 1_300_000, _LIMITS | _READY, is_heavy=True),
    Bomb("html: 40 MB of attributes", "attributes.html", lambda: b"<p " + b"a=b " * 10_000_000 + b">x</p>", _LIMITS | _READY, is_heavy=True),
    Bomb("rtf: nested 300 000 deep", "deep.rtf", lambda: b"{\\rtf1" + b"{" * _DEEP + b"x", _NESTED),
    Bomb("rtf: 20 MB of control words", "words.rtf", lambda: b"{\\rtf1 " + b"\\b\\i x" * 3_300_000 + b"}", _LIMITS | _READY, is_heavy=True),
    Bomb("json: nested 100 000 deep", "deep.json", lambda: b"[" * 100_000 + b"1" + b"]" * 100_000, _NESTED),
    Bomb("json: 40 MB of small objects", "large.json", lambda: b"[" + b'{"a": 1},' * 4_500_000 + b"{}]", _LIMITS | _READY, is_heavy=True),
    Bomb("jsonl: one line of 15 MB", "giant.jsonl", lambda: b'{"a": 1}\n' + json.dumps({"b": "dry stone " * 1_500_000}).encode(), _READY, is_heavy=True),
    Bomb("csv: one row of 600 kB", "row.csv", lambda: long_row(60_000), _READY, is_heavy=True),
    Bomb("csv: one cell of 15 MB", "cell.csv", lambda: b'a,b\n1,"' + b"dry stone " * 1_500_000 + b'"\n', _READY, is_heavy=True),
    Bomb("text: NUL, bidi and tag characters", "hidden.txt", _hidden_text, _READY),
    Bomb("text: 30 MB without a space", "unbroken.txt", lambda: b"x" * 30_000_000, _LIMITS),
    Bomb("eml: multipart 1 000 deep", "deep.eml", _multipart, _NESTED | _READY),
    Bomb("eml: headers of 14 MB", "headers.eml", _long_headers, _READY),
    Bomb("epub: 10 000 chapters", "book.epub", _book, _ARCHIVE),
    Bomb("pptx: a slide that is its own notes", "loop.pptx", _slides, _READY | _NESTED),
    Bomb("lie: a program called text", "program.txt", lambda: b"\x7fELF" + bytes(range(256)) * 40, _REFUSED, "text/plain"),
    Bomb("lie: an archive called PDF", "archive.pdf", lambda: _zipped({"a.txt": b"x"}), _REFUSED, "application/pdf"),
    Bomb("lie: HTML called PNG", "page.png", lambda: b"<html><script>alert(1)</script>x", _REFUSED, "image/png"),
    Bomb("lie: a PDF called Word", "paper.docx", lambda: _pdf(b"", b""), _REFUSED),
    Bomb("lie: text called Excel", "table.xlsx", lambda: b"a,b\n1,2\n", _REFUSED),
    Bomb("lie: an old Word file called RTF", "old.rtf", lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), _REFUSED),
)  # fmt: skip


async def detonate(bomb: Bomb, parser: Parser) -> Outcome:
    """Have a bomb read as an upload would be read."""
    body = bomb.build()
    started, cpu_before_s, refused = time.monotonic(), sum(_cpu_below()), 0
    try:
        media_type = media_type_of(bomb.file, bomb.declared, body[:8_192])
        if media_type == ARCHIVE:
            async with parser.archive(body) as archive:
                code = "ready" if archive.members else "document.no_text"
                refused = sum(member.refused is not None for member in archive.members)
        else:
            await parser.parse(body, media_type)
            code = "ready"
    except DrystoneError as exc:
        code = exc.code
    return Outcome(code, time.monotonic() - started, max(0.0, sum(_cpu_below()) - cpu_before_s), refused)


def _cpu_below() -> Iterator[float]:
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        yield times.user + times.system + times.children_user + times.children_system


def main() -> int:
    """Show how each bomb ends; the exit code."""
    options = argparse.ArgumentParser(prog="bombs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("words", nargs="*", help="only bombs whose name contains one of them")
    words = options.parse_args().words
    wanted = [bomb for bomb in BOMBS if not words or any(word in bomb.name for word in words)]
    if not wanted:
        options.error(f"no bomb is named so; there are: {', '.join(bomb.name for bomb in BOMBS)}")
    return asyncio.run(_detonate_all(wanted))


async def _detonate_all(wanted: list[Bomb]) -> int:
    failed = 0
    parser = Parser(ParsingSettings())
    print(f"{'bomb':44} {'ends as':28} {'seconds':>8} {'CPU s':>7}")
    for bomb in wanted:
        outcome = await detonate(bomb, parser)
        is_as_expected = outcome.code in bomb.codes and outcome.took_s < 90
        failed += not is_as_expected
        mark = "" if is_as_expected else "   not as expected"
        ended = f"{outcome.code}, {outcome.refused} refused" if outcome.refused else outcome.code
        print(f"{bomb.name:44} {ended:28} {outcome.took_s:8.2f} {outcome.cpu_s:7.2f}{mark}", flush=True)
    await parser.aclose()
    print(f"unexplained or late: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
