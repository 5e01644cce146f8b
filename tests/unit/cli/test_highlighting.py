"""Which words of a passage are marked, and which part of a long one is shown."""

from __future__ import annotations

import pytest

from drystone.cli import highlighting


def _marked(text: str, query: str) -> list[str]:
    return [text[start:end] for start, end in highlighting.spans(text, highlighting.meant(query))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("buckle", "buckling"),
        ("shell", "shells"),
        ("theory", "theories"),
        ("compute", "computation"),
        ("run", "running"),
        ("analysis", "analyses"),
        ("mauer", "mauern"),
    ],
)
def test_forms_of_a_word_are_alike(one: str, other: str) -> None:
    assert highlighting.are_forms(one, other)
    assert highlighting.are_forms(other, one)


@pytest.mark.parametrize(
    ("one", "other"), [("plan", "plane"), ("stand", "standard"), ("car", "care"), ("in", "ing"), ("wall", "wallet")]
)
def test_different_words_are_not_alike(one: str, other: str) -> None:
    assert not highlighting.are_forms(one, other)
    assert not highlighting.are_forms(other, one)


def test_case_and_stop_words_do_not_count() -> None:
    assert _marked("Why the SHELL of a ship is thin", "why do thin Shells buckle") == ["SHELL", "thin"]


def test_a_question_of_stop_words_only_is_taken_as_it_is() -> None:
    assert _marked("to be, or not", "to be") == ["to", "be"]


def test_words_of_a_script_without_spaces_are_marked_by_pairs() -> None:
    assert _marked("墙没有砂浆也能站立。", "没有砂浆的墙") == ["没有砂浆"]


def test_a_short_text_is_shown_whole() -> None:
    text = "One sentence. Another one."

    assert highlighting.best_part(text, ["another"], about=100) == (0, len(text))


def test_a_long_text_is_cut_at_sentences_around_the_best_one() -> None:
    filler = [f"Sentence number {n} tells nothing of it." for n in range(40)]
    filler[25] = "Thin shells buckle under load."
    text = " ".join(filler)

    start, end = highlighting.best_part(text, ["shells", "buckling"], about=200)

    assert "Thin shells buckle under load." in text[start:end]
    assert end - start <= 200
    assert text[start:end].startswith(("Thin", "Sentence"))
    assert text[start:end].endswith(".")


def test_an_endless_sentence_is_cut_between_words_round_its_first_match() -> None:
    text = "word " * 300 + "buckling " + "word " * 300

    start, end = highlighting.best_part(text, ["buckle"], about=200)

    assert "buckling" in text[start:end]
    assert end - start <= 250
    assert set(text[start:end].split()) == {"word", "buckling"}


def test_a_text_without_any_space_is_cut_all_the_same() -> None:
    start, end = highlighting.best_part("x" * 5000, ["buckle"], about=200)

    assert end - start == 200
