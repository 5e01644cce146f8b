"""Text as it is stored."""

from __future__ import annotations

import time

import pytest

from drystone.adapters.parsing.normalising import Builder, normalise
from drystone.core.errors import Invalid


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("a  \n\n\n\n\n\nb \t", "a\n\n\nb"),
        ("e\u0301", "é"),
        ("a\x00b\x07c\td", "abc\td"),
        ("wall\u202egnol", "wallgnol"),
        ("in\u200bvis\u2060ible\ufeff", "invisible"),
        ("hyphen\u00adation", "hyphenation"),
        ("tag\U000e0041\U000e007fged", "tagged"),
        ("sign\ufe0f and \ufe00selector\U000e0100", "sign\ufe0f and selector"),
        ("a\u00a0b\u202fc", "a b c"),
        ("ef\ufb01cient \ufb02ow \ufb03", "efficient flow ffi"),
        ("a\u2028b\x0cc\x85d", "a\nb\nc\nd"),
        ("pass\u200cword", "password"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("bad\ud800surrogate", "badsurrogate"),
    ],
)
def test_text_is_stored_clean(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


def test_a_million_spaces_take_no_longer_than_a_million_letters() -> None:
    started = time.process_time()

    assert len(normalise(" " * 1_000_000 + "x" + "\n" * 1_000_000 + "y" + " " * 1_000_000)) == 1_000_005
    assert time.process_time() - started < 3


def test_offsets_are_those_of_the_final_text() -> None:
    builder = Builder(1_000)
    builder.page()
    builder.heading(" The\u00ad  e\u0301tude ", 2)
    builder.block("one\r\n")
    builder.page()
    builder.page()
    builder.line("two")
    builder.page()

    parsed = builder.done("test", "  A\ttitle ")

    assert parsed.text == "The étude\n\none\ntwo"
    heading = parsed.headings[0]
    assert (parsed.text[heading.start : heading.end], heading.title, heading.level) == ("The étude", "The étude", 2)
    assert parsed.page_starts == (0, 15, 15, 18)
    assert parsed.title == "A title"


@pytest.mark.parametrize("text", ["", " \n ", "…!?", "\u200b\u00ad"])
def test_text_without_a_letter_or_digit_is_no_text(text: str) -> None:
    builder = Builder(1_000)
    builder.block(text)

    with pytest.raises(Invalid, match="no text") as caught:
        builder.done("test")

    assert caught.value.code == "document.no_text"


def test_a_text_is_too_large_by_its_bytes() -> None:
    builder = Builder(10)
    builder.block("ööööö")
    assert builder.done("test").text == "ööööö"

    builder.line("!")
    with pytest.raises(Invalid) as caught:
        builder.done("test")
    assert caught.value.code == "document.text_too_large"
