"""How a hit is shown to a person."""

from __future__ import annotations

from typing import Any

import pytest

from drystone.cli import passages
from drystone.cli.answers import Answer


def _shown(capsys: pytest.CaptureFixture[str], **hit: Any) -> list[str]:
    whole = {
        "rank": 1,
        "score": 1.5,
        "document": {"id": "d", "title": "Walls", "name": "walls.pdf"},
        "quote": "A wall stands.",
        "start": 0,
        "end": 14,
        "page": None,
        "page_end": None,
        "title_path": ["Walls"],
        "merged": None,
        "duplicates": [],
        "entities": None,
        "words": None,
    } | hit
    told = whole.pop("told", None)
    answer: Answer = {
        "hits": [whole],  # type: ignore[list-item]  # a part
        "exact": True,
        "truncated": False,
        "reranked": False,
        "warnings": [],
        "took_ms": 1.0,
        "explanation": told,  # type: ignore[typeddict-item]  # a part
    }
    passages.show(answer, "wall", full=True)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("page", "page_end", "shown"), [(1, 2, "  p. 1–2  "), (3, 3, "  p. 3  "), (None, None, "walls.pdf  score")]
)
def test_the_pages_of_a_passage_are_shown(
    capsys: pytest.CaptureFixture[str], page: int | None, page_end: int | None, shown: str
) -> None:
    first = _shown(capsys, page=page, page_end=page_end)[0]

    assert shown in first
    assert "None" not in first


def test_the_title_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    plain, below = _shown(capsys), _shown(capsys, title_path=["Walls", "Moss"])

    assert "\n".join(plain).count("Walls") == 1
    assert "\n".join(below).count("Walls") == 1
    assert below[1].strip() == "Moss"


def test_reasons_are_shown_where_they_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _shown(
        capsys,
        words=[{"word": "wall", "score": 2.25}, {"word": "stands", "score": 1.0}],
        scores={"lexical": 3.25, "dense": 0.5},
        ranks={"lexical": 1, "dense": None},
        told={
            "words": [[{"word": "wall", "passages": 3, "weight": 1.5}]],
            "passages": 9,
            "vectors": "scan",
            "candidates": 5,
            "stages": {"embed": 1.5, "total": 4},
        },
    )

    assert "   words 3.25 (rank 1): wall 2.25, stands 1.00 · meaning 0.500" in shown
    assert shown[-2:] == [
        "wall: in 3 of 9 passages, weight 1.50",
        "vectors: scan; 5 candidates; ms: embed 1.5, total 4",
    ]


@pytest.mark.parametrize(
    ("titles", "is_copy", "shown"),
    [
        (["Moss"], True, "   … and 1 copy: Moss p. 2"),
        (["Moss", "Fern", "Moss"], True, "   … and 3 copies: Moss p. 2, Fern p. 2"),
        (["A", "B", "C", "D", "E"], False, "   … and 5 nearly the same: A p. 2, B p. 2, C p. 2, D p. 2, …"),
    ],
)
def test_who_else_says_the_same_is_told_below(
    capsys: pytest.CaptureFixture[str], titles: list[str], is_copy: bool, shown: str
) -> None:
    said = [{"document": {"title": title}, "page": 2, "is_copy": is_copy} for title in titles]

    assert _shown(capsys, duplicates=said)[-1] == shown


def test_how_many_passages_were_joined_stands_at_the_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert _shown(capsys)[-1] == "   0–14 of d"
    assert _shown(capsys, merged=[{"start": 0}, {"start": 7}])[-1] == "   0–14 of d, 2 passages"
