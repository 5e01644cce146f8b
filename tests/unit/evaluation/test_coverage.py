"""What does not take part in an evaluation is told."""

from __future__ import annotations

from drystone.evaluation import coverage
from drystone.evaluation.runs import Origin, Ranking, Run

QUERIES = {"1": "walls", "2": "mortar", "3": "stones"}
JUDGEMENTS = {"1": {"a": 1, "b": 0}, "3": {"a": 0}, "4": {"c": 1}}


def test_only_queries_with_a_text_and_a_relevant_document_are_asked() -> None:
    asked, gaps = coverage.askable(QUERIES, JUDGEMENTS)

    assert asked == {"1": "walls"}
    assert {gap.code: list(gap.ids) for gap in gaps} == {
        "queries.missing": ["4"],
        "queries.unjudged": ["2"],
        "queries.nothing_relevant": ["3"],
    }


def test_a_set_that_fits_leaves_no_gap() -> None:
    asked, gaps = coverage.askable({"1": "walls"}, {"1": {"a": 1}})

    assert (asked, gaps) == ({"1": "walls"}, [])


def test_missing_documents_are_told_apart_by_whether_it_matters() -> None:
    judged = coverage.judged_documents({"1": {"a": 0, "b": 0, "c": 1}, "2": {"a": 2}, "3": {"d": 1}}, ["1", "2"])

    gaps = coverage.of_documents(judged, "walls", present=["c"], unsearchable=["c"])

    assert {gap.code: list(gap.ids) for gap in gaps} == {
        "documents.missing": ["a"],
        "documents.missing_irrelevant": ["b"],
        "documents.not_searchable": ["c"],
    }


def test_a_gap_says_how_many_and_names_a_few() -> None:
    gap = coverage.Gap("queries.unjudged", "queries without judgements", [*"1234567"])

    assert str(gap) == "queries without judgements: 7 (1, 2, 3, 4, 5, …)"


def test_two_names_of_one_document_become_one_with_the_better_grade() -> None:
    found = coverage.renamed({"1": {"0190-id": 1, "a": 2, "b": 0}}, {"0190-id": "a"})

    assert found == {"1": {"a": 2, "b": 0}}


def test_a_query_that_a_trec_run_lacks_found_nothing() -> None:
    run, gaps = coverage.with_all(Run("x.trec", Origin(), {"1": Ranking(["a"], [1.0])}, is_complete=False), ["1", "2"])

    assert run.rankings["2"] == Ranking([], [])
    assert [(gap.code, gap.ids) for gap in gaps] == [("queries.nothing_in_run", ["2"])]


def test_a_query_that_a_run_of_ours_lacks_was_not_asked() -> None:
    run, gaps = coverage.with_all(Run("x.jsonl", Origin(), {"1": Ranking(["a"], [1.0])}), ["1", "2"])

    assert "2" not in run.rankings
    assert [(gap.code, gap.ids) for gap in gaps] == [("queries.not_in_run", ["2"])]
