"""Runs come back from their files as they were."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drystone.core.errors import Invalid
from drystone.evaluation import runs
from drystone.evaluation.runs import Origin, Ranking, Run

RUN = Run(
    "hybrid",
    Origin("2026-11-22T08:00:00+00:00", "0.1.0", 100, {"collection": "walls", "mode": "hybrid"}),
    {
        "q1": Ranking(["notes/a wall.txt", "b"], [1.5, 0.25], 12.5, {"b": "A wall."}),
        "q2": Ranking([], [], 8.0),
    },
)


def test_a_saved_run_comes_back_with_its_origin_and_is_named_after_its_file(tmp_path: Path) -> None:
    runs.save(RUN, tmp_path / "before.jsonl")

    found = runs.load(tmp_path / "before.jsonl")

    assert (found.name, found.origin, found.is_complete) == ("before.jsonl", RUN.origin, True)
    assert found.rankings == {
        "q1": Ranking(["notes/a wall.txt", "b"], [1.5, 0.25], 12.5),
        "q2": Ranking([], [], 8.0),
    }


def test_a_trec_run_has_six_columns_and_blanks_in_ids_are_quoted(tmp_path: Path) -> None:
    renamed = runs.save_trec(RUN, tmp_path / "run.trec")

    assert renamed == 1
    assert (tmp_path / "run.trec").read_text() == (
        "q1 Q0 notes/a%20wall.txt 1 1.500000 hybrid\nq1 Q0 b 2 0.250000 hybrid\n"
    )


def test_scores_order_a_trec_run_and_ranks_those_of_one_score(tmp_path: Path) -> None:
    (tmp_path / "run.trec").write_text("1 Q0 c 1 0.1 x\n1 Q0 b 3 0.5 x\n1 Q0 a 2 0.5 x\n")

    found = runs.load(tmp_path / "run.trec")

    assert found.rankings["1"].documents == ["a", "b", "c"]
    assert found.is_complete is False


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("", 1, "no run"),
        ('{"query_id": "1", "documents": [], "scores": []}', 1, '"format" is missing'),
        ('{"format": 1}\n{"query_id": "1"}', 2, "lacks"),
        ('{"format": 1}\n{"query_id": "1", "documents": ["a", "a"], "scores": [2, 1]}', 2, "stands there twice"),
        ('{"format": 1}\n{"query_id": "1", "documents": ["a"], "scores": []}', 2, "not one for each"),
        ('{"format": 1}' + '\n{"query_id": "1", "documents": [], "scores": []}' * 2, 3, "Query 1 stands there twice"),
        ("1 Q0 a 1 0.5\n", 1, "5 columns"),
        ("1 Q0 a 1 0.5 x\n1 Q0 b two 0.4 x\n", 2, "no number"),
        ("1 Q0 a 1 nan x\n", 1, "no number"),
        ("1 Q0 a 1 0.5 x\n1 Q0 a 2 0.4 x\n", 2, "stands there twice"),
    ],
)
def test_a_bad_line_of_a_run_is_named(tmp_path: Path, content: str, line: int, said: str) -> None:
    path = tmp_path / "run"
    path.write_text(content)

    with pytest.raises(Invalid, match=re.escape(said)) as refused:
        runs.load(path)

    assert refused.value.message.startswith(f"{path}:{line}: ")


def test_documents_take_the_names_of_judgements() -> None:
    found = runs.renamed(RUN, {"b": "wall-b"})

    assert found.rankings["q1"].documents == ["notes/a wall.txt", "wall-b"]
