"""What of a judged set can be evaluated, and what is left out: nothing is dropped without being told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from drystone.evaluation.judgements import Judgements, Queries
from drystone.evaluation.runs import Ranking, Run

_EXAMPLES = 5


@dataclass(frozen=True)
class Gap:
    """Ids of one kind that do not take part, or only as not found. code: for programs; what: for people."""

    code: str
    what: str
    ids: Sequence[str]

    @property
    def examples(self) -> Sequence[str]:
        return self.ids[:_EXAMPLES]

    def __str__(self) -> str:
        more = ", …" if len(self.ids) > _EXAMPLES else ""
        return f"{self.what}: {len(self.ids)} ({', '.join(self.examples)}{more})"


def askable(queries: Queries, judgements: Judgements) -> tuple[Queries, list[Gap]]:
    """The queries that have a text and a relevant document, in the order of their file, and the gaps.

    Measures have no value for a query to which nothing is relevant; it is left out.
    """
    with_relevant = {query_id for query_id, grades in judgements.items() if any(grade > 0 for grade in grades.values())}
    gaps = _gaps(
        Gap(
            "queries.missing",
            "judged queries that are not in the file of queries",
            [q for q in judgements if q not in queries],
        ),
        Gap(
            "queries.unjudged",
            "queries without judgements, not asked",
            [q for q in queries if q not in judgements],
        ),
        Gap(
            "queries.nothing_relevant",
            "queries to which nothing was judged relevant, not asked",
            [q for q in queries if q in judgements and q not in with_relevant],
        ),
    )
    return {query_id: text for query_id, text in queries.items() if query_id in with_relevant}, gaps


def judged_documents(judgements: Judgements, queries: Iterable[str]) -> dict[str, int]:
    """Every document judged for one of these queries, with the best of its grades."""
    found: dict[str, int] = {}
    for query_id in queries:
        for document, grade in judgements.get(query_id, {}).items():
            found[document] = max(grade, found.get(document, grade))
    return found


def of_documents(
    judged: Mapping[str, int], collection: str, *, present: Iterable[str], unsearchable: Iterable[str]
) -> list[Gap]:
    """Judged documents that cannot be found. present, unsearchable: names of documents of the collection."""
    there, not_ready = set(present), set(unsearchable)
    missing = [document for document in judged if document not in there]
    return _gaps(
        Gap(
            "documents.missing",
            f"relevant documents that are not in {collection} and count as not found",
            [document for document in missing if judged[document] > 0],
        ),
        Gap(
            "documents.missing_irrelevant",
            f"documents judged not relevant that are not in {collection}, which changes nothing",
            [document for document in missing if judged[document] <= 0],
        ),
        Gap(
            "documents.not_searchable",
            f"judged documents that are in {collection} but pending or failed, so that none can be found",
            [document for document in judged if document in not_ready],
        ),
    )


def renamed(judgements: Judgements, names: Mapping[str, str]) -> Judgements:
    """The judgements with documents under their names; where two become one the better grade counts."""
    found: Judgements = {}
    for query_id, grades in judgements.items():
        of_query = found.setdefault(query_id, {})
        for document, grade in grades.items():
            name = names.get(document, document)
            of_query[name] = max(grade, of_query.get(name, grade))
    return found


def with_all(run: Run, queries: Iterable[str]) -> tuple[Run, list[Gap]]:
    """The run with an empty ranking for each query it lacks, if its format leaves out those for which nothing was found.

    Otherwise what it lacks was not asked, and the run stays as it is.
    """
    lacking = [query_id for query_id in queries if query_id not in run.rankings]
    if run.is_complete:
        return run, _gaps(
            Gap("queries.not_in_run", f"queries that are not in {run.name}, left out of all runs", lacking)
        )
    rankings = {**run.rankings, **{query_id: Ranking([], []) for query_id in lacking}}
    gap = Gap(
        "queries.nothing_in_run",
        f"queries that are not in {run.name}, which counts as having found nothing for them",
        lacking,
    )
    return Run(run.name, run.origin, rankings), _gaps(gap)


def _gaps(*gaps: Gap) -> list[Gap]:
    return [gap for gap in gaps if gap.ids]
