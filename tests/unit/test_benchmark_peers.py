"""What `benchmarks.peers` counts and shows, and what a peer's process does with a store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from benchmarks import peers
from benchmarks.report import ROOT
from benchmarks.stores import Passage
from benchmarks.stores.__main__ import Library

_VALUES = {
    "drystone": {"ndcg@10": 0.5, "documents_per_s": 10.0, "p95_ms": 20.0},
    "other": {"ndcg@10": 0.4, "documents_per_s": 25.0, "p95_ms": 5.0},
}


class _Kept:
    """A store that finds everything, in the order it was added."""

    needs_vectors = False

    def __init__(self) -> None:
        self.passages: list[Passage] = []
        self.finished_with = 0

    def add(self, passages: Sequence[Passage], vectors: np.ndarray | None) -> None:
        self.passages += passages

    def finish(self) -> None:
        self.finished_with = len(self.passages)

    def search(self, question: str, vector: np.ndarray | None, count: int) -> list[Passage]:
        return self.passages[:count]


def _written(folder: Path, documents: Sequence[str]) -> Path:
    path = folder / "passages"
    path.write_text("".join(json.dumps({"document": each, "text": "words"}) + "\n" for each in documents))
    return path


def test_percentiles_are_of_each_round_and_the_median_is_of_the_rounds() -> None:
    slow_spell = [[1.0, 2.0, 3.0, 4.0], [100.0, 200.0, 300.0, 400.0], [2.0, 3.0, 4.0, 5.0]]

    assert peers.latency(slow_spell) == {"p50_ms": 3.0, "p95_ms": 5.0}


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(5, 5, [0, 1, 2, 3, 4]), (3, 300, [0, 1, 2]), (10, 4, [0, 2, 5, 7]), (7, 1, [0])]
)
def test_questions_are_taken_from_all_over_and_none_twice(count: int, most: int, expected: list[int]) -> None:
    questions = [str(number) for number in range(count)]

    assert peers.spread(questions, most) == [str(number) for number in expected]


def test_a_line_has_the_value_and_how_many_times_drystones_it_is() -> None:
    found = peers.lines("cranfield", {"chunks": 7, "values": _VALUES})

    assert {
        "collection": "cranfield",
        "n_chunks": 7,
        "peer": "other",
        "metric": "ndcg@10",
        "value": 0.4,
        "ratio": 0.8,
    } in found
    assert {(line["metric"], line["ratio"]) for line in found if line["peer"] == "other"} == {
        ("ndcg@10", 0.8),
        ("documents_per_s", 2.5),
        ("p95_ms", 0.25),
    }


def test_without_drystone_there_is_no_ratio() -> None:
    alone = {"other": dict.fromkeys(peers.SHOWN, 2.0)}

    assert {line["ratio"] for line in peers.lines("cisi", {"chunks": 1, "values": alone})} == {None}
    assert peers.rows(alone) == [("other", *["2.00"] * len(peers.SHOWN))]


def test_the_table_shows_the_ratio_beneath_the_value() -> None:
    values = {
        "drystone": dict.fromkeys(peers.SHOWN, 8.0),
        "other": dict.fromkeys(peers.SHOWN, 4.0) | {"memory_mb": 1234.0, "p50_ms": 0.25},
    }

    row = dict(zip(peers.SHOWN, peers.rows(values)[1][1:], strict=True))

    assert row["ndcg@10"] == "4.00\n×0.500"
    assert row["memory_mb"] == "1234\n×154"
    assert row["p50_ms"] == "0.250\n×0.031"


def test_disk_is_blocks_and_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "full").write_bytes(b"x" * 1_000_000)
    (tmp_path / "again").hardlink_to(tmp_path / "in" / "full")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(50_000_000)

    assert peers.size_mb(tmp_path) == pytest.approx(1.0, abs=0.1)


def test_a_store_gives_passages_and_the_answer_has_each_document_once(tmp_path: Path) -> None:
    store = _Kept()
    library = Library(store, None)

    library.ingest(_written(tmp_path, ["a", "a", "b", "a", "c", "d"]))

    assert store.finished_with == 6
    assert library.ask("anything", 2) == ["a", "b"]
    assert library.ask("anything", 3) == ["a", "b", "c"]


def test_all_are_measured_unless_some_are_named() -> None:
    assert peers.arguments_of(["here"]).only == list(peers.PEERS)
    assert peers.arguments_of(["here", "--only", "bm25", "chroma"]).only == ["bm25", "chroma"]


@pytest.mark.parametrize(
    "words", [[], ["here", "--rounds", "0"], ["here", "--only", "elastic"], ["here", "--questions", "x"]]
)
def test_what_cannot_be_measured_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        peers.arguments_of(words)

    assert refused.value.code == 2
    assert "usage: python -m benchmarks.peers" in capsys.readouterr().err


def test_every_peer_has_a_store_and_every_package_one_version() -> None:
    stores = {path.stem for path in (ROOT / "benchmarks" / "stores").glob("[a-z]*.py")}

    assert stores == set(peers.PEERS) - {peers.DRYSTONE}
    assert all(each.count("==") == 1 for peer in peers.PEERS.values() for each in peer.packages)


def test_what_a_library_prints_is_no_answer_of_its_process(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_PRINTING_STORE)
    orders = [
        {
            "name": "printing",
            "folder": str(tmp_path),
            "database": "",
            "model_dir": "",
            "threads": 1,
            "packages": ["numpy"],
        },
        {"ingest": str(_written(tmp_path, ["a", "b"]))},
        {"ask": ["one", "two"], "count": 1},
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "src")])}

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.stores"],
        input="".join(json.dumps(order) + "\n" for order in orders),
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    opened, ingested, asked = map(json.loads, done.stdout.splitlines())
    assert opened == {"versions": {"numpy": np.__version__}}
    assert ingested["seconds"] > 0
    assert asked["found"] == [["a"], ["a"]]
    assert len(asked["took_ms"]) == 2
    assert "searching" in done.stderr


_PRINTING_STORE = """
import sys, types

class Store:
    needs_vectors = False
    def __init__(self, folder, database):
        self.passages = []
    def add(self, passages, vectors):
        self.passages += passages
    def finish(self):
        print("finishing")
    def search(self, question, vector, count):
        print("searching")
        return self.passages[:count]

sys.modules["benchmarks.stores.printing"] = types.SimpleNamespace(Store=Store)
"""
