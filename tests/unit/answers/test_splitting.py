"""Sentences of many scripts, by place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone.answers.splitting import MOST_CHARACTERS, sentences


def _split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One stands. Another falls! Why? So.", ["One stands.", "Another falls!", "Why?", "So."]),
        ("Dr. Smith et al. measured 3.5 m (see Fig. 2). It grew.", ["Dr. Smith et al. measured 3.5 m (see Fig. 2).", "It grew."]),
        ("It was T. S. Eliot. He wrote.", ["It was T. S. Eliot.", "He wrote."]),
        ("Das gilt z.B. hier. Und da.", ["Das gilt z.B. hier.", "Und da."]),
        ('"Why?" he said. "So."', ['"Why?" he said.', '"So."']),
        ("水は冷たい。石は重い。", ["水は冷たい。", "石は重い。"]),
        ("「本当？」と言った。はい。", ["「本当？」", "と言った。", "はい。"]),
        ("هل هذا صحيح؟ نعم.", ["هل هذا صحيح؟", "نعم."]),
        ("यह एक है। वह दो है।", ["यह एक है।", "वह दो है।"]),
        ("# A heading\n\nA line\nthat goes on.\n- one\n- two", ["# A heading", "A line\nthat goes on.", "- one", "- two"]),
        ("The end is near … but not here. So.", ["The end is near … but not here.", "So."]),
        ("  \n ", []),
        ("", []),
    ],
)  # fmt: skip
def test_sentences_end_where_readers_end_them(text: str, expected: list[str]) -> None:
    assert _split(text) == expected


def test_what_has_no_end_is_cut_at_spaces() -> None:
    found = _split("wall " * 500)

    assert max(map(len, found)) <= MOST_CHARACTERS
    assert {word for each in found for word in each.split()} == {"wall"}


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_spans_are_in_order_apart_and_leave_out_nothing_but_space(text: str) -> None:
    spans = sentences(text)

    flat = [place for span in spans for place in span]
    assert flat == sorted(flat)
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
