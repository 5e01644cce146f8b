"""Making prepared versions searchable: several in one transaction, each fenced by its own job's attempt."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters.parsing import Parsed
from drystone.core import crash_points, measures
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Invalid, Unavailable
from drystone.core.logging import bound, get_logger
from drystone.documents import archives, chunking, embedding, queries, reembedding
from drystone.documents.chunking import Chunk
from drystone.documents.queries import Locked, NewChunk, Pending
from drystone.index import queries as index
from drystone.index import vectors
from drystone.index.analysis import Analysed
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger
from drystone.jobs.queries import Claim, lock_all_held
from drystone.mentions import finders as mentions
from drystone.mentions import queries as mention_queries
from drystone.mentions.finders import Finders, Names
from drystone.mentions.queries import Found, Place

log = get_logger("documents.publishing")

# How often names are looked for anew because somebody changed them meanwhile.
_NAMES_TRIES = 5

# By space: float32 (passages, dim), rows of length 1.
Vectors = Mapping[int, np.ndarray]


@dataclass(frozen=True)
class Prepared:
    """A version's passages with all that the index wants to know of them, in order.

    contents: what is embedded and searched: the passage below its titles. hashes: SHA-256 of contents.
    lengths: tokens of the model. language: by whose rules the words of contents were cut into terms. words: those.
    """

    passages: list[Chunk]
    contents: list[str]
    hashes: list[bytes]
    lengths: list[int]
    language: str
    words: list[Analysed]


@dataclass(frozen=True)
class Item:
    """A version that is parsed, cut and stored, and the claim it is published under."""

    claim: Claim
    pending: Pending
    parsed: Parsed
    text_sha256: bytes
    prepared: Prepared


class _NamesChanged(Exception):
    """The catalogue's names are others than those that were looked for. Nothing was written."""

    def __init__(self, workspace_ids: Collection[UUID]) -> None:
        super().__init__(*workspace_ids)
        self.workspace_ids = workspace_ids


async def publish(
    sessions: Sessions, nudger: Nudger, finders: Finders, items: Sequence[Item], made: Sequence[Vectors]
) -> dict[UUID, Exception]:
    """Replace the chunks of each, make it ready and end its job; by job what stood in the way, of those that failed.

    made: of each, its passages' vectors by space. Those of a second space may be lacking, and are filled in later.

    LostLease: another attempt has taken over, and nothing was written. Where one fails, the others are done without it.
    """
    failures: dict[UUID, Exception] = {}
    for round_ in _rounds(list(zip(items, made, strict=True))):
        try:
            failures |= await _publish_with_names(sessions, nudger, finders, round_)
        except Exception as exc:  # noqa: BLE001  told to whoever ends the jobs
            if len(round_) == 1:
                failures[round_[0][0].claim.job_id] = exc
                continue
            log.warning("documents.published_one_by_one", documents=len(round_), error=repr(exc)[:300])
            for item, of_item in round_:
                failures |= await publish(sessions, nudger, finders, [item], [of_item])
    return failures


def _rounds(pairs: list[tuple[Item, Vectors]]) -> Iterator[list[tuple[Item, Vectors]]]:
    """One version of a document at a time, older ones first."""
    left = sorted(pairs, key=lambda pair: pair[0].pending.version_number)
    while left:
        now = {pair[0].pending.document_id: pair for pair in reversed(left)}
        yield list(now.values())
        taken = {pair[0].claim.job_id for pair in now.values()}
        left = [pair for pair in left if pair[0].claim.job_id not in taken]


async def _publish_with_names(
    sessions: Sessions, nudger: Nudger, finders: Finders, pairs: Sequence[tuple[Item, Vectors]]
) -> dict[UUID, Exception]:
    """Look for the names known to this process; where there are others by now, for those."""
    for _ in range(_NAMES_TRIES):
        known = {item.pending.workspace_id: finders.known(item.pending.workspace_id) for item, _ in pairs}
        found = {
            item.pending.version_id: await mentions.find(
                known[item.pending.workspace_id].finder,
                [(passage.start, passage.text) for passage in item.prepared.passages],
            )
            for item, _ in pairs
        }
        try:
            return await _publish_together(sessions, nudger, pairs, known, found)
        except _NamesChanged as changed:
            for workspace_id in changed.workspace_ids:
                await finders.load(sessions, workspace_id)
    raise Unavailable("catalogue.changes", "Names in the catalogue change again and again.", hint="it is tried again")


async def _publish_together(
    sessions: Sessions,
    nudger: Nudger,
    pairs: Sequence[tuple[Item, Vectors]],
    known: Mapping[UUID, Names],
    found: Mapping[UUID, Sequence[Sequence[Found]]],
) -> dict[UUID, Exception]:
    """known: the names of each workspace that `found`, by version and passage, was looked for with."""
    failures: dict[UUID, Exception] = {}
    async with transaction(sessions) as session:
        held = await lock_all_held(session, [item.claim for item, _ in pairs])
        await reembedding.share(session, {item.pending.collection_id for item, _ in pairs})
        if outdated := mentions.outdated(known, await mention_queries.share(session, list(known))):
            raise _NamesChanged(outdated)
        documents = await queries.lock_documents(session, [item.pending.document_id for item, _ in pairs])
        gone: list[Item] = []
        ready: list[tuple[Item, Vectors]] = []
        for item, made in pairs:
            document = documents.get(item.pending.document_id)
            if item.claim.job_id not in held:
                failures[item.claim.job_id] = jobs.LostLease(item.claim.job_id)
            elif document is None:
                gone.append(item)
            elif _is_superseded(item.pending, document):
                failures[item.claim.job_id] = _superseded()
            elif document.space_id not in made:
                failures[item.claim.job_id] = _model_changed()
            else:
                ready.append((item, made))
        if ready:
            await _make_room(session, nudger, ready, documents)
            await _write(session, ready, documents, found)
            await _catch_up_later(session, nudger, ready, documents)
        await jobs.finish_all(session, [item.claim for item in (*gone, *(item for item, _ in ready))])
    for item, _ in ready:
        measures.document_ready(passages=len(item.prepared.passages), size_bytes=item.pending.size_bytes)
        with bound(job_id=str(item.claim.job_id)):
            log.info("document.ready", document_id=str(item.pending.document_id), chunks=len(item.prepared.passages))
    return failures


async def _make_room(
    session: AsyncSession,
    nudger: Nudger,
    ready: Sequence[tuple[Item, Vectors]],
    documents: dict[UUID, Locked],
) -> None:
    for item, _ in ready:
        pending = item.pending
        if documents[pending.document_id].current_version_id is not None:
            await index.remove_documents(session, [pending.document_id])
            await queries.remove_chunks(session, pending.document_id)
            document = await queries.lock_document(session, pending.document_id)
            assert document is not None, "its row is locked"
            await archives.delete_members(session, nudger, archives.owner(document), document)  # it may have been one


async def _write(
    session: AsyncSession,
    ready: Sequence[tuple[Item, Vectors]],
    documents: dict[UUID, Locked],
    found: Mapping[UUID, Sequence[Sequence[Found]]],
) -> None:
    """Chunks, words, vectors, mentions, versions, documents, events: a statement for each kind, whatever the number of
    versions."""
    ids = await queries.add_chunks(session, [chunk for item, _ in ready for chunk in _chunks(item)])
    crash_points.reach("mid_publish")
    each = ((item, n, made) for item, made in ready for n in range(len(item.prepared.passages)))
    passages = [
        (chunk_id, documents[item.pending.document_id], item, n, made)
        for chunk_id, (item, n, made) in zip(ids, each, strict=True)
    ]
    for space_id in sorted({locked.space_id for _, locked, *_ in passages}):
        await index.add(
            session,
            space_id,
            [
                _indexed(chunk_id, item, n, made[space_id][n])
                for chunk_id, locked, item, n, made in passages
                if locked.space_id == space_id
            ],
        )
    for second_id in sorted({locked.second_space_id for _, locked, *_ in passages if locked.second_space_id}):
        of_second = [one for one in passages if one[1].second_space_id == second_id and second_id in one[4]]
        places = [
            index.Place(chunk_id, item.pending.collection_id, item.pending.document_id)
            for chunk_id, _, item, _, _ in of_second
        ]
        await index.add_vectors(session, second_id, places, [made[second_id][n] for *_, n, made in of_second])
    await mention_queries.add(
        session,
        [
            (
                Place(chunk_id, item.pending.collection_id, item.pending.document_id),
                found[item.pending.version_id][n],
            )
            for chunk_id, _, item, n, _ in passages
        ],
    )
    for item, made in ready:
        if len(item.prepared.passages) > embedding.LARGE:
            for space_id in made:
                await vectors.forget(session, space_id, item.prepared.hashes)
    await queries.set_ready(session, [_version(item) for item, _ in ready])
    await events.emit_all(session, [_happening(item) for item, _ in ready])


async def _catch_up_later(
    session: AsyncSession, nudger: Nudger, ready: Sequence[tuple[Item, Vectors]], documents: dict[UUID, Locked]
) -> None:
    """Have the second space filled of those collections whose versions came without vectors for it."""
    behind = set()
    for item, made in ready:
        second_id = documents[item.pending.document_id].second_space_id
        if second_id is not None and second_id not in made:
            behind.add(item.pending.collection_id)
    await reembedding.fell_behind(session, nudger, behind)


def _chunks(item: Item) -> Iterator[NewChunk]:
    prepared = item.prepared
    for passage, content_hash, length in zip(prepared.passages, prepared.hashes, prepared.lengths, strict=True):
        yield NewChunk(item.pending, passage, content_hash, length)


def _indexed(chunk_id: int, item: Item, number: int, vector: np.ndarray) -> index.IndexedChunk:
    pending, prepared = item.pending, item.prepared
    return index.IndexedChunk(
        chunk_id, pending.collection_id, pending.document_id, prepared.language, prepared.words[number], vector
    )


def _version(item: Item) -> dict[str, object]:
    parsed = item.parsed
    return {
        "version_id": str(item.pending.version_id),
        "document_id": str(item.pending.document_id),
        "text_sha256": item.text_sha256.hex(),
        "text_length": len(parsed.text),
        "page_starts": list(parsed.page_starts),
        "title": parsed.title,
        "language": item.prepared.language,
        "detected_language": parsed.language,
        "parser_version": parsed.parser,
        "chunker_version": chunking.CHUNKER_VERSION,
        "chunk_count": len(item.prepared.passages),
        "attempt": item.claim.attempt,
    }


def _happening(item: Item) -> events.Happening:
    pending = item.pending
    return events.Happening(
        workspace_id=pending.workspace_id,
        kind="document.ready",
        subject_kind="document",
        subject_id=pending.document_id,
        collection_id=pending.collection_id,
        batch_id=pending.batch_id,
        data={"chunks": len(item.prepared.passages)},
    )


def _is_superseded(pending: Pending, document: Locked) -> bool:
    return document.current_number is not None and document.current_number > pending.version_number


def _model_changed() -> Unavailable:
    return Unavailable(
        "embedding.changed", "Searches came to ask another model while this was embedded.", hint="it is tried again"
    )


def _superseded() -> Invalid:
    return Invalid(
        "version.superseded", "A newer version of this document was ready first.", hint="nothing needs doing"
    )
