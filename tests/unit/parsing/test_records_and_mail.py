"""JSON, lines of JSON, XML and messages."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from drystone.adapters.parsing import Parsed, read_eml, read_json, read_xml
from drystone.core.errors import Invalid


def _json(text: str) -> Parsed:
    return read_json.read(text.encode(), 1_000_000)


def _xml(text: str) -> Parsed:
    return read_xml.read(text.encode(), 1_000_000)


def _eml(source: str | bytes) -> Parsed:
    return read_eml.read(source.encode() if isinstance(source, str) else source, 1_000_000)


def test_a_list_of_objects_is_a_paragraph_for_each() -> None:
    parsed = _json(
        '[{"wall": "North", "size": {"cm": 120.50, "ok": true}, "stones": ["gneiss", "schist"]}, {"wall": "South", "gone": null}]'
    )

    assert parsed.text == "wall: North\nsize.cm: 120.50\nsize.ok: true\nstones: gneiss, schist\n\nwall: South"


def test_an_object_tells_its_values_first_then_its_records_under_their_name() -> None:
    parsed = _json(
        '{"title": "Survey", "walls": [{"n": 1, "by": [{"who": "Ada"}]}, {"n": 2}], "at": {"place": "Uri"}, "n": 2, "n": 3}'
    )

    assert parsed.text == "title: Survey\nn: 2\nn: 3\n\nat.place: Uri\n\nwalls\n\nn: 1\nby[0].who: Ada\n\nn: 2"
    assert [h.title for h in parsed.headings] == ["walls"]
    assert parsed.title == "Survey"


def test_lines_of_json_are_records_and_a_line_that_is_none_stays() -> None:
    assert (
        _json('{"a": 1}\n{"a": "two\\nlines"}\n{"broken": \n\n[1, 2]').text
        == 'a: 1\n\na: two\nlines\n\n{"broken":\n\n1, 2'
    )


def test_what_is_no_json_is_read_as_text_and_numbers_stay_as_written() -> None:
    assert _json('// settings\n{"a": 1,}').text == '// settings\n{"a": 1,}'
    assert (
        _json('{"big": 123456789012345678901234567890, "e": 1e400}').text
        == "big: 123456789012345678901234567890\ne: 1e400"
    )


def test_records_of_xml_are_told_with_names_and_prose_without() -> None:
    data = "<walls><wall id='7'><name>North</name><cm>120</cm></wall><wall><name>South</name></wall><gate a='1' b='2'/></walls>"
    prose = "<article><title>Walls</title><section><title>Footings</title><p>A <b>trench</b>, wide.</p><p>Deep.</p></section></article>"

    assert _xml(data).text == "name: North\ncm: 120\n\nname: South\n\na: 1 | b: 2"
    parsed = _xml(prose)
    assert parsed.text == "Walls\n\nFootings\n\nA trench, wide.\n\nDeep."
    assert [(h.level, h.title) for h in parsed.headings] == [(1, "Walls"), (2, "Footings")]
    assert parsed.title == "Walls"


def test_feeds_and_drawings_are_read_as_a_person_sees_them() -> None:
    feed = "<rss><channel><title>News</title><item><title>One</title><description>&lt;p&gt;Some &lt;b&gt;bold&lt;/b&gt; words&lt;/p&gt;</description></item></channel></rss>"
    drawing = "<svg xmlns='http://www.w3.org/2000/svg'><title>Walls</title><path d='M 0 0 L 1 1' id='p'/><text>North <tspan>wall</tspan></text></svg>"

    assert _xml(feed).text == "News\n\nOne\n\nSome bold words"
    assert _xml(drawing).text == "Walls\n\nNorth wall"
    assert _xml(drawing).title == "Walls"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "latin-1"])
def test_entities_are_never_declared_and_others_encodings_are_read(encoding: str) -> None:
    source = f"<?xml version='1.0' encoding='{encoding}'?><a><c>größe</c></a>"
    bomb = '<!DOCTYPE a [<!ENTITY x "x">]><a b="&x;">words</a>'

    assert read_xml.read(source.encode(encoding), 1_000).text == "c: größe"
    with pytest.raises(Invalid) as caught:
        read_xml.read(bomb.encode(encoding), 1_000)
    assert caught.value.code == "document.unsafe_xml"


def test_a_document_type_is_not_loaded_and_its_entities_are_those_of_html() -> None:
    assert _xml('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a>x&nbsp;&eacute; y</a>').text == "x é y"


def test_a_message_shows_its_headers_decoded_and_the_plain_form() -> None:
    message = EmailMessage()
    message["Subject"] = "Mauer im Süden"
    message["From"] = "Ada Löwe <ada@example.org>"
    message["To"] = "b@example.org, c@example.org"
    message["Date"] = "Sat, 21 Nov 2026 20:30:00 +0100"
    message.set_content("Plain größe.")
    message.add_alternative("<p>HTML form</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan für alle.pdf")
    message.add_attachment("notes", filename="notes.txt")

    parsed = _eml(message.as_bytes())

    assert parsed.text == (
        "Mauer im Süden\n\nFrom: Ada Löwe <ada@example.org>\nTo: b@example.org, c@example.org\nDate: 2026-11-21 20:30 +0100\n\n"
        "Plain größe.\n\nAttachments: plan für alle.pdf, notes.txt"
    )
    assert parsed.title == "Mauer im Süden"


def test_html_alone_is_read_and_a_forwarded_message_stands_in_place() -> None:
    inner = EmailMessage()
    inner["Subject"] = "Inner"
    inner.set_content("inner words")
    outer = EmailMessage()
    outer["Subject"] = "Outer"
    outer.set_content("<p>See <b>below</b></p>", subtype="html")
    outer.add_attachment(inner)

    parsed = _eml(outer.as_bytes())

    assert parsed.text == "Outer\n\nSee below\n\nInner\n\ninner words"
    assert [(h.level, h.title) for h in parsed.headings] == [(1, "Outer"), (2, "Inner")]


def test_messages_that_break_the_rules_are_read_all_the_same() -> None:
    raw = b"Subject: =?utf-8?b?R3LDtsOfZQ==?= =?nonsense?q?x?=\r\nDate: yesterday\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n"

    assert _eml(raw + "größe".encode("cp1252")).text.endswith("Date: yesterday\n\ngröße")
    assert _eml("Subject: Größe\nFrom: a@b\n\nx").title == "Größe"
    assert _eml("Subject: s\nContent-Type: text/plain; format=flowed\n\nbroken \nline\n> quoted").text.endswith(
        "broken line\n> quoted"
    )
    with pytest.raises(Invalid) as caught:
        _eml("just some words\n\nnothing else")
    assert caught.value.code == "document.wrong_type"
