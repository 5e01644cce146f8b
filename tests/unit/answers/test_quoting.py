"""Quotes found in texts that write them a little otherwise, at exact places."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone.answers.quoting import Folded, fold

TEXT = "The “wall” of Café Ünïcode’s is\n  15 m high — not 5 m — and\u00a0old. ﬁne stone; 東京は６３４メートル。 It is the wall."


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("15 m high", "15 m high"),
        (
            'the "wall" of cafe\u0301 Ünïcode\'s is 15 m high - not',
            "The “wall” of Café Ünïcode’s is\n  15 m high — not",
        ),
        ("and old.", "and\u00a0old"),
        ("...15 M HIGH...", "15 m high"),
        ("fine stone", "ﬁne stone"),
        ("東京は634", "東京は６３４"),
        ("“It is the wall”", "It is the wall"),
        ("not 5 m", "not 5 m"),
    ],
)
def test_a_quote_is_found_as_the_text_has_it(quote: str, found: str) -> None:
    span = Folded(TEXT).find(quote)

    assert span is not None
    assert TEXT[span[0] : span[1]] == found


@pytest.mark.parametrize(
    "quote", ["5 m high", "m hig", "ne stone", "the wall of", "is", "", " ... ", "It is a wall", "wal"]
)
def test_what_is_cut_out_of_a_word_too_short_or_not_there_is_not_found(quote: str) -> None:
    assert Folded(TEXT).find(quote) is None


_TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from("ab cdÄß.ﬁ“”'—\u00ad\u200b\u0301\u00a0\n１２石水カ"), st.characters(codec="utf-8")
    ),
    min_size=1,
    max_size=80,
)


@given(_TEXTS, st.data())
def test_whatever_is_found_folds_as_the_quote_does(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    quote = data.draw(
        st.sampled_from(
            [text[start:end], text[start:end].upper(), f"“{text[start:end]}”", " ".join(text[start:end].split())]
        )
    )

    span = Folded(text).find(quote)

    if span is not None:
        assert 0 <= span[0] < span[1] <= len(text)
        assert fold(text[span[0] : span[1]]).strip(" '.,;:…()[]") in fold(quote)


@given(st.lists(st.sampled_from(["stone", "Mauer", "café", "12.5", "石垣", "a"]), min_size=3, max_size=12), st.data())
def test_words_in_a_row_are_always_found(words: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(words) - 3))
    text = unicodedata.normalize("NFC", "  ".join(words))
    quote = " ".join(words[first : first + 3])

    span = Folded(text).find(quote)

    assert span is not None
    assert text[span[0] : span[1]].split() == words[first : first + 3]
