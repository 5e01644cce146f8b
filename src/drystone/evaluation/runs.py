"""A run: what one system, with one setting, ranked for each query; kept in files so that later ones can be compared.

Two formats: our own JSONL, which keeps all, and that of TREC, which other tools write and read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from drystone.core.errors import Invalid
from drystone.evaluation.judgements import lines_of, object_of

_FORMAT = 1
_HINT = "a run is what --save-run wrote, or a TREC run: query-id Q0 document-id rank score name"
_BLANKS = re.compile(r"\s+")


@dataclass(frozen=True)
class Ranking:
    """What was found for one query: document ids, best first, each once, with their scores.

    took_ms: as the client saw it; None where it was not measured. quotes: the best passage of the first few.
    """

    documents: list[str]
    scores: list[float]
    took_ms: float | None = None
    quotes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """When and by what a run was made. None: it is not known."""

    made_at: str | None = None
    version: str | None = None
    passages: int | None = None
    settings: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Run:
    """Rankings by query id. is_complete: every query that was asked is in it, also those for which nothing was found."""

    name: str
    origin: Origin
    rankings: Mapping[str, Ranking]
    is_complete: bool = True


def save(run: Run, path: Path) -> None:
    """Write JSONL: a line about the run, then one per query."""
    with path.open("w", encoding="utf-8") as file:
        head = {"format": _FORMAT, "name": run.name, **asdict(run.origin)}
        file.write(json.dumps(head, ensure_ascii=False) + "\n")
        for query_id, ranking in run.rankings.items():
            line = {
                "query_id": query_id,
                "took_ms": ranking.took_ms,
                "documents": ranking.documents,
                "scores": ranking.scores,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def save_trec(run: Run, path: Path) -> int:
    """Write a TREC run; how many ids held blanks, which columns cannot: they are written as %20 and so on."""
    with_blanks: set[str] = set()

    def cell(text: str) -> str:
        if _BLANKS.search(text):
            with_blanks.add(text)
        return _BLANKS.sub(lambda found: quote(found.group()), text)

    with path.open("w", encoding="utf-8") as file:
        for query_id, ranking in run.rankings.items():
            for rank, (document, score) in enumerate(zip(ranking.documents, ranking.scores, strict=True), start=1):
                file.write(f"{cell(query_id)} Q0 {cell(document)} {rank} {score:.6f} {cell(run.name)}\n")
    return len(with_blanks)


def load(path: Path) -> Run:
    """A run from either format, named after its file.

    Of a TREC run the scores decide the order, as for `trec_eval`, then the ranks. Raises NotFound, or Invalid with the
    line.
    """
    lines = list(lines_of(path))
    if not lines:
        _refuse(path, 1, "There is no run in the file.")
    if lines[0][1].lstrip().startswith("{"):
        return _from_jsonl(path, lines)
    return Run(path.name, Origin(), _from_trec(path, lines), is_complete=False)


def renamed(run: Run, names: Mapping[str, str]) -> Run:
    """The run with its documents under the names that judgements use. names: id -> name, for those that differ."""
    rankings = {
        query_id: replace(ranking, documents=[names.get(document, document) for document in ranking.documents])
        for query_id, ranking in run.rankings.items()
    }
    return replace(run, rankings=rankings)


def _from_jsonl(path: Path, lines: Sequence[tuple[int, str]]) -> Run:
    number, first = lines[0]
    head = object_of(path, number, first, hint=_HINT)
    if head.get("format") != _FORMAT:
        _refuse(
            path, number, f'The first line is not that of a run of format {_FORMAT} ("format" is missing or another).'
        )
    rankings: dict[str, Ranking] = {}
    for number, line in lines[1:]:
        row = object_of(path, number, line, hint=_HINT)
        query_id, ranking = _ranking_of(path, number, row)
        if query_id in rankings:
            _refuse(path, number, f"Query {query_id} stands there twice.")
        rankings[query_id] = ranking
    known = {name: head.get(name) for name in ("made_at", "version", "passages", "settings")}
    return Run(path.name, Origin(**known), rankings)


def _ranking_of(path: Path, number: int, row: Mapping[str, Any]) -> tuple[str, Ranking]:
    query_id, documents, scores, took_ms = (row.get(name) for name in ("query_id", "documents", "scores", "took_ms"))
    if not (isinstance(query_id, str) and isinstance(documents, list) and isinstance(scores, list)):
        _refuse(path, number, 'The line lacks "query_id", "documents" or "scores".')
    if not all(isinstance(each, str) for each in documents) or len(set(documents)) != len(documents):
        _refuse(path, number, '"documents" are no ids, or one stands there twice.')
    if not all(isinstance(each, int | float) for each in scores) or len(scores) != len(documents):
        _refuse(path, number, '"scores" are no numbers, or not one for each document.')
    return query_id, Ranking(documents, scores, took_ms if isinstance(took_ms, int | float) else None)


def _from_trec(path: Path, lines: Sequence[tuple[int, str]]) -> dict[str, Ranking]:
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for number, query_id, document, rank, score in _trec_rows(path, lines):
        of_query = found.setdefault(query_id, {})
        if document in of_query:
            _refuse(path, number, f"Document {document} stands there twice for query {query_id}.")
        of_query[document] = (-score, rank)
    rankings = {}
    for query_id, of_query in found.items():
        ordered = sorted(of_query, key=of_query.__getitem__)
        rankings[query_id] = Ranking(ordered, [-of_query[document][0] for document in ordered])
    return rankings


def _trec_rows(path: Path, lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str, str, int, float]]:
    for number, line in lines:
        cells = line.split()
        if len(cells) != 6:
            _refuse(path, number, f"{len(cells)} columns stand here where a line of a TREC run has 6.")
        try:
            rank, score = int(cells[3]), float(cells[4])
        except ValueError:
            _refuse(path, number, f"Rank {cells[3]!r} or score {cells[4]!r} is no number.")
        if math.isnan(score):
            _refuse(path, number, "The score is no number.")
        yield number, cells[0], cells[2], rank, score


def _refuse(path: Path, number: int, what: str) -> NoReturn:
    raise Invalid("eval.bad_file", f"{path}:{number}: {what}", hint=_HINT)
