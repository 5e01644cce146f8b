"""The report is a page that needs nothing else and cannot be steered by what it shows."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from drystone.evaluation import report, runs, scoring
from drystone.evaluation.coverage import Gap
from drystone.evaluation.results import Evaluation
from drystone.evaluation.runs import Origin, Ranking, Run

_ORIGIN = Origin("2026-11-22T08:00:00+00:00", "0.1.0", 100, {"collection": "walls", "mode": "hybrid"})
_VOID = {"meta", "br"}


class _Tags(HTMLParser):
    """Fails where a tag is not closed in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def evaluation() -> Evaluation:
    queries = {"1": "why <b>walls</b> stand", "2": "mortar"}
    judgements = {"1": {"a": 1}, "2": {"b": 2, "c": 1, "d": 1, "e": 1}}
    ours = {
        "1": Ranking(["x", "a"], [2.0, 1.0], 5.0, {"x": "<script>alert(1)</script> " + "long " * 60}),
        "2": Ranking(["b"], [1.0], 7.0),
    }
    theirs = {"1": Ranking(["a"], [1.0]), "2": Ranking([], [])}
    scores = [
        scoring.score(Run(name, origin, rankings), judgements, ["1", "2"], resamples=2000, seed=1)
        for name, origin, rankings in (("hybrid", _ORIGIN, ours), ("<other>", Origin(), theirs))
    ]
    return Evaluation(
        collection="walls & more",
        made_at="2026-11-22T08:00:00+00:00",
        version="0.1.0",
        documents=5,
        passages=9,
        queries=queries,
        judgements=judgements,
        scores=scores,
        comparisons=[scoring.compare(scores[0], scores[1], resamples=2000, seed=1)],
        gaps=[Gap("queries.unjudged", "queries without judgements, not asked", ["3"])],
        titles={"a": "Of Walls", "x": "Of Other Things"},
        resamples=2000,
        seed=1,
    )


def test_the_folder_holds_page_charts_numbers_and_the_run(evaluation: Evaluation, tmp_path: Path) -> None:
    page = report.write(evaluation, tmp_path / "new" / "report")

    names = {path.name for path in page.parent.iterdir()}
    assert names == {"report.html", "measures.svg", "recall.svg", "difference-1.svg", "results.json", "run.jsonl"}
    found = json.loads((page.parent / "results.json").read_text())
    assert [run["name"] for run in found["runs"]] == ["hybrid", "<other>"]
    assert found["comparisons"][0]["measures"]["ndcg@10"]["better"] == 1
    assert [query["query_id"] for query in found["by_query"]] == ["2", "1"]
    assert runs.load(page.parent / "run.jsonl").rankings["1"].documents == ["x", "a"]


def test_the_page_is_whole_loads_nothing_and_shows_markup_as_text(evaluation: Evaluation, tmp_path: Path) -> None:
    page = report.write(evaluation, tmp_path).read_text()

    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    assert re.findall(r"<script|<b>walls|<other>|src=|@import|url\(", page) == []
    assert set(re.findall(r"https?://[^\"'\s<]+", page)) == {"http://www.w3.org/2000/svg"}


def test_the_page_tells_what_was_wanted_and_what_was_found_instead(evaluation: Evaluation, tmp_path: Path) -> None:
    page = report.write(evaluation, tmp_path).read_text()

    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "2. Of Walls a" in text
    assert "– Of Other Things x &lt;script&gt;alert(1)&lt;/script&gt; long" in text
    assert "4 in all, 1 found" in text
    assert "queries without judgements, not asked: 1 (3)" in text
    assert "2026-11-22 08:00 UTC" in text
