"""Texts cut into chunks: what must hold for any text, and where cuts fall."""

from __future__ import annotations

import random
import re
import time
from bisect import bisect_left
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from drystone.adapters.parsing import Heading, Parsed
from drystone.documents.chunking import Chunk, chunk


def _tokens(text: str) -> list[int]:
    """Token starts of a tokenizer that knows pieces of six letters and single signs."""
    return [match.start() for match in re.finditer(r"\w{1,6}|[^\w\s]", text)]


def _parsed(text: str, headings: list[tuple[int, str]] | None = None, page_starts: tuple[int, ...] = ()) -> Parsed:
    """A document; headings are (level, line) in the order they stand in the text."""
    found = []
    at = 0
    for level, line in headings or []:
        at = text.index(line, at)
        found.append(Heading(at, at + len(line), level, line.strip("# ")))
        at += len(line)
    return Parsed(text, page_starts, tuple(found), None, "test")


def _chunks(parsed: Parsed, max_tokens: int = 250, overlap_tokens: int = 40, title: str | None = None) -> list[Chunk]:
    return chunk(parsed, _tokens(parsed.text), title=title, max_tokens=max_tokens, overlap_tokens=overlap_tokens)


def _random_document(seed: int) -> Parsed:
    rng = random.Random(seed)
    text = ""
    headings = []
    for _ in range(rng.randint(1, 50)):
        kind = rng.random()
        if kind < 0.15:
            line = f"# H{rng.randint(0, 9)}"
            headings.append(Heading(len(text), len(text) + len(line), rng.randint(1, 4), line[2:]))
            text += line + "\n"
            continue
        if kind < 0.3:
            text += "".join(rng.choice("abcdefghi") for _ in range(rng.randint(1, 3_000)))
        elif kind < 0.5:
            text += "。".join("壁は石" * rng.randint(1, 30) for _ in range(rng.randint(1, 30)))
        else:
            words = ["wall", "stone.", "Dry!", "e.g.", "(see", "3)", "x", "\u3000", "é"]
            text += " ".join(rng.choice(words) for _ in range(rng.randint(1, 400)))
        text += rng.choice(["\n", "\n\n", " ", "\n \n", ""])
    pages = tuple(sorted(rng.randint(0, len(text)) for _ in range(rng.randint(0, 5))))
    return Parsed(text, (0, *pages) if pages else (), tuple(headings), None, "test")


@pytest.mark.parametrize("max_tokens", [5, 20, 250])
@pytest.mark.parametrize("overlap_tokens", [0, 5, 40, 300])
def test_what_holds_for_any_text(max_tokens: int, overlap_tokens: int) -> None:
    for seed in range(12):
        parsed = _random_document(seed)
        tokens = _tokens(parsed.text)

        chunks = chunk(parsed, tokens, title="T", max_tokens=max_tokens, overlap_tokens=overlap_tokens)

        covered = bytearray(len(parsed.text))
        for ordinal, each in enumerate(chunks):
            assert each.ordinal == ordinal
            assert each.text == parsed.text[each.start : each.end]
            assert each.text
            assert each.text == each.text.strip()
            assert bisect_left(tokens, each.end) - bisect_left(tokens, each.start) <= max_tokens
            assert each.title_path[0] == "T"
            assert (each.page is not None) == bool(parsed.page_starts)
            covered[each.start : each.end] = b"\1" * (each.end - each.start)
        for one, other in pairwise(chunks):
            assert one.start < other.start
            assert one.end < other.end
            if one.end <= other.start:
                assert one.text + (other.space_before or "") + other.text == parsed.text[one.start : other.end]
            else:
                assert other.space_before == ""
        assert all(mark or char.isspace() for mark, char in zip(covered, parsed.text, strict=True)), seed


def test_white_space_between_chunks_is_known_unless_it_is_very_long() -> None:
    text = "One wall.\n\n  Two walls." + "\n" * 257 + "Three walls."

    chunks = _chunks(_parsed(text), max_tokens=3, overlap_tokens=0)

    assert [each.space_before for each in chunks] == ["", "\n\n  ", " ", None]


def test_an_array_of_tokens_is_as_good_as_a_list() -> None:
    parsed = _random_document(7)
    tokens = _tokens(parsed.text)

    assert chunk(parsed, np.asarray(tokens), title=None) == chunk(parsed, tokens, title=None)


@pytest.mark.parametrize("text", ["", " \n\n ", "\t"])
def test_nothing_to_read_gives_no_chunk(text: str) -> None:
    assert _chunks(_parsed(text)) == []


def test_a_short_document_is_one_chunk_with_all_its_headings() -> None:
    text = "# Top\n\nIntro here.\n\n## One\n\nFirst.\n\n## Two\n\nSecond."

    chunks = _chunks(_parsed(text, [(1, "# Top"), (2, "## One"), (2, "## Two")]), title="Walls")

    assert [c.text for c in chunks] == [text]
    assert chunks[0].title_path == ("Walls", "Top")


def test_a_short_document_is_one_chunk_however_deep_its_headings_are() -> None:
    text = "# A\n\nx\n\n#### B\n\ny\n\n# C\n\nz\n\n### D\n\nw"

    chunks = _chunks(_parsed(text, [(1, "# A"), (4, "#### B"), (1, "# C"), (3, "### D")]), title="Walls")

    assert [c.text for c in chunks] == [text]
    assert chunks[0].title_path == ("Walls",)


def test_an_abstract_that_just_fits_is_one_chunk() -> None:
    text = "wall " * 250

    assert len(_chunks(_parsed(text))) == 1
    assert len(_chunks(_parsed(text + "x"))) == 2


def test_large_sections_start_their_own_chunks_under_their_path() -> None:
    body = "Dry walls stand long. " * 30
    text = f"# A\n\n{body}\n\n## B\n\n{body}\n\n# C\n\n{body}"

    chunks = _chunks(_parsed(text, [(1, "# A"), (2, "## B"), (1, "# C")]), title="A")

    assert [c.title_path for c in chunks] == [("A",), ("A", "B"), ("A", "C")]
    assert [c.text.split("\n")[0] for c in chunks] == ["# A", "## B", "# C"]


def test_a_heading_without_text_goes_with_what_it_heads() -> None:
    text = "# A\n\n## B\n\n" + "Dry walls stand long. " * 100

    chunks = _chunks(_parsed(text, [(1, "# A"), (2, "## B")]))

    assert chunks[0].text.startswith("# A\n\n## B\n\nDry")
    assert all(c.title_path == ("A", "B") for c in chunks)


def test_small_sisters_share_a_chunk_and_cousins_do_not() -> None:
    small, large = "Few words. " * 5, "Dry walls stand long. " * 48
    text = f"# A\n\n{large}\n\n## A1\n\n{small}\n\n## A2\n\n{small}\n\n# B\n\n## B1\n\n### B1a\n\n{large}"

    chunks = _chunks(_parsed(text, [(1, "# A"), (2, "## A1"), (2, "## A2"), (1, "# B"), (2, "## B1"), (3, "### B1a")]))

    assert [c.title_path for c in chunks] == [("A",), ("A",), ("B", "B1", "B1a")]
    assert "A1" in chunks[1].text
    assert "A2" in chunks[1].text


def test_paragraphs_stay_whole_and_repeat_nothing() -> None:
    paragraph = "Dry walls stand long here. " * 15
    text = "\n\n".join([paragraph.strip()] * 6)

    chunks = _chunks(_parsed(text))

    assert all(c.text.startswith("Dry walls") for c in chunks)
    assert sum(len(c.text) for c in chunks) + 2 * (len(chunks) - 1) == len(text)


def test_a_long_paragraph_is_cut_between_sentences_and_repeats_the_last_ones() -> None:
    sentences = [f"Sentence number {n} tells of dry walls, e.g. Those by Dr. Smith et al. (1999)." for n in range(60)]
    text = " ".join(sentences)

    chunks = _chunks(_parsed(text))

    assert len(chunks) > 4
    for one, other in pairwise(chunks):
        assert one.text.endswith("(1999).")
        assert other.text.startswith("Sentence number")
        overlap = text[other.start : one.end]
        assert 0 < len(_tokens(overlap)) <= 40


def test_sentences_of_scripts_without_spaces_end_where_they_end() -> None:
    text = "乾いた石の壁は長く立つ。" * 100

    chunks = chunk(_parsed(text), list(range(len(text))), title=None, max_tokens=100, overlap_tokens=0)

    assert all(c.text.endswith("。") for c in chunks)


def test_lines_then_words_then_tokens_are_cut_where_nothing_stronger_is() -> None:
    lines = _chunks(_parsed("\n".join("one two three four" for _ in range(100))), 50, 0)
    words = _chunks(_parsed("wall " * 500), 50, 0)
    letters = _chunks(_parsed("a" * 3_000), 50, 0)

    assert all(c.text.endswith("four") for c in lines)
    assert all(set(c.text.split()) == {"wall"} for c in words)
    assert all(c.start % 6 == 0 for c in letters)


def test_no_small_rest_is_left() -> None:
    text = "Dry walls stand long here. " * 46 + "\n\n" + "A short end."

    chunks = _chunks(_parsed(text))

    assert len(_tokens(text)) > 250
    assert all(len(_tokens(c.text)) > 60 for c in chunks)


def test_one_unknown_word_of_a_megabyte_is_still_cut() -> None:
    chunks = chunk(_parsed("x" * 1_000_000), [0], title=None)

    assert all(len(c.text) <= 4_100 for c in chunks)


def test_pages_are_those_of_the_first_character() -> None:
    first, third = "One wall. " * 40, "Two walls. " * 40
    text = f"{first}\n\n{third}"
    start = len(first) + 2

    chunks = _chunks(_parsed(text, page_starts=(0, start, start)), 150, 0)

    assert {c.page for c in chunks if c.start < start} == {1}
    assert {c.page for c in chunks if c.start >= start} == {3}


def _slides(*slides: tuple[str, str]) -> Parsed:
    """A presentation of slides, each with a title and a text."""
    texts = ["\n\n".join(part for part in slide if part) for slide in slides]
    starts = tuple(len("\n\n".join([*texts[:n], ""])) for n in range(len(texts)))
    parsed = _parsed("\n\n".join(texts), [(1, title) for title, _ in slides], starts)
    return replace(parsed, has_slides=True)


def test_each_slide_is_a_chunk_of_its_own() -> None:
    said = [
        (f"Part {n}", f"Every stone of course number {n} is laid across two below it, never along.") for n in range(12)
    ]

    chunks = _chunks(_slides(*said), title="Walls")

    assert [c.page for c in chunks] == list(range(1, 13))
    assert [c.title_path for c in chunks] == [("Walls", f"Part {n}") for n in range(12)]


def test_a_slide_of_a_few_words_goes_with_the_next() -> None:
    prose = "Dig a trench as deep as your knee, and lay the largest stones into it."

    chunks = _chunks(_slides(("Footings", ""), ("Trench", prose), ("Batter", prose), ("The end", "")), title="Walls")

    assert [c.text for c in chunks] == [f"Footings\n\nTrench\n\n{prose}", f"Batter\n\n{prose}", "The end"]
    assert [c.title_path[1:] for c in chunks] == [("Trench",), ("Batter",), ("The end",)]


def test_a_title_that_the_first_heading_repeats_stands_once() -> None:
    chunks = _chunks(_parsed("# Dry Walls\n\ntext", [(1, "# Dry Walls")]), title="Dry walls")

    assert chunks[0].title_path == ("Dry walls",)


@pytest.mark.parametrize(
    "text", ["a" * 800_000, "word " * 160_000, "A b. " * 100_000, "x\n\n" * 160_000, "\n" * 800_000 + "x"]
)
def test_time_grows_no_faster_than_the_text(text: str) -> None:
    def seconds(part: str) -> float:
        parsed, tokens = _parsed(part), _tokens(part)
        started = time.process_time()
        chunk(parsed, tokens, title=None)
        return time.process_time() - started

    assert seconds(text) < 10 * seconds(text[: len(text) // 4]) + 0.5
