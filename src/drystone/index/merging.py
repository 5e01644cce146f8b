"""Keeps the words of a collection in few and large pieces: additions become segments, segments larger segments.

A merge reads what never changes and replaces it in one transaction; a search sees all of it or nothing. It leaves out
what was removed. Postings pass through in the order of their terms, so that memory does not grow with the collection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core.db import Sessions, transaction
from drystone.index import additions
from drystone.index.additions import Block, Postings
from drystone.index.analysis import ANALYSER_VERSION
from drystone.index.lexical import is_in

# Additions become a segment when they hold so many passages; so many rows of fewer are put together as one row.
SEGMENT_CHUNKS, ADDITION_ROWS = 2_000, 64
MOST_AT_ONCE = 8_000
# So many segments of one order of magnitude become one, up to a size that is merged in seconds.
FACTOR, LARGEST_CHUNKS = 8, 250_000
# A segment is written anew without what was removed when that is more than this part of it.
MOST_REMOVED = 0.25
# Removals are put together, and forgotten where nothing holds their passages any more, when there are so many rows.
REMOVAL_ROWS = 32
_TERMS_AT_ONCE = 5_000
_LIMITS = {
    "rows": ADDITION_ROWS,
    "chunks": SEGMENT_CHUNKS,
    "factor": FACTOR,
    "removals": REMOVAL_ROWS,
    "removed": int(MOST_REMOVED * SEGMENT_CHUNKS),
}


@dataclass(frozen=True)
class Size:
    """A segment by its number of passages, and how many of them were removed."""

    id: int
    chunks: int
    removed: int = 0


@dataclass(frozen=True)
class Plan:
    """What to merge: rows of these ids. to_segment: into a segment, else into one addition."""

    segments: Sequence[int] = ()
    additions: Sequence[int] = ()
    to_segment: bool = True


def plan(segments: Sequence[Size], recent: Sequence[Size]) -> Plan | None:
    """The next merge of a collection, None when there is nothing to do. Smallest first: many small ones cost most."""
    waiting = sum(each.chunks for each in recent)
    if waiting >= SEGMENT_CHUNKS:
        return Plan(additions=_first(recent))
    if len(recent) >= ADDITION_ROWS:
        return Plan(additions=[each.id for each in recent], to_segment=False)
    tiers: dict[int, list[Size]] = {}
    for each in segments:
        if each.removed > MOST_REMOVED * each.chunks:
            return Plan(segments=[each.id])
        tiers.setdefault(_tier(each.chunks), []).append(each)
    for _, alike in sorted(tiers.items()):
        if len(alike) >= FACTOR and (chosen := _that_fit(alike)):
            return Plan(segments=[each.id for each in chosen])
    return None


def _first(recent: Sequence[Size]) -> list[int]:
    """The oldest that make a segment, up to a few times its least size: what waits may be much, memory is not."""
    chosen: list[int] = []
    held = 0
    for each in recent:
        if chosen and held + each.chunks > MOST_AT_ONCE:
            break
        chosen.append(each.id)
        held += each.chunks
    return chosen


def _tier(chunks: int) -> int:
    tier = 0
    while chunks >= SEGMENT_CHUNKS * FACTOR ** (tier + 1):
        tier += 1
    return tier


def _that_fit(alike: Sequence[Size]) -> list[Size]:
    chosen: list[Size] = []
    for each in sorted(alike, key=lambda size: size.chunks):
        if sum(size.chunks for size in chosen) + each.chunks <= LARGEST_CHUNKS:
            chosen.append(each)
    return chosen if len(chosen) > 1 else []


async def tidy(sessions: Sessions, readers: Sessions) -> int:
    """Merge whatever waits for it, in every collection; how many merges there were.

    readers: sessions of repeatable read. Several callers at once do no harm: a collection is one's at a time.
    """
    done = 0
    async with transaction(sessions) as session:
        collection_ids = list((await session.scalars(_COLLECTIONS, _LIMITS)).all())
    for collection_id in collection_ids:
        while await merge(sessions, readers, collection_id):
            done += 1
    return done


async def merge(sessions: Sessions, readers: Sessions, collection_id: UUID) -> bool:
    """Do the next merge of a collection; False when there was none to do, or another process is at it."""
    async with transaction(sessions) as writer:
        if not await writer.scalar(_TRY_LOCK, {"collection_id": collection_id}):
            return False
        async with transaction(readers) as reader:
            state = await _state(reader, collection_id)
            next_ = plan(state.segments, state.additions)
            if next_ is None:
                await _forget_removals(writer, collection_id, state)
                return False
            if next_.to_segment:
                await _to_segment(writer, reader, collection_id, next_, state.removed)
            else:
                await _to_addition(writer, reader, collection_id, next_, state.removed)
    return True


@dataclass(frozen=True)
class _State:
    """removed: int64, ascending. held: chunk ids of everything, ascending; None where nobody needs to know."""

    segments: list[Size]
    additions: list[Size]
    removals: list[int]
    removed: np.ndarray
    held: np.ndarray | None


@dataclass(frozen=True)
class _Postings:
    """Terms with their postings, one after the other. counts: how many each term has; ordinals, frequencies: those."""

    terms: Sequence[str]
    counts: np.ndarray
    ordinals: np.ndarray
    frequencies: np.ndarray


async def _state(session: AsyncSession, collection_id: UUID) -> _State:
    given = {"collection_id": collection_id}
    removals = (await session.execute(_REMOVALS, given)).all()
    removed = np.unique(np.array([number for row in removals for number in row.chunk_ids], np.int64))
    sizes: dict[str, list[Size]] = {"segment": [], "addition": []}
    for row in await session.execute(_SIZES, given):
        sizes[row.kind].append(Size(row.id, row.chunks))
    segments, recent = sizes["segment"], sizes["addition"]
    held = None
    smallest = min((each.chunks for each in segments), default=0)
    if len(removals) >= REMOVAL_ROWS or (segments and len(removed) > MOST_REMOVED * smallest):
        chunk_ids = {row.id: np.array(row.chunk_ids, np.int64) for row in await session.execute(_CHUNK_IDS, given)}
        segments = [replace(each, removed=int(is_in(chunk_ids[each.id], removed).sum())) for each in segments]
        recent_ids = [np.array(row.chunk_ids, np.int64) for row in await session.execute(_RECENT_CHUNK_IDS, given)]
        held = np.sort(np.concatenate([*chunk_ids.values(), *recent_ids, np.empty(0, np.int64)]))
    return _State(segments, recent, [row.id for row in removals], removed, held)


async def _forget_removals(session: AsyncSession, collection_id: UUID, state: _State) -> None:
    """Put removals together, without what nothing holds any more, once there are many of them."""
    if state.held is None or len(state.removals) < REMOVAL_ROWS:
        return
    await session.execute(text("delete from lexical_removals where id = any(:ids)"), {"ids": state.removals})
    still = state.removed[is_in(state.removed, state.held)]
    if len(still):
        await session.execute(
            text("insert into lexical_removals (collection_id, chunk_ids) values (:collection_id, :chunk_ids)"),
            {"collection_id": collection_id, "chunk_ids": still.tolist()},
        )


async def _to_segment(
    writer: AsyncSession, reader: AsyncSession, collection_id: UUID, chosen: Plan, removed: np.ndarray
) -> None:
    heads = await _heads(reader, chosen)
    chunk_ids, lengths, places = _laid_out(heads, removed)
    await _drop(writer, chosen)
    if not len(chunk_ids):
        return
    segment_id = await writer.scalar(
        _ADD_SEGMENT,
        {
            "collection_id": collection_id,
            "analyser": ANALYSER_VERSION,
            "languages": sorted({language for head in heads for language in head.languages}),
            "chunk_count": len(chunk_ids),
            "chunk_ids": chunk_ids.tolist(),
            "lengths": lengths.tolist(),
        },
    )
    async for part in _read(reader, heads, places):
        await _add_postings(writer, [(segment_id, term, *_bytes(postings)) for term, postings in part.items()])


async def _to_addition(
    writer: AsyncSession, reader: AsyncSession, collection_id: UUID, chosen: Plan, removed: np.ndarray
) -> None:
    heads = await _heads(reader, chosen)
    chunk_ids, lengths, places = _laid_out(heads, removed)
    await _drop(writer, chosen)
    if len(chunk_ids):
        languages = frozenset(language for head in heads for language in head.languages)
        postings = together([_moved(_of_addition(head), place) for head, place in zip(heads, places, strict=True)])
        await additions.write(writer, [Block(collection_id, languages, chunk_ids, lengths, postings)])


def _laid_out(heads: Sequence[Any], removed: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """The passages of several as one: chunk ids ascending, their lengths, and for each where its passages come to be."""
    ids = [np.array(head.chunk_ids, np.int64) for head in heads]
    all_ids, lengths = np.concatenate(ids), np.concatenate([np.array(head.lengths, np.int32) for head in heads])
    kept = ~is_in(all_ids, removed)
    order = np.flatnonzero(kept)[np.argsort(all_ids[kept])]
    place = np.full(len(all_ids), -1, np.int64)
    place[order] = np.arange(len(order))
    ends = np.cumsum([len(each) for each in ids])
    return all_ids[order], lengths[order], np.split(place, ends[:-1])


async def _read(
    session: AsyncSession, heads: Sequence[Any], places: Sequence[np.ndarray]
) -> AsyncIterator[dict[str, Postings]]:
    """The postings of several at their new places, some thousands of terms at a time, in the order of terms."""
    if all(head.kind == "addition" for head in heads):
        yield together([_moved(_of_addition(head), place) for head, place in zip(heads, places, strict=True)])
        return
    last = ""
    while True:
        ids = [head.id for head in heads]
        rows = (await session.execute(_NEXT_TERMS, {"ids": ids, "last": last, "limit": _TERMS_AT_ONCE})).scalars().all()
        if not rows:
            return
        parts = []
        for segment_id, place in zip(ids, places, strict=True):
            found = await session.execute(_POSTINGS_BETWEEN, {"id": segment_id, "last": last, "until": rows[-1]})
            parts.append(_moved(_of_segment(found.all()), place))
        yield together(parts)
        last = rows[-1]


def together(parts: Sequence[_Postings]) -> dict[str, Postings]:
    """All postings by term, those of a term ascending; without terms that have none."""
    names = sorted({term for part in parts for term in part.terms})
    number = {term: at for at, term in enumerate(names)}
    terms = np.concatenate(
        [np.repeat(np.array([number[term] for term in part.terms], np.int64), part.counts) for part in parts]
    )
    ordinals = np.concatenate([part.ordinals for part in parts])
    order = np.lexsort((ordinals, terms))
    ordinals, terms = ordinals[order].astype(np.uint32), terms[order]
    frequencies = np.concatenate([part.frequencies for part in parts])[order]
    begins = np.flatnonzero(np.diff(terms, prepend=-1))
    ends = [*begins[1:].tolist(), len(terms)]
    return {
        names[terms[begin]]: Postings(ordinals[begin:end], frequencies[begin:end])
        for begin, end in zip(begins.tolist(), ends, strict=True)
    }


def _moved(part: _Postings, places: np.ndarray) -> _Postings:
    """The same at their places in the merged one, without those of removed passages."""
    there = places[part.ordinals]
    kept = there >= 0
    owners = np.repeat(np.arange(len(part.terms)), part.counts)[kept]
    return _Postings(part.terms, np.bincount(owners, minlength=len(part.terms)), there[kept], part.frequencies[kept])


def _of_addition(row: Any) -> _Postings:
    return _Postings(
        row.terms,
        np.array(row.counts, np.int64),
        np.array(row.ordinals, np.int64),
        np.array(row.frequencies, np.uint16),
    )


def _of_segment(rows: Sequence[Any]) -> _Postings:
    return _Postings(
        [row.term for row in rows],
        np.array([len(row.frequencies) // 2 for row in rows], np.int64),
        np.frombuffer(b"".join(row.ordinals for row in rows), np.uint32).astype(np.int64),
        np.frombuffer(b"".join(row.frequencies for row in rows), np.uint16),
    )


def _bytes(postings: Postings) -> tuple[bytes, bytes]:
    return postings.ordinals.tobytes(), postings.frequencies.tobytes()


async def _heads(session: AsyncSession, chosen: Plan) -> list[Any]:
    rows = await session.execute(_HEADS, {"segments": list(chosen.segments), "additions": list(chosen.additions)})
    return list(rows.all())


async def _drop(session: AsyncSession, chosen: Plan) -> None:
    """Raises RuntimeError when some of it is gone: the collection was deleted meanwhile, and the merge ends here."""
    for table, ids in (("lexical_segments", chosen.segments), ("lexical_additions", chosen.additions)):
        gone = await session.execute(text(f"delete from {table} where id = any(:ids) returning id"), {"ids": list(ids)})
        if len(gone.all()) != len(ids):
            raise RuntimeError(f"{table} has changed during a merge")


async def _add_postings(session: AsyncSession, rows: Sequence[tuple[int, str, bytes, bytes]]) -> None:
    if rows:
        segment_ids, terms, ordinals, frequencies = zip(*rows, strict=True)
        await session.execute(
            _ADD_POSTINGS,
            {
                "segment_ids": list(segment_ids),
                "terms": list(terms),
                "ordinals": list(ordinals),
                "frequencies": list(frequencies),
            },
        )


_TRY_LOCK = text("select pg_try_advisory_xact_lock(7355001, hashtext(cast(cast(:collection_id as uuid) as text)))")
_COLLECTIONS = text("""
select collection_id from lexical_additions
group by collection_id having count(*) >= :rows or sum(cardinality(chunk_ids)) >= :chunks
union
select collection_id from lexical_segments group by collection_id having count(*) >= :factor
union
select collection_id from lexical_removals
group by collection_id having count(*) >= :removals or sum(cardinality(chunk_ids)) >= :removed
""")
_REMOVALS = text("select id, chunk_ids from lexical_removals where collection_id = :collection_id")
_SIZES = text("""
select 'segment' as kind, id, chunk_count as chunks from lexical_segments where collection_id = :collection_id
union all
select 'addition', id, cardinality(chunk_ids) from lexical_additions where collection_id = :collection_id
order by id
""")
_CHUNK_IDS = text("select id, chunk_ids from lexical_segments where collection_id = :collection_id")
_RECENT_CHUNK_IDS = text("select chunk_ids from lexical_additions where collection_id = :collection_id")
_HEADS = text("""
select 'segment' as kind, id, languages, chunk_ids, lengths,
       null as terms, null as counts, null as ordinals, null as frequencies
from lexical_segments where id = any(cast(:segments as bigint[]))
union all
select 'addition', id, languages, chunk_ids, lengths, terms, counts, ordinals, frequencies
from lexical_additions where id = any(cast(:additions as bigint[]))
""")
_NEXT_TERMS = text("""
select term from (
    select distinct term from (
        select found.term
        from unnest(cast(:ids as bigint[])) as wanted (id)
        cross join lateral (
            select term from lexical_postings where segment_id = wanted.id and term > :last order by term limit :limit
        ) as found
    ) as each
) as together
order by term limit :limit
""")
_POSTINGS_BETWEEN = text("""
select term, ordinals, frequencies from lexical_postings
where segment_id = :id and term > :last and term <= :until
""")
# Not COPY: PostgreSQL has none for tables with row-level security.
_ADD_POSTINGS = text("""
insert into lexical_postings (segment_id, term, ordinals, frequencies)
select segment_id, term, ordinals, frequencies
from unnest(cast(:segment_ids as bigint[]), cast(:terms as text[]), cast(:ordinals as bytea[]),
            cast(:frequencies as bytea[])) as made (segment_id, term, ordinals, frequencies)
""")
_ADD_SEGMENT = text("""
insert into lexical_segments (collection_id, analyser, languages, chunk_count, chunk_ids, lengths)
values (:collection_id, :analyser, :languages, :chunk_count, :chunk_ids, :lengths) returning id
""")
