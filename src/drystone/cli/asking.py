"""What an evaluation asks the API: every query once, and which documents of the collection judgements speak of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from drystone.cli.answers import Answer, Document, Hit, HitDocument
from drystone.cli.client import Client
from drystone.core.errors import Invalid
from drystone.evaluation.judgements import Queries
from drystone.evaluation.runs import Ranking

DOCUMENTS = 100  # the most that one search gives
# Of so many documents the quote is kept, to show what was found.
_QUOTES = 3
_EXAMPLES = 3


@dataclass
class Holdings:
    """Which judged documents a collection has, by name: the external id, or the document's id where it has none.

    names: document id -> name, of those that judgements name by the id although they have an external one. examples:
    names of a few documents, judged or not.
    """

    present: set[str] = field(default_factory=set)
    unsearchable: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


def name_of(document: Document | HitDocument) -> str:
    """What judgements call a document."""
    return document["external_id"] or document["id"]


def holdings(client: Client, collection: str, judged: Iterable[str]) -> Holdings:
    """Look for the judged documents among all of the collection, page by page until each has been seen."""
    found, missing = Holdings(), set(judged)
    for page in client.document_pages(collection=collection):
        for document in page:
            name = name_of(document)
            if len(found.examples) < _EXAMPLES:
                found.examples.append(name)
            if missing.isdisjoint((name, document["id"])):
                continue
            if document["id"] in missing and document["id"] != name:
                found.names[document["id"]] = name
            missing -= {name, document["id"]}
            found.present.add(name)
            found.titles[name] = document["title"] or document["name"] or ""
            if not document["is_searchable"]:
                found.unsearchable.add(name)
        if not missing:
            break
    return found


def ask(
    client: Client,
    settings: Mapping[str, Any],
    queries: Queries,
    *,
    concurrency: int,
    titles: dict[str, str],
    advance: Callable[[], None],
) -> dict[str, Ranking]:
    """Ask every query once; rankings in the order of the queries. titles: those of found documents are added.

    The first query is asked once more before, untimed: connection and caches are warm then.
    """
    _search(client, settings, *next(iter(queries.items())))

    def timed(query: tuple[str, str]) -> tuple[str, Answer, float]:
        began = time.perf_counter()
        answer = _search(client, settings, *query)
        return query[0], answer, (time.perf_counter() - began) * 1000

    found: dict[str, Ranking] = {}
    pool = ThreadPoolExecutor(concurrency)
    try:
        for query_id, answer, took_ms in pool.map(timed, queries.items()):
            found[query_id] = ranking_of(answer, took_ms)
            for hit in answer["hits"]:
                titles.setdefault(name_of(hit["document"]), hit["document"]["title"] or hit["document"]["name"] or "")
            advance()
    except BaseException:
        client.stop.set()  # nobody waits for a server any more
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def ranking_of(answer: Answer, took_ms: float) -> Ranking:
    """The documents of an answer, each at the place of its best passage."""
    best: dict[str, Hit] = {}
    for hit in answer["hits"]:
        best.setdefault(name_of(hit["document"]), hit)
    return Ranking(
        documents=[*best],
        scores=_falling([hit["score"] for hit in best.values()]),
        took_ms=round(took_ms, 3),
        quotes={name: hit["quote"] for name, hit in list(best.items())[:_QUOTES]},
    )


def _falling(scores: list[float]) -> list[float]:
    """The scores where they never rise; else, as where reranked passages stand before others, how many places are left.

    Programs that read TREC's runs go by the score, not by the place.
    """
    rises = any(after > before for before, after in pairwise(scores))
    return [float(len(scores) - place) for place in range(len(scores))] if rises else scores


def _search(client: Client, settings: Mapping[str, Any], query_id: str, text: str) -> Answer:
    try:
        return client.search({"max_per_document": 1, **settings, "query": text, "limit": DOCUMENTS})
    except Invalid as exc:
        if not exc.code.startswith("search.query"):
            raise
        raise Invalid(exc.code, f"Query {query_id}: {exc.message}", hint=exc.hint) from exc
