"""Small PDFs, made by code."""

from __future__ import annotations

import re

PdfLine = tuple[float, float, float, str]


def make(pages: list[list[PdfLine]], title: str = "") -> bytes:
    """A PDF of pages of (x, y, size, text), set in Helvetica; /B before a text sets it in Helvetica-Bold."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>"
        % (len(pages), b" ".join(b"%d 0 R" % (6 + 2 * n) for n in range(len(pages)))),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold/Encoding/WinAnsiEncoding>>",
        b"<</Title(%s)>>" % title.encode("latin-1"),
    ]
    for number, lines in enumerate(pages):
        drawn = b"".join(
            b"BT /%s %g Tf %g %g Td (%s) Tj ET\n"
            % (
                b"F2" if text.startswith("/B") else b"F1",
                size,
                x,
                y,
                text.removeprefix("/B").replace("(", "\\(").replace(")", "\\)").encode("cp1252"),
            )
            for x, y, size, text in lines
        )
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>>>" % (7 + 2 * number)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn))
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer<</Size %d/Root 1 0 R/Info 5 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)


def printed(*pages: list[str]) -> bytes:
    """A PDF whose pages hold these lines, one below the other."""
    return make([[(72, 720 - 24 * place, 12, line) for place, line in enumerate(lines)] for lines in pages])


def slow(*pages: list[str]) -> bytes:
    """As `printed`, but that each page takes a processor some ten seconds to draw, or many more."""
    fills = b"/G gs " + b"".join(b"0.%d g 0 0 612 792 re f " % (n % 9) for n in range(20_000))
    text = printed(*pages).replace(b"/Resources<<", b"/Resources<</ExtGState<</G<</ca 0.5/BM/Luminosity>>>>")
    return re.sub(
        rb"<</Length (\d+)>>stream\n",
        lambda found: b"<</Length %d>>stream\n%s" % (int(found[1]) + len(fills), fills),
        text,
    )
