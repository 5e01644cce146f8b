"""Bytes of text whose encoding nobody tells, or tells wrongly."""

from __future__ import annotations

import pytest

from drystone.adapters.parsing import media_type_of
from drystone.adapters.parsing.decoding import decode

# The first article of the Universal Declaration of Human Rights, or a well-known first sentence.
_SAMPLES = {
    "ja": ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", ("cp932", "euc_jp", "iso2022_jp")),
    "zh-hans": ("人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。", ("gb18030",)),
    "zh-hant": ("人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心，並應以兄弟關係的精神互相對待。", ("big5",)),
    "ko": ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", ("cp949",)),
    "ru": ("Все люди рождаются свободными и равными в своем достоинстве и правах.", ("cp1251", "koi8_r", "cp866")),
    "el": ("Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.", ("cp1253",)),
    "he": ("כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.", ("cp1255",)),
    "ar": ("يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.", ("cp1256", "iso8859_6")),
    "th": ("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ", ("cp874",)),
    "pl": ("Wszyscy ludzie rodzą się wolni i równi pod względem swej godności.", ("cp1250", "iso8859_2")),
    "cs": ("Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.", ("cp1250", "iso8859_2")),
    "tr": ("Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.", ("cp1254",)),
    "pt": ("Todos os seres humanos nascem livres. Dotados de razão e de consciência.", ("cp1252", "cp850")),
    "de": ("Größe und Übermaß sind „relativ“ – für Männer wie für Frauen…", ("cp1252",)),
    "fr": ("Tous les êtres humains naissent libres et égaux en dignité. L’été à Noël !", ("cp1252", "mac_roman")),
    "sv": ("Alla människor är födda fria och lika i värde och rättigheter.", ("cp1252",)),
    "en": ("The café’s naïve façade cost £5 – a “bargain”, 20 °C.", ("cp1252",)),
}
_CASES = [(text, encoding) for text, encodings in _SAMPLES.values() for encoding in encodings]


@pytest.mark.parametrize(("text", "encoding"), _CASES)
def test_an_old_encoding_is_found_from_one_sentence(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("language", ["en", "de", "ru", "el", "he", "ar", "th", "ja", "zh-hans", "zh-hant", "ko"])
def test_unicode_is_found_with_and_without_its_mark(language: str, encoding: str) -> None:
    text = f"{_SAMPLES[language][0]}\n{_SAMPLES[language][0]}"

    assert decode(text.encode(encoding)) == text
    assert media_type_of("a.txt", None, text.encode(encoding)) == "text/plain"


@pytest.mark.parametrize(
    "body", [b"a log line\0 with zeros\0 in it\n" * 20, "Größe\0 und\0 Übermaß".encode("cp1252") * 20]
)
def test_a_stray_zero_does_not_make_utf_16(body: bytes) -> None:
    assert decode(body).replace("\0", "").startswith(("a log line with", "Größe und"))


@pytest.mark.parametrize(("text", "encoding"), _CASES)
def test_an_old_encoding_is_found_from_a_long_text(text: str, encoding: str) -> None:
    long = f"{text}\n" * 2_000

    assert decode(long.encode(encoding)) == long


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_unicode(encoding: str) -> None:
    text = "Plain words and größe, 20 °C.\nSecond line."

    assert decode(text.encode(encoding)) == text


def test_one_stray_byte_does_not_unmake_utf8() -> None:
    text = "größe " * 50

    assert decode(text.encode() + b"\xff") == text + "\ufffd"


def test_a_declared_encoding_is_believed_when_it_fits_and_utf8_when_it_does_not_matter() -> None:
    assert decode("Ў".encode("iso8859_5"), "ISO-8859-5") == "Ў"
    assert decode(b"\x93quoted\x94", "iso-8859-1") == "“quoted”"
    assert decode("größe".encode(), "iso-8859-1") == "größe"
    assert decode(b"plain", "utf-16") == "plain"
    assert decode("größe".encode("cp1252"), "no-such-encoding") == "größe"
    assert decode(b"plain", "unicode_escape") == "plain"


def test_every_byte_is_some_text() -> None:
    assert decode(bytes(range(128, 256)) * 4)
    assert decode(b"") == ""
