"""From bytes to searchable: parse, chunk, embed, publish. No transaction is open while parsing or embedding.

Several small documents go the way together: one statement for each step of the database, whatever their number.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.adapters.embedding import Embedder
from drystone.adapters.objects import Objects
from drystone.adapters.parsing import ARCHIVE, Parsed, Parser
from drystone.core import crash_points, measures
from drystone.core.db import Sessions, transaction
from drystone.core.errors import DrystoneError, Unavailable
from drystone.core.logging import bound, get_logger
from drystone.documents import archives, blobs, chunking, collections, embedding, queries
from drystone.documents.embedding import Wanted
from drystone.documents.models import FAILED, File, Version
from drystone.documents.progress import Progress
from drystone.documents.publishing import Item, Prepared, Vectors, publish
from drystone.documents.queries import Pending
from drystone.documents.turns import Turns
from drystone.index.analysis import analyse
from drystone.index.embedders import Embedders
from drystone.index.spaces import Space
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger
from drystone.jobs.queries import Claim, set_all_done
from drystone.mentions.finders import Finders

# A document may take this long, and this much longer for each of its chunks; a stuck one is given up and retried.
DEADLINE_S, DEADLINE_PER_CHUNK_S = 150.0, 1.0
# Texts up to this many characters are cut on the event loop: a thread's hand-over would cost more.
_LONG_TEXT = 20_000
# What fetching a large file adds to the deadline: the slowest rate that still counts as working.
_SLOWEST_BYTES_PER_S = 1_000_000
# What a job says it costs when its document was found to be large.
_HEAVY = 1 << 30
# So long an upload waits for the second model's answer to a few passages, and for all it is asked.
SECOND_PATIENCE_S = 10.0
SECOND_DEADLINE_S, SECOND_DEADLINE_PER_CHUNK_S = 30.0, 0.5

log = get_logger("documents.ingest")


@dataclass(frozen=True)
class Tools:
    """What ingestion works with; made once for each worker process.

    embedders: of each space its own. parser: reads one document at a time. nudger: tells workers of the jobs that unpacking an archive makes.
    turns: whose turn it is to run the model, which takes the whole core.
    spool_folder: where large files lie while they are read. finders: of the names that documents are looked through for.
    takes_large: whether large documents are embedded here, or asked to be taken where no small ones wait for them.
    """

    sessions: Sessions
    objects: Objects
    embedders: Embedders
    parser: Parser
    nudger: Nudger
    turns: Turns
    spool_folder: Path
    takes_large: bool = True
    finders: Finders = field(default_factory=Finders)


async def run(tools: Tools, claims: Sequence[Claim]) -> dict[UUID, Exception]:
    """Make the claimed versions searchable; an archive by making its members documents. Gives, by job, what stood in the
    way of those that failed.

    Invalid is final, Unavailable passes, Heavier asks to be taken where large documents are.
    """
    with contextlib.nullcontext() if tools.takes_large else tools.turns.small_in_hand():
        return await _run(tools, claims)


async def _run(tools: Tools, claims: Sequence[Claim]) -> dict[UUID, Exception]:
    waiting = await _still_pending(tools, claims)
    packed = [each for each in waiting if each[1].media_type == ARCHIVE]
    failures = await _make_searchable(tools, [each for each in waiting if each not in packed])
    for claim, pending in packed:
        try:
            with bound(job_id=str(claim.job_id)):
                await archives.unpack(tools, claim, pending)
        except Exception as exc:  # noqa: BLE001  told to whoever ends the job
            failures[claim.job_id] = exc
    return failures


async def _make_searchable(tools: Tools, waiting: Sequence[tuple[Claim, Pending]]) -> dict[UUID, Exception]:
    failures: dict[UUID, Exception] = {}
    items: list[Item] = []
    for claim, pending in waiting:
        try:
            with bound(job_id=str(claim.job_id)):
                item = await _prepare(tools, claim, pending)
            if len(item.prepared.passages) > embedding.LARGE and not tools.takes_large:
                raise jobs.Heavier(_HEAVY)
            items.append(item)
        except Exception as exc:  # noqa: BLE001  told to whoever ends the job
            failures[claim.job_id] = exc
    return failures | await _embed_and_publish(tools, items)


async def _still_pending(tools: Tools, claims: Sequence[Claim]) -> list[tuple[Claim, Pending]]:
    """What there is to do for each claim. The job of a version that is gone or done ends here."""
    async with transaction(tools.sessions) as session:
        pending = await queries.pending_versions(session, [claim.subject_id for claim in claims])
        if idle := [claim for claim in claims if claim.subject_id not in pending]:
            await set_all_done(session, idle)
    return [(claim, pending[claim.subject_id]) for claim in claims if claim.subject_id in pending]


async def _prepare(tools: Tools, claim: Claim, pending: Pending) -> Item:
    async with asyncio.timeout(DEADLINE_S + pending.size_bytes / _SLOWEST_BYTES_PER_S):
        parsed = await parse(tools, pending)
        text_sha256 = await _keep_text(tools, pending, parsed.text)
        crash_points.reach("after_parse")
        embedder = await tools.embedders.get(await _space(tools, pending.space_id))
        with measures.ingestion_stage("chunk"):
            prepared = await chunk(embedder, parsed, pending.title, pending.language)
    return Item(claim, pending, parsed, text_sha256, prepared)


async def parse(tools: Tools, pending: Pending) -> Parsed:
    """Bytes -> text, headings, pages; in a limited child process. Raises Invalid when there is no text in it."""
    return await read(tools, pending.sha256, size_bytes=pending.size_bytes, media_type=pending.media_type)


async def read(tools: Tools, sha256: bytes, *, size_bytes: int, media_type: str) -> Parsed:
    """The text of a blob of this type. A large one goes through a file, not through memory."""
    tools.parser.check_size(size_bytes, media_type)
    async with contextlib.AsyncExitStack() as held:
        with measures.ingestion_stage("fetch"):
            body = await held.enter_async_context(blobs.opened(tools.objects, tools.spool_folder, sha256, size_bytes))
        with measures.ingestion_stage("parse"):
            return await tools.parser.parse(body, media_type)


async def chunk(embedder: Embedder, parsed: Parsed, title: str | None, language: str) -> Prepared:
    """Text -> passages; `parsed.text[c.start:c.end] == c.text` for each. language: the collection's."""

    def cut() -> Prepared:
        token_starts = embedder.token_starts(parsed.text)
        passages = chunking.chunk(parsed, token_starts, title=title or parsed.title)
        contents = [chunking.content(passage.title_path, passage.text) for passage in passages]
        rules = collections.language_of(language, parsed.language)
        bounds = np.searchsorted(token_starts, [(passage.start, passage.end) for passage in passages])
        return Prepared(
            passages=passages,
            contents=contents,
            hashes=[hashlib.sha256(content.encode()).digest() for content in contents],
            lengths=[int(end - start) for start, end in bounds],
            language=rules,
            words=[analyse(passage.text, rules, titles=passage.title_path) for passage in passages],
        )

    return cut() if len(parsed.text) < _LONG_TEXT else await asyncio.to_thread(cut)


async def _embed_and_publish(tools: Tools, items: list[Item]) -> dict[UUID, Exception]:
    """All together; one by one where that fails for what may be the fault of a single document."""
    if not items:
        return {}
    try:
        with measures.ingestion_stage("embed"):
            vectors = await embed(tools, items)
    except Exception as exc:  # noqa: BLE001  told to whoever ends the jobs
        is_away = isinstance(exc, Unavailable | TimeoutError) and getattr(exc, "code", "") != embedding.BAD_ANSWER
        if len(items) == 1 or is_away:
            return {item.claim.job_id: exc for item in items}
        apart = [await _embed_and_publish(tools, [item]) for item in items]
        return {job_id: failure for failures in apart for job_id, failure in failures.items()}
    crash_points.reach("before_publish")
    with measures.ingestion_stage("publish"):
        failures = await publish(tools.sessions, tools.nudger, tools.finders, items, vectors)
    crash_points.reach("after_publish")
    return failures


async def embed(tools: Tools, items: Sequence[Item]) -> list[Vectors]:
    """For each by space float32 (passages, dim), rows of length 1. Unchanged passages of an older version keep theirs.

    A second space is left out where its model fails: no upload waits for it.
    """
    passages = sum(len(item.prepared.passages) for item in items)
    vectors: dict[UUID, dict[int, np.ndarray]] = {item.claim.job_id: {} for item in items}
    async with asyncio.timeout(DEADLINE_S + DEADLINE_PER_CHUNK_S * passages):
        for space_id in {item.pending.space_id for item in items}:
            of_space = [item for item in items if item.pending.space_id == space_id]
            embedder = await tools.embedders.get(await _space(tools, space_id))
            made = await embedding.embed(
                tools.sessions, embedder, tools.turns, space_id, [_wanted(item) for item in of_space]
            )
            for item, each in zip(of_space, made, strict=True):
                vectors[item.claim.job_id][space_id] = each
    for second_id in {item.pending.second_space_id for item in items if item.pending.second_space_id is not None}:
        of_second = [item for item in items if item.pending.second_space_id == second_id]
        for job_id, each in (await _embed_second(tools, second_id, of_second)).items():
            vectors[job_id][second_id] = each
    return [vectors[item.claim.job_id] for item in items]


async def _embed_second(tools: Tools, space_id: int, items: Sequence[Item]) -> dict[UUID, np.ndarray]:
    """By job, as for the first space; nothing where the model is away, slow or wrong, which is then left alone for a while."""
    space = await _space(tools, space_id)
    if tools.embedders.is_paused(space):
        return {}
    wanted = [replace(_wanted(item), progress=None) for item in items]
    passages = sum(len(each.contents) for each in wanted)
    try:
        async with asyncio.timeout(SECOND_DEADLINE_S + SECOND_DEADLINE_PER_CHUNK_S * passages):
            embedder = await tools.embedders.get(space)
            made = await embedding.embed(
                tools.sessions, embedder, tools.turns, space_id, wanted, patience_s=SECOND_PATIENCE_S
            )
    except Exception as exc:  # noqa: BLE001  whatever is wrong with it: no upload suffers, and the job that fills tells it
        tools.embedders.pause(space)
        log.warning("document.second_model_failed", model=space.model, error=repr(exc)[:300])
        return {}
    tools.embedders.resume(space)
    return {item.claim.job_id: each for item, each in zip(items, made, strict=True)}


async def _space(tools: Tools, space_id: int) -> Space:
    async with transaction(tools.sessions) as session:
        return await tools.embedders.space(session, space_id)


def _wanted(item: Item) -> Wanted:
    is_new = item.pending.version_number == 1
    return Wanted(
        item.prepared.contents,
        item.prepared.hashes,
        None if is_new else item.pending.document_id,
        Progress(item.pending, len(item.prepared.contents)),
    )


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
    if error.code == "objects.corrupt" and (file := await session.get(File, version.file_id)) is not None:
        await blobs.mark_wrong(session, file.sha256)
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


async def _keep_text(tools: Tools, pending: Pending, text: str) -> bytes:
    """The text's hash. A plain text is its own file: the blob stands there already, and the version refers to it."""
    body = text.encode()
    sha256 = hashlib.sha256(body).digest()
    if sha256 != pending.sha256:
        await blobs.keep(tools.sessions, tools.objects, sha256, body)
    return sha256
