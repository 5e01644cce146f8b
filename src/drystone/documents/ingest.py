"""From bytes to searchable: parse, chunk, embed, publish. No transaction is open while parsing or embedding."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters.embedding import Embedder
from drystone.adapters.objects import Objects
from drystone.adapters.parsing import ARCHIVE, Parsed, Parser
from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.core.errors import DrystoneError, Invalid
from drystone.core.logging import get_logger
from drystone.documents import archives, blobs, chunking, queries
from drystone.documents.chunking import Chunk
from drystone.documents.models import FAILED, READY, Version
from drystone.documents.progress import Progress
from drystone.documents.queries import Pending
from drystone.index import queries as index
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger
from drystone.jobs.queries import Claim, lock_held

# Chunks embedded between two notes of progress: about a second of work on one core.
BATCH = 128
# A document may take this long, and this much longer for each of its chunks; a stuck one is given up and retried.
DEADLINE_S, DEADLINE_PER_CHUNK_S = 150.0, 1.0
# Texts up to this many characters are cut on the event loop: a thread's hand-over would cost more.
_LONG_TEXT = 20_000
# What fetching a large file adds to the deadline: the slowest rate that still counts as working.
_SLOWEST_BYTES_PER_S = 1_000_000

log = get_logger("documents.ingest")


@dataclass(frozen=True)
class Tools:
    """What ingestion works with; made once for each worker process.

    nudger: tells workers of the jobs that unpacking an archive makes.
    cpu: held while the model runs, so that jobs side by side in one process share its core.
    spool_folder: where large files lie while they are read.
    """

    sessions: Sessions
    objects: Objects
    embedder: Embedder
    parser: Parser
    nudger: Nudger
    cpu: asyncio.Lock
    spool_folder: Path


@dataclass(frozen=True)
class Prepared:
    """A version's passages with all that the index wants to know of them, in order.

    contents: what is embedded and searched: the passage below its titles. hashes: SHA-256 of contents.
    lengths: tokens of the model.
    """

    passages: list[Chunk]
    contents: list[str]
    hashes: list[bytes]
    lengths: list[int]


async def run(tools: Tools, claim: Claim) -> None:
    """Make the claimed version searchable; an archive by making its members documents. Raises what stands in the way: Invalid is final, Unavailable passes."""
    async with transaction(tools.sessions) as session:
        pending = await queries.pending_version(session, claim.subject_id)
        if pending is None:
            await jobs.finish(session, claim)
            return
    if pending.media_type == ARCHIVE:
        await archives.unpack(tools, claim, pending)
        return
    async with asyncio.timeout(DEADLINE_S + pending.size_bytes / _SLOWEST_BYTES_PER_S):
        parsed = await parse(tools, pending)
        text_sha256 = await _keep_text(tools, parsed.text)
        crash_points.reach("after_parse")
        prepared = await chunk(tools.embedder, parsed, pending.title)
    async with asyncio.timeout(DEADLINE_S + DEADLINE_PER_CHUNK_S * len(prepared.passages)):
        vectors = await embed(tools, pending, prepared)
    crash_points.reach("before_publish")
    await publish(tools, claim, pending, parsed, text_sha256, prepared, vectors)
    crash_points.reach("after_publish")


async def parse(tools: Tools, pending: Pending) -> Parsed:
    """Bytes -> text, headings, pages; in a limited child process. Raises Invalid when there is no text in it."""
    return await read(tools, pending.sha256, size_bytes=pending.size_bytes, media_type=pending.media_type)


async def read(tools: Tools, sha256: bytes, *, size_bytes: int, media_type: str) -> Parsed:
    """The text of a blob of this type. A large one goes through a file, not through memory."""
    tools.parser.check_size(size_bytes, media_type)
    async with blobs.opened(tools.objects, tools.spool_folder, sha256, size_bytes) as body:
        return await tools.parser.parse(body, media_type)


async def chunk(embedder: Embedder, parsed: Parsed, title: str | None) -> Prepared:
    """Text -> passages; `parsed.text[c.start:c.end] == c.text` for each."""

    def cut() -> Prepared:
        token_starts = embedder.token_starts(parsed.text)
        passages = chunking.chunk(parsed, token_starts, title=title or parsed.title)
        contents = [_below_titles(passage) for passage in passages]
        bounds = np.searchsorted(token_starts, [(passage.start, passage.end) for passage in passages])
        return Prepared(
            passages=passages,
            contents=contents,
            hashes=[hashlib.sha256(content.encode()).digest() for content in contents],
            lengths=[int(end - start) for start, end in bounds],
        )

    return cut() if len(parsed.text) < _LONG_TEXT else await asyncio.to_thread(cut)


async def embed(tools: Tools, pending: Pending, prepared: Prepared) -> np.ndarray:
    """float32 (passages, dim), rows of length 1. A long document resumes where an earlier try was cut short."""
    space_id, progress = pending.space_id, Progress(pending, len(prepared.contents))
    contents, hashes = prepared.contents, prepared.hashes
    vectors = np.zeros((len(contents), tools.embedder.dimension), np.float32)
    known: dict[bytes, np.ndarray] = {}
    if len(contents) > BATCH:
        async with transaction(tools.sessions) as session:
            known = await index.kept_embeddings(session, space_id, hashes)
    for i, content_hash in enumerate(hashes):
        if content_hash in known:
            vectors[i] = known[content_hash]
    missing = [i for i, content_hash in enumerate(hashes) if content_hash not in known]
    for begin in range(0, len(missing), BATCH):
        batch = missing[begin : begin + BATCH]
        async with tools.cpu:
            made = await tools.embedder.embed([contents[i] for i in batch])
        vectors[batch] = made
        if begin + BATCH < len(missing):
            async with transaction(tools.sessions) as session:
                await index.keep_embeddings(session, space_id, [hashes[i] for i in batch], made)
                await progress.tell(session, len(contents) - len(missing) + begin + len(batch))
            crash_points.reach("mid_embed")
    return vectors


async def publish(
    tools: Tools,
    claim: Claim,
    pending: Pending,
    parsed: Parsed,
    text_sha256: bytes,
    prepared: Prepared,
    vectors: np.ndarray,
) -> None:
    """One transaction: still ours and not deleted? Then replace the chunks, make the version ready, end the job.

    Raises LostLease when another attempt has taken over; then nothing is written.
    """
    async with transaction(tools.sessions) as session:
        if not await lock_held(session, claim.job_id, claim.attempt):
            raise jobs.LostLease(claim.job_id)
        document = await queries.lock_document(session, pending.document_id)
        if document is None:
            await jobs.finish(session, claim)
            return
        if document.current_version_id is not None:
            await _make_room(session, pending, document.current_version_id)
            await archives.delete_members(session, tools.nudger, archives.owner(document), document)
        ids = await queries.add_chunks(session, pending, prepared.passages, prepared.hashes, prepared.lengths)
        crash_points.reach("mid_publish")
        await index.add(
            session,
            space_id=pending.space_id,
            collection_id=pending.collection_id,
            document_id=pending.document_id,
            config=pending.config,
            chunks=[
                index.IndexedChunk(chunk_id, content, vector)
                for chunk_id, content, vector in zip(ids, prepared.contents, vectors, strict=True)
            ],
        )
        if len(ids) > BATCH:
            await index.forget_embeddings(session, pending.space_id, prepared.hashes)
        await queries.set_version(
            session,
            pending.version_id,
            state=READY,
            text_sha256=text_sha256,
            text_length=len(parsed.text),
            page_starts=list(parsed.page_starts),
            title=parsed.title,
            language=pending.config,
            detected_language=parsed.language,
            parser_version=parsed.parser,
            chunker_version=chunking.CHUNKER_VERSION,
            chunk_count=len(ids),
            attempt=claim.attempt,
            ready_at=func.now(),
        )
        changes = {"state": READY} if document.latest_version_id == pending.version_id else {}
        await queries.set_document(session, document.id, current_version_id=pending.version_id, **changes)
        await events.emit(
            session,
            pending.workspace_id,
            "document.ready",
            "document",
            document.id,
            collection_id=pending.collection_id,
            batch_id=pending.batch_id,
            chunks=len(ids),
        )
        await jobs.finish(session, claim)
    log.info("document.ready", document_id=str(pending.document_id), chunks=len(prepared.passages))


async def give_up(session: AsyncSession, claim: Claim, error: DrystoneError) -> None:
    """The version cannot be made searchable: say why on it and on its document. An older ready version stays."""
    version = await session.get(Version, claim.subject_id)
    if version is None:
        return
    await queries.set_version(
        session,
        version.id,
        state=FAILED,
        error_code=error.code,
        error_message=error.message,
        error_hint=error.hint,
        attempt=claim.attempt,
    )
    document = await queries.lock_document(session, version.document_id)
    if document is not None and document.latest_version_id == version.id:
        await queries.set_document(session, document.id, state=FAILED)
        await events.emit(
            session,
            claim.workspace_id,
            "document.failed",
            "document",
            document.id,
            collection_id=document.collection_id,
            batch_id=version.batch_id,
            code=error.code,
            message=error.message,
            hint=error.hint,
        )


async def _make_room(session: AsyncSession, pending: Pending, current_version_id: UUID) -> None:
    if await queries.version_number(session, current_version_id) > pending.version_number:
        raise Invalid(
            "version.superseded", "A newer version of this document was ready first.", hint="nothing needs doing"
        )
    await index.remove_document(
        session, pending.document_id, config=pending.config, collection_id=pending.collection_id
    )
    await queries.remove_chunks(session, pending.document_id)


async def _keep_text(tools: Tools, text: str) -> bytes:
    body = text.encode()
    sha256 = hashlib.sha256(body).digest()
    await blobs.keep(tools.sessions, tools.objects, sha256, body)
    return sha256


def _below_titles(passage: Chunk) -> str:
    return "\n".join((*passage.title_path, passage.text))
