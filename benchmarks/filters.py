"""Filters: what the count of a scope and a whole search take, and whether the best ten are those of a full comparison.

    python -m benchmarks.filters [--passages 100000] [--questions 40]

Servers of its own, no HTTP and no words: passages and questions of `python -m benchmarks.debian`, each passage a document
with five attributes. `any`: the filter leaves passages here and there. `far`: it leaves those nearest to one direction, and
the questions asked are the farthest from it, where a walk of the graph meets what passes last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
from sqlalchemy import text

from benchmarks import debian, report, stacks
from benchmarks.report import ROOT, say
from drystone import schema
from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.embedding.bundled import BundledEmbedder
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.ids import new_id
from drystone.documents import collections
from drystone.documents.filters import Comparison
from drystone.documents.models import Collection
from drystone.index import spaces, vectors
from drystone.index.embedders import Embedders
from drystone.index.lexical import Lexicon
from drystone.index.spaces import Space, vector_table
from drystone.index.vectors import PgGraph
from drystone.resources import SEARCH_PARAMETERS
from drystone.search import queries, service
from drystone.search.context import DEPTH, Searcher
from drystone.search.queries import Scope
from drystone.search.schemas import Question
from drystone.stack.supervise import Servers

PER_MILLE = (1, 10, 100, 500)
BEST, BATCH = 10, 2000


class Unindexed(Scope):
    """A scope whose statements look at every document's attributes."""

    def condition(self, parameters: dict[str, Any], *, narrowed: bool = False) -> str:
        return super().condition(parameters)


@dataclass(frozen=True)
class Filled:
    """What is measured. keys: attribute -> int (passages,), per mille. held: float32 (passages, dim), as kept."""

    home: Collection
    keys: dict[str, np.ndarray]
    held: np.ndarray
    chunk_ids: np.ndarray
    questions: list[str]
    asked: np.ndarray
    direction: np.ndarray


async def measure(searcher: Searcher, principal: Principal, filled: Filled) -> list[dict[str, Any]]:
    lines = []
    far = np.argsort(filled.asked @ filled.direction)[: len(filled.questions) // 2]
    chosen = {"any": ("share", np.arange(0, len(filled.questions), 2)), "far": ("along", far)}
    for kind, (key, places) in chosen.items():
        for per_mille in PER_MILLE:
            given = Comparison(type="lt", key=key, value=per_mille)
            found = await _measure_one(searcher, principal, filled, given, places)
            lines += [
                {"filter": kind, "selectivity_percent": per_mille / 10, "metric": name, "value": round(value, 3)}
                for name, value in found.items()
            ]
            say(f"{kind} {per_mille / 10} %: {found}")
    return lines


async def _measure_one(
    searcher: Searcher, principal: Principal, filled: Filled, given: Comparison, places: Sequence[int] | np.ndarray
) -> dict[str, float]:
    inside = np.flatnonzero(filled.keys[given.key] < int(str(given.value)))
    scope, unindexed = (kind([filled.home.id], given) for kind in (Scope, Unindexed))
    took: dict[str, list[float]] = {name: [] for name in ("count", "count_unindexed", "scan", "walk", "search")}
    recalls: dict[str, list[float]] = {"walk": [], "search": []}
    exact, full = 0, 0
    for place in places:
        vector = filled.asked[place]
        best = set(filled.chunk_ids[inside[np.argsort(-(filled.held[inside] @ vector))[:BEST]]].tolist())

        async def count(one: Scope) -> Any:
            return await _in(searcher, lambda s: queries.count_searchable(s, one, up_to=queries.EXACT_UP_TO))

        async def near(exact: bool, vector: np.ndarray = vector) -> np.ndarray:
            find = vectors.scan if exact else searcher.graph.walk
            ids, _ = await _in(searcher, lambda s: find(s, filled.home.space_id, scope, vector, depth=DEPTH))
            return np.asarray(ids)

        await _timed(took["count"], lambda: count(scope))
        await _timed(took["count_unindexed"], lambda: count(unindexed))
        await _timed(took["scan"], lambda: near(exact=True))
        walked = await _timed(took["walk"], lambda: near(exact=False))
        question = Question(
            queries=[filled.questions[place]], collections=[filled.home.name], filter=given, mode="dense"
        )

        async def ask(question: Question = question) -> Any:
            return await service.search(searcher, principal, question)

        answer = await _timed(took["search"], ask)
        hits = {int(str(hit.document.external_id)) for hit in answer.hits}
        recalls["walk"].append(len(best & set(walked[:BEST].tolist())) / len(best))
        recalls["search"].append(len(best & hits) / len(best))
        exact += answer.exact
        full += len(walked) == DEPTH
    return {
        **{f"{name}_ms": statistics.median(each) for name, each in took.items()},
        **{f"{name}_recall_at_10": statistics.mean(each) for name, each in recalls.items()},
        "walks_that_found_enough": full / len(places),
        "answers_exact": exact / len(places),
    }


async def _in(searcher: Searcher, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    async with transaction(searcher.sessions) as session:
        return await ask(session)


async def _timed(into: list[float], ask: Callable[[], Awaitable[Any]]) -> Any:
    began = time.perf_counter()
    found = await ask()
    into.append((time.perf_counter() - began) * 1000)
    return found


async def _fill(owner: Sessions, principal: Principal, space: Space, loaded: debian.Loaded) -> Filled:
    """Documents and chunks by SQL; the graph is built when all vectors are there."""
    chance = np.random.default_rng(1)
    held = loaded.vectors.astype(np.float32)
    direction = held[0]
    ranks = np.argsort(np.argsort(-(held @ direction)))
    keys = {"share": chance.permutation(len(held)) * 1000 // len(held), "along": ranks * 1000 // len(held)}
    async with transaction(owner) as session:
        home = await collections.create(session, principal, space, name="filters", language="english")
        await session.execute(text(f"drop index ix_{vector_table(home.space_id)}_embedding"))
    chunk_ids: list[int] = []
    for begin in range(0, len(held), BATCH):
        part = range(begin, min(begin + BATCH, len(held)))
        rows = [_row(place, keys) for place in part]
        async with transaction(owner) as session:
            made = await session.execute(
                _ADD, {"rows": json.dumps(rows), "workspace_id": home.workspace_id, "collection_id": home.id}
            )
            ids = {row.document_id: row.id for row in made}
            order = [UUID(row["document"]) for row in rows]
            places = {
                "ids": [ids[document] for document in order],
                "collection_ids": [home.id] * len(order),
                "document_ids": order,
            }
            await vectors.add(session, home.space_id, places, [held[place] for place in part])
            await session.execute(_NAME, {"ids": places["ids"], "document_ids": order})
        chunk_ids += [ids[document] for document in order]
    return Filled(home, keys, held, np.array(chunk_ids), [], np.empty(0), direction)


async def _index(settings: Any, table: str) -> None:
    """The graph, and what autovacuum would do in the midst of a measurement: on a connection without a time limit."""
    connection = await asyncpg.connect(settings.database.migration_url.get_secret_value())
    try:
        await connection.execute("set maintenance_work_mem = '512MB'")
        await connection.execute(
            f"create index ix_{table}_embedding on {table} using hnsw (embedding halfvec_ip_ops)"
            f" with (m = {spaces.HNSW_M}, ef_construction = {spaces.HNSW_EF_CONSTRUCTION})"
        )
        await connection.execute("vacuum analyze")
    finally:
        await connection.close()


def _row(place: int, keys: dict[str, np.ndarray]) -> dict[str, Any]:
    attributes: dict[str, Any] = {name: int(each[place]) for name, each in keys.items()}
    attributes |= {
        "kind": ("note", "report", "paper")[place % 3],
        "author": f"author {place % 5000}",
        "open": place % 2 == 0,
    }
    return {
        "file": str(new_id()),
        "document": str(new_id()),
        "version": str(new_id()),
        "attributes": attributes,
    }


async def _run(settings: Any, passages: int, count: int) -> list[dict[str, Any]]:
    await schema.migrate(settings, ROOT)
    owner = make_engine(settings.database.migration_url.get_secret_value(), pool_size=1)
    engine = make_engine(settings.database.url.get_secret_value(), pool_size=2, parameters=SEARCH_PARAMETERS)
    readers = make_sessions(engine.execution_options(isolation_level="REPEATABLE READ"))
    embedder = BundledEmbedder(settings.general.model_dir)
    space = spaces.space_of(settings.embedding)
    try:
        async with transaction(readers) as session:
            principal = await access.authenticate(session, settings.api.key.get_secret_value())
        loaded = debian.load(passages)
        filled = await _fill(make_sessions(owner), principal, space, loaded)
        await _index(settings, vector_table(filled.home.space_id))
        say(f"{len(filled.held)} passages written")
        questions = loaded.questions[:count]
        asked = np.array(await embedder.embed_queries(questions))
        filled = Filled(**(vars(filled) | {"questions": questions, "asked": asked}))
        searcher = Searcher(readers, Embedders(space, embedder), Lexicon(cache_bytes=1 << 20), PgGraph())
        return [{"n_chunks": len(filled.held), **line} for line in await measure(searcher, principal, filled)]
    finally:
        await engine.dispose()
        await owner.dispose()


_ADD = text("""
with given as materialized (
    select * from jsonb_to_recordset(cast(:rows as jsonb)) as g (file uuid, document uuid, version uuid, attributes jsonb)
), files as (
    insert into files (id, workspace_id, sha256, size_bytes, media_type)
    select file, :workspace_id, uuid_send(file), 1, 'text/plain' from given
), documents as (
    insert into documents (id, workspace_id, collection_id, sha256, attributes, latest_version_id, current_version_id,
                           created_by, state)
    select document, :workspace_id, :collection_id, uuid_send(document), attributes, version, version, 'bench', 'ready'
    from given
), versions as (
    insert into versions (id, workspace_id, document_id, number, file_id, state, chunk_count)
    select version, :workspace_id, document, 1, file, 'ready', 1 from given
)
insert into chunks (collection_id, document_id, version_id, ordinal, start_offset, end_offset, title_path, content_hash,
                    length, text)
select :collection_id, document, version, 0, 0, 0, '{}', '', 1, '' from given
returning id, document_id
""")
# A hit tells its document: that is called as its one chunk.
_NAME = text("""
update documents set external_id = cast(chunk_id as text)
from unnest(cast(:ids as bigint[]), cast(:document_ids as uuid[])) as named (chunk_id, document_id)
where documents.id = named.document_id
""")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filters", description=__doc__.partition("\n")[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=40)
    arguments = parser.parse_args()
    with stacks.temporary_root() as root, Servers(stacks.settings_of(root), root):
        lines = asyncio.run(_run(stacks.settings_of(root), arguments.passages, arguments.questions))
    metrics = list(dict.fromkeys(line["metric"] for line in lines))
    rows: dict[tuple[str, float], list[float]] = {(line["filter"], line["selectivity_percent"]): [] for line in lines}
    for line in lines:
        rows[line["filter"], line["selectivity_percent"]].append(line["value"])
    table = [(f"{kind} {percent} %", *values) for (kind, percent), values in rows.items()]
    report.table(f"Filters over {lines[0]['n_chunks']} passages, medians", ("filter", *metrics), table)
    report.save_lines("filters", lines)


if __name__ == "__main__":
    main()
