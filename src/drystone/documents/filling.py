"""Filling a collection's second space, and emptying one that was given up: jobs that go on where they were cut short.

A job that fills works for some seconds, then lets others go first. What it made is committed with each batch; it never asks
for a vector that the space has, for whichever document. No transaction is open while a model works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core import crash_points
from drystone.core.db import transaction
from drystone.core.errors import Unavailable
from drystone.documents import chunking, embedding, queries, reembedding
from drystone.documents.ingest import Tools
from drystone.documents.models import Collection, Reembedding
from drystone.index import queries as index
from drystone.index import vectors
from drystone.index.queries import Place
from drystone.index.spaces import Space, vector_table
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.queries import Claim, lock_held

# Seconds of work before others go first.
SLICE_S = 5.0
# Passages of one batch, whose vectors are committed together, and those of one turn at the core.
_BATCH, _TURN = 64, 8
# A turn's vectors take a slow machine some ten seconds; an endpoint that is silent keeps all others waiting no longer.
_PATIENCE_S = 30.0
# Documents that are looked at together for passages that lack a vector: so many, with about so many passages.
_PAGE, _PASSAGES = 200, 2_000
# Of the pace of late, what one batch leaves of those before it.
_WEIGHT_OF_BEFORE = 0.9
# Vectors removed in one transaction.
_DROP_AT_ONCE = 2_000


@dataclass(frozen=True)
class _Batch:
    """Passages that lack a vector in a space. known: those whose content has one there. position: see Reembedding."""

    space_id: int
    space: Space
    passages: Sequence[Row[Any]]
    known: dict[bytes, np.ndarray]
    position: UUID | None


async def fill(tools: Tools, claim: Claim) -> None:
    """Give every passage of the collection its vector in the second space; told when none lacks one.

    Raises Unavailable when the model is away or not configured, Unfinished when others should go first.
    """
    began = time.monotonic()
    while batch := await _next_batch(tools, claim):
        since = time.monotonic()
        made = await _embed(tools, batch)
        await _write(tools, claim, batch, made, took_s=time.monotonic() - since)
        crash_points.reach("mid_reembed")
        if time.monotonic() - began > SLICE_S:
            await _tell(tools, claim)
            raise jobs.Unfinished


async def drop(tools: Tools, claim: Claim) -> None:
    """Remove the collection's vectors from those spaces of an ended change that it no longer uses."""
    while True:
        async with transaction(tools.sessions) as session:
            if not await lock_held(session, claim.job_id, claim.attempt):
                raise jobs.LostLease(claim.job_id)
            if not await _drop_some(session, await session.get_one(Reembedding, claim.subject_id)):
                await jobs.finish(session, claim)
                return


async def _drop_some(session: AsyncSession, change: Reembedding) -> int:
    """How many were removed. A new change may use a space again: what is left there then stays."""
    await reembedding.share(session, [change.collection_id])
    home = await session.get_one(Collection, change.collection_id, populate_existing=True)
    used = {home.space_id, *(space for space, _ in (await reembedding.second_spaces(session, [home])).values())}
    for space_id in sorted({change.from_space_id, change.to_space_id} - used):
        if removed := await index.remove_vectors(session, space_id, home.id, limit=_DROP_AT_ONCE):
            return removed
    return 0


async def _next_batch(tools: Tools, claim: Claim) -> _Batch | None:
    """What is to be filled next. None: nothing is left, and the job has ended.

    Looks on for SLICE_S at most, then raises Unfinished: how far it looked is noted.
    """
    began = time.monotonic()
    while True:
        async with transaction(tools.sessions) as session:
            if not await lock_held(session, claim.job_id, claim.attempt):
                raise jobs.LostLease(claim.job_id)
            change = await session.get_one(Reembedding, claim.subject_id)
            home = await session.get_one(Collection, change.collection_id)
            if change.ended_at is not None or home.deleted_at is not None:
                await jobs.finish(session, claim)
                return None
            space_id = reembedding.second_of(change, home.space_id)
            page, passages = await _lacking(session, home.id, space_id, change.position)
            if passages:
                hashes = [row.content_hash for row in passages]
                known = await vectors.of_contents(session, space_id, hashes, workspace_id=home.workspace_id)
                known |= await vectors.kept(session, space_id, hashes)
                space = await tools.embedders.space(session, space_id)
                return _Batch(space_id, space, passages, known, change.position)
            if page:
                change.position = page[-1]
            elif await _is_over(session, claim, change, home):
                return None
        if time.monotonic() - began > SLICE_S:
            raise jobs.Unfinished


async def _lacking(
    session: AsyncSession, collection_id: UUID, space_id: int, position: UUID | None
) -> tuple[Sequence[UUID], Sequence[Row[Any]]]:
    """The next documents after the position, and passages of them that have no vector."""
    found = {"collection_id": collection_id, "position": position or UUID(int=0), "limit": _PAGE, "passages": _PASSAGES}
    page = (await session.scalars(_DOCUMENTS, found)).all()
    rows = await session.execute(_lacking_of(space_id), {"document_ids": list(page), "limit": _BATCH})
    return page, rows.all()


async def _is_over(session: AsyncSession, claim: Claim, change: Reembedding, home: Collection) -> bool:
    """Ends the job if no passage lacks a vector, with nobody publishing meanwhile; else the next round begins."""
    await reembedding.alone(session, home.id)
    await session.refresh(change)
    await session.refresh(home)
    space_id = reembedding.second_of(change, home.space_id)
    change.position = None
    if await session.scalar(_lacks(space_id), {"collection_id": home.id}):
        return False
    change.filled_at = await session.scalar(text("select now()"))
    await session.flush()
    _, total = await reembedding.progress(session, home.id, space_id)
    await events.emit(
        session,
        claim.workspace_id,
        "embedding.filled",
        "collection",
        home.id,
        collection_id=home.id,
        total=total,
        embedded=change.embedded,
        reused=change.reused,
    )
    await jobs.finish(session, claim)
    return True


async def _embed(tools: Tools, batch: _Batch) -> dict[bytes, np.ndarray]:
    """Vectors of the contents that have none yet, each content once."""
    embedder = await tools.embedders.get(batch.space)
    contents = {row.content_hash: chunking.content(row.title_path, row.text) for row in batch.passages}
    missing = {key: content for key, content in contents.items() if key not in batch.known}
    made: dict[bytes, np.ndarray] = {}
    hashes = list(missing)
    for begin in range(0, len(hashes), _TURN):
        part = hashes[begin : begin + _TURN]
        async with tools.turns.large(), _patience():
            rows = await embedder.embed([missing[each] for each in part])
        made |= zip(part, embedding.check(rows, len(part), embedder.dimension), strict=True)
    if hashes:
        tools.embedders.resume(batch.space)
    return made


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    """While a second model keeps a turn waiting, whatever else there is to embed waits, too."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            yield
    except TimeoutError as exc:
        raise Unavailable(
            "embedding.slow",
            f"The embedder gave nothing for {_TURN} passages within {_PATIENCE_S:.0f} s.",
            hint="check that the server behind NEXT_EMBEDDING_URL answers",
        ) from exc


async def _write(tools: Tools, claim: Claim, batch: _Batch, made: dict[bytes, np.ndarray], *, took_s: float) -> None:
    """Add the vectors of those passages that are still there and lack one still; note the pace."""
    vectors_of = batch.known | made
    async with transaction(tools.sessions) as session:
        if not await lock_held(session, claim.job_id, claim.attempt):
            raise jobs.LostLease(claim.job_id)
        change = await session.get_one(Reembedding, claim.subject_id)
        await reembedding.share(session, [change.collection_id])
        await session.refresh(change)
        home = await session.get_one(Collection, change.collection_id, populate_existing=True)
        if change.ended_at is not None or reembedding.second_of(change, home.space_id) != batch.space_id:
            return  # it was ended, or switched; the next look at it tells
        live = await queries.lock_documents(session, list({row.document_id for row in batch.passages}))
        still = set((await session.scalars(_still(batch.space_id), {"ids": [row.id for row in batch.passages]})).all())
        passages = [row for row in batch.passages if row.id in still and row.document_id in live]
        places = [Place(row.id, home.id, row.document_id) for row in passages]
        await index.add_vectors(session, batch.space_id, places, [vectors_of[row.content_hash] for row in passages])
        embedded = len({row.content_hash for row in passages} & made.keys())
        await session.execute(
            _NOTE,
            {
                "id": change.id,
                "position": batch.position,
                "embedded": embedded,
                "reused": len(passages) - embedded,
                "chunks": len(passages),
                "took_s": took_s,
                "weight": _WEIGHT_OF_BEFORE,
            },
        )


async def _tell(tools: Tools, claim: Claim) -> None:
    """How far it is, for streams and webhooks."""
    async with transaction(tools.sessions) as session:
        change = await session.get_one(Reembedding, claim.subject_id)
        home = await session.get_one(Collection, change.collection_id)
        done, total = await reembedding.progress(session, home.id, reembedding.second_of(change, home.space_id))
        await events.emit(
            session,
            claim.workspace_id,
            "embedding.progress",
            "collection",
            home.id,
            collection_id=home.id,
            done=done,
            total=total,
            left_s=reembedding.left_s(change, total - done),
        )


_DOCUMENTS = text("""
select id
from (
    select document.id, sum(chunks) over (order by document.id) - chunks as before
    from (
        select id, current_version_id from documents
        where collection_id = :collection_id and deleted_at is null and id > :position order by id limit :limit
    ) as document
    left join versions as version on version.id = document.current_version_id
    cross join lateral (select coalesce(version.chunk_count, 0) as chunks) as counted
) as each
where before < :passages order by id
""")


def _lacking_of(space_id: int) -> Any:
    return text(f"""
        select id, document_id, content_hash, title_path, text from chunks
        where document_id = any(cast(:document_ids as uuid[]))
          and not exists (select 1 from {vector_table(space_id)} as v where v.chunk_id = chunks.id)
        order by document_id, ordinal limit :limit
    """)


def _lacks(space_id: int) -> Any:
    return text(f"""
        select exists (
            select 1 from documents join chunks on chunks.document_id = documents.id
            where documents.collection_id = :collection_id and documents.deleted_at is null
              and not exists (select 1 from {vector_table(space_id)} as v where v.chunk_id = chunks.id)
        )
    """)


def _still(space_id: int) -> Any:
    return text(f"""
        select id from chunks
        where id = any(cast(:ids as bigint[]))
          and not exists (select 1 from {vector_table(space_id)} as v where v.chunk_id = chunks.id)
    """)


# A pause of more than a minute is none of the pace: nothing was working.
_NOTE = text("""
update reembeddings
set position = :position, embedded = embedded + :embedded, reused = reused + :reused,
    recent_chunks = recent_chunks * :weight + :chunks,
    recent_s = recent_s * :weight + case
        when worked_at > clock_timestamp() - interval '1 minute'
            then greatest(extract(epoch from clock_timestamp() - worked_at), 0.001)
        else greatest(cast(:took_s as float8), 0.001) end,
    worked_at = clock_timestamp()
where id = :id
""")
