"""Hits out of ranked passages: what is joined, what stands behind a better one, and what never may."""

from __future__ import annotations

import itertools
import random
from uuid import UUID, uuid4

import numpy as np
import pytest

from drystone.adapters.parsing import Parsed
from drystone.documents.chunking import chunk
from drystone.search import choosing
from drystone.search.choosing import LEAST_CHARACTERS, MOST_JOINED, Choice, Passage
from drystone.search.schemas import Collapse

LEAFLET = (
    "Take 5 mg of the drug once a day, in the morning, with a glass of water. Do not take it with alcohol. Patients who "
    "weigh less than 40 kg, and those whose kidneys are weak, should ask a doctor before they begin. Keep the drug in a dry "
    "place below 25 °C. The tablets may be halved, though they may not be crushed; a dose that was forgotten is left out."
)
_places = itertools.count()


def _passage(
    text: str, *, version: UUID | None = None, ordinal: int = 0, start: int = 0, space: str | None = ""
) -> Passage:
    return Passage(next(_places), version or uuid4(), ordinal, start, start + len(text), text, space)


def _row(version: UUID, *texts: str, space: str = "\n\n") -> list[Passage]:
    """A document's passages, in order, with white space between."""
    found, at = [], 0
    for ordinal, text in enumerate(texts):
        found.append(_passage(text, version=version, ordinal=ordinal, start=at, space=space if ordinal else ""))
        at += len(text) + len(space)
    return found


def _chosen(*passages: Passage, limit: int = 10, merge: bool = True, collapse: Collapse = "copies") -> Choice:
    choice = Choice(limit, merge=merge, collapse=collapse)
    for each in passages:
        if not choice.is_full:
            choice.add(each)
    return choice


def _texts(choice: Choice) -> list[str]:
    return [hit.text for hit in choice.hits]


def test_neighbours_become_one_hit_at_the_better_ones_place() -> None:
    a, b, _, d = _row(uuid4(), "one", "two", "three", "four")
    other = _passage("other")

    choice = _chosen(b, other, a, d)

    assert _texts(choice) == ["one\n\ntwo", "other", "four"]
    assert [hit.best for hit in choice.hits] == [b, other, d]
    assert choice.taken == 4
    assert _texts(_chosen(b, other, a, d, merge=False)) == ["two", "other", "one", "four"]


def test_a_passage_between_two_hits_makes_them_one_and_frees_a_place() -> None:
    a, b, c, _ = _row(uuid4(), "one", "two", "three", "four")
    other, last = _passage("other"), _passage("last")

    choice = _chosen(c, other, a, b, last, _passage("one more"), limit=4)

    assert _texts(choice) == ["one\n\ntwo\n\nthree", "other", "last", "one more"]
    assert choice.hits[0].best == c
    assert choice.is_full


def test_a_hit_is_joined_from_so_many_passages_at_most() -> None:
    passages = _row(uuid4(), *"abcdefgh")

    assert _texts(_chosen(*passages, limit=5)) == ["a\n\nb\n\nc\n\nd", "e\n\nf\n\ng\n\nh"]
    a, b, c, d, e, *_ = passages
    assert _texts(_chosen(a, b, d, e, c)) == ["a\n\nb\n\nc", "d\n\ne"], "the better one takes what lies between"


def test_passages_of_two_documents_are_never_joined() -> None:
    assert _texts(_chosen(_row(uuid4(), "one", "two")[0], _row(uuid4(), "one", "two")[1])) == ["one", "two"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (_passage("a wall", start=0), _passage("wall and moss", start=2), " and moss"),
        (_passage("a wall", start=0), _passage(" and moss", start=6), " and moss"),
        (_passage("a wall", start=0), _passage("moss", start=8, space=" \n"), " \nmoss"),
        (_passage("a wall", start=0), _passage("moss", start=8, space=None), None),
        (_passage("a wall", start=0), _passage("moss", start=9, space=" \n"), None),
        (_passage("a wall", start=0), _passage("gate and moss", start=2), None),
        (_passage("a wall of", start=0), _passage("wall", start=2), None),
    ],
    ids=["overlap", "touch", "space", "not known", "too little space", "another text", "within"],
)
def test_what_follows_is_known_to_a_letter_or_not_at_all(one: Passage, other: Passage, expected: str | None) -> None:
    assert choosing.rest(one, other) == expected


@pytest.mark.parametrize("max_tokens", [3, 12, 40])
@pytest.mark.parametrize("merge", [True, False])
def test_whatever_is_ranked_how_quotes_are_the_text_and_nothing_is_lost_or_twice(max_tokens: int, merge: bool) -> None:
    for seed in range(60):
        chance = random.Random(seed)
        versions, ranked = {}, []
        for _ in range(3):
            text = _random_text(chance)
            version = uuid4()
            versions[version] = text
            tokens = [at for at, char in enumerate(text) if not char.isspace() and (not at or text[at - 1].isspace())]
            ranked += [
                Passage(next(_places), version, c.ordinal, c.start, c.end, c.text, c.space_before)
                for c in chunk(Parsed(text, (), (), None, "test"), tokens, title=None, max_tokens=max_tokens)
            ]
        chance.shuffle(ranked)
        limit = chance.randint(1, 20)

        choice = _chosen(*ranked, limit=limit, merge=merge, collapse=chance.choice(["none", "copies", "near"]))

        shown = [each for hit in choice.hits for each in hit.passages]
        behind = [each.passage for hit in choice.hits for each in hit.duplicates]
        assert len(choice.hits) <= limit
        assert sorted(each.place for each in shown + behind) == sorted(each.place for each in ranked[: choice.taken]), (
            "the best so many, each once"
        )
        assert choice.is_full or choice.taken == len(ranked)
        assert [ranked.index(hit.best) for hit in choice.hits] == sorted(ranked.index(hit.best) for hit in choice.hits)
        for hit in choice.hits:
            first, last = hit.passages[0], hit.passages[-1]
            assert hit.text == versions[first.version_id][first.start : last.end], seed
            assert len(hit.passages) <= (MOST_JOINED if merge else 1)
            assert hit.best == min(hit.passages, key=ranked.index)


def _random_text(chance: random.Random) -> str:
    words = ["wall", "stone.", "Dry!", "\u3000moss", "é🪨", "gate", "5"]
    spaces = [" ", "\n", "\n\n", " \n \n", "\u00a0 ", "\n" * 300]
    weights = [30, 3, 3, 1, 1, 0.3]
    return "".join(
        chance.choice(words) + chance.choices(spaces, weights)[0] for _ in range(chance.randint(1, 200))
    ).strip()


@pytest.mark.parametrize(
    "copy",
    [
        LEAFLET,
        LEAFLET.replace(". ", ".\n\n"),
        LEAFLET.replace(", ", " , ").replace(";", ""),
        f"“{LEAFLET}”",
        "• " + LEAFLET.replace(". Keep", ".\n• Keep"),
        LEAFLET[: LEAFLET.index(" The tablets")],
    ],
    ids=["same", "lines", "commas", "quoted", "list", "a part of it"],
)
def test_copies_stand_behind_the_better_one(copy: str) -> None:
    better, worse, other = _passage(LEAFLET), _passage(copy), _passage("another")

    choice = _chosen(better, worse, other, limit=2)

    assert [hit.best for hit in choice.hits] == [better, other]
    assert [(each.passage, each.is_copy) for each in choice.hits[0].duplicates] == [(worse, True)]
    assert len(_chosen(better, worse, other, collapse="none").hits) == 3


_DIFFERENT = {
    "a number": ("5 mg", "50 mg"),
    "a decimal point": ("5 mg", ".5 mg"),
    "a sign": ("25 °C", "-25 °C"),
    "a comparison": ("weigh less than 40", "weigh <40"),
    "a unit": ("5 mg", "5 Mg"),
    "brackets of an account": ("40 kg", "(40) kg"),
    "a negation": ("Do not take", "Do take"),
    "a name": ("alcohol", "aspirin"),
}


@pytest.mark.parametrize(("before", "after"), _DIFFERENT.values(), ids=_DIFFERENT)
def test_a_passage_that_differs_in_one_word_is_no_copy(before: str, after: str) -> None:
    assert len(_chosen(_passage(LEAFLET), _passage(LEAFLET.replace(before, after))).hits) == 2


@pytest.mark.parametrize(
    ("before", "after", "is_near"),
    [
        ("tablets may", "tablets can", True),
        ("in the morning", "in the evening", True),
        ("TAKE", "TAKE", True),
        ("5 mg", "50 mg", False),
        ("5 mg", "5 µg", False),
        ("40 kg", "forty kg", False),
        ("should ask a doctor before they begin", "should not use it unless a doctor has told them so", False),
    ],
)
def test_nearly_the_same_is_of_the_same_numbers(before: str, after: str, is_near: bool) -> None:
    other = LEAFLET.upper() if before == "TAKE" else LEAFLET.replace(before, after)

    choice = _chosen(_passage(LEAFLET), _passage(other), collapse="near")

    assert len(choice.hits) == (1 if is_near else 2)
    assert [each.is_copy for each in choice.hits[0].duplicates] == ([False] if is_near else [])


def test_scripts_without_spaces_are_compared_too() -> None:
    text = (
        "石垣はモルタルを使わずに積まれた壁であり、石の重さだけで立っている。職人は石を一つずつ選び、隙間に小石を詰める。"
        "古い家の周りには苔の生えた低い塀があり、春になると小さな花が咲く。雨の水は石の間を流れるので、冬に凍っても壁は壊れない。"
        "村の人々は毎年秋に集まり、崩れた所を直しながら昔の話をする。子供たちは石の運び方や積み方を祖父母から習い、"
        "やがて自分の畑の境に新しい垣を築く。このような技は世界の多くの国に残っていて、無形の遺産として守られている。"
    )

    near = _chosen(_passage(text), _passage(text.replace("職人", "石工", 1)), collapse="near")

    assert len(near.hits) == 1
    assert len(_chosen(_passage(text), _passage(text.replace("職人", "石工", 1))).hits) == 2


def test_short_passages_are_never_left_out() -> None:
    line = "The fee is five per cent of the price, to be paid on the first of every month, in advance."
    assert len(line) < LEAST_CHARACTERS

    assert len(_chosen(_passage(line), _passage(line), collapse="near").hits) == 2


def test_a_longer_passage_is_not_left_out_for_a_part_of_it() -> None:
    assert len(_chosen(_passage(LEAFLET), _passage(LEAFLET + " Never take two.")).hits) == 2


def test_duplicates_follow_their_hit_when_hits_become_one() -> None:
    a, b, c = _row(uuid4(), LEAFLET, "Between.", LEAFLET[::-1])
    of_a, of_c = _passage(LEAFLET), _passage(LEAFLET[::-1])

    choice = _chosen(c, of_c, a, of_a, b, _passage(LEAFLET))

    (hit,) = choice.hits
    assert (hit.best, hit.passages) == (c, [a, b, c])
    assert [each.passage for each in hit.duplicates][:2] == [of_c, of_a]
    assert len(hit.duplicates) == 3


def test_so_many_of_a_document() -> None:
    one, other = uuid4(), uuid4()
    order = np.array([3, 1, 0, 2, 4])

    kept = choosing.within(order, {3: one, 1: one, 0: other, 2: one, 4: other}, 1)

    assert kept.tolist() == [3, 0]
    assert choosing.within(order, dict.fromkeys(range(5), one), 5).tolist() == order.tolist()


def test_diversity_is_maximal_marginal_relevance() -> None:
    chance = np.random.default_rng(1)
    vectors = chance.normal(size=(40, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = np.sort(chance.normal(size=40))[::-1]
    scaled = (relevance - relevance.min()) / (relevance.max() - relevance.min())
    expected = [0]
    while len(expected) < 8:  # from the formula
        left = [at for at in range(40) if at not in expected]
        expected.append(
            max(left, key=lambda at: 0.7 * scaled[at] - 0.3 * max(float(vectors[at] @ vectors[e]) for e in expected))
        )

    found = choosing.diversified(np.arange(100, 140), relevance, vectors, diversity=0.3, count=8)

    assert found[:8].tolist() == [100 + at for at in expected]
    assert found[8:].tolist() == [at for at in range(100, 140) if at not in found[:8]], "the others as they stood"


def test_the_best_comes_first_however_diverse_and_of_twins_one_waits() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)

    found = choosing.diversified(np.array([7, 8, 9]), np.array([3.0, 2.9, 0.0]), vectors, diversity=1.0, count=3)

    assert found.tolist() == [7, 9, 8]


@pytest.mark.parametrize("count", [0, 1])
def test_few_are_as_diverse_as_they_can_be(count: int) -> None:
    order = np.arange(count)

    found = choosing.diversified(order, np.ones(count), np.eye(2, dtype=np.float32)[:count], diversity=0.5, count=5)

    assert found.tolist() == order.tolist()


def test_headings_above_all_of_it() -> None:
    assert choosing.shared([["A", "B", "C"], ["A", "B"], ["A", "B", "D"]]) == ["A", "B"]
    assert choosing.shared([["A"]]) == ["A"]
    assert choosing.shared([["A"], []]) == []
