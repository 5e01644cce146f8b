"""Passages that come with their vectors: written by an id of the caller's, looked up, taken away.

Each is a document with one version and one passage, so that all that holds for documents holds for it; but nobody parses
or embeds it: it can be found when the call returns. Object first, then the rows, then the reply.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import keys, quotas
from drystone.access import service as access
from drystone.access.service import Entry, Principal
from drystone.adapters.objects import Objects
from drystone.adapters.parsing.normalising import normalise
from drystone.core import crash_points, measures
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid, Unavailable, pointer_to
from drystone.core.ids import new_id
from drystone.core.text import MAX_EXTERNAL_ID, is_storable
from drystone.core.turnstile import Turnstile
from drystone.documents import blobs, chunking, collections, deleting, describing, own_vector_queries, queries, schemas
from drystone.documents.deleting import Selection
from drystone.documents.models import SCHEMA_COLUMNS, Collection
from drystone.documents.own_vector_queries import Given, Made
from drystone.documents.queries import NewChunk, Pending
from drystone.documents.schemas import Schema
from drystone.index import queries as index
from drystone.index import spaces
from drystone.index.analysis import Analysed, analyse
from drystone.index.spaces import Space
from drystone.jobs import events
from drystone.jobs.broker import Nudger
from drystone.mentions import finders as mentions
from drystone.mentions import queries as mention_queries
from drystone.mentions.finders import Finders
from drystone.mentions.queries import Found, Place

# An id is the document's external_id. A text is as long as what the models of today read at once.
MAX_PASSAGES, MAX_ID, MAX_TEXT = 1000, MAX_EXTERNAL_ID, 32_000
# Of the vectors of one answer.
MAX_NUMBERS = 1_000_000
# Requests worked on at the same time in a process, and how long another waits for its turn.
AT_ONCE, WAIT_S = 2, 30.0
MEDIA_TYPE = "text/plain"
# Blobs that are put at the same time.
_PUTS = 16
# How often it is begun again because somebody changed meanwhile what it rests on.
_TRIES = 5
# Of a list of faults.
_MOST_TOLD = 20

BeforeCommit = Callable[[AsyncSession, "list[Upserted]"], Awaitable[None]]


@dataclass(frozen=True)
class Passage:
    """What a caller sends. vector: numbers as sent; its direction counts."""

    id: str
    text: str
    vector: Sequence[float]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Upserted:
    """is_new: there was no passage of this id before."""

    id: str
    is_new: bool


@dataclass(frozen=True)
class Kept:
    """A passage as it is kept. vector: float32 (dim,), length 1; None: not asked for."""

    id: str
    text: str
    attributes: dict[str, Any]
    vector: np.ndarray | None


@dataclass(frozen=True)
class Home:
    """A collection that takes passages, and the space of its vectors."""

    collection: Collection
    space: Space


@dataclass(frozen=True)
class Tools:
    """What writing passages works with. finders: of the names that passages are looked through for."""

    sessions: Sessions
    objects: Objects
    finders: Finders
    turns: Turnstile


@dataclass(frozen=True)
class _Ready:
    """A passage with all that is written of it. vector: float32 (dim,), length 1."""

    passage: Passage
    sha256: bytes
    size_bytes: int
    vector: np.ndarray
    words: Analysed
    found: Sequence[Found]


class _Again(Exception):
    """Something is not as it was when this began. Nothing was written. puts_all: no blob is taken to be there."""

    def __init__(self, *, puts_all: bool = False) -> None:
        super().__init__()
        self.puts_all = puts_all


async def upsert(
    tools: Tools,
    principal: Principal,
    collection: str,
    passages: Sequence[Passage],
    *,
    before_commit: BeforeCommit | None = None,
) -> list[Upserted]:
    """Write passages, all or none; those of an id that is there take its place. They can be found when this returns.

    One that is as it was stays as it was: no version comes of it. before_commit: is given what came of it, in its transaction.
    Raises NotFound for an unknown collection, Conflict for one whose vectors are made here, Invalid with each fault.
    """
    principal.require("write")
    check(passages)
    tools = Tools(tools.sessions.within(principal.reach), tools.objects, tools.finders, tools.turns)
    async with tools.turns.turn():
        return await _upsert(tools, principal, collection, passages, before_commit)


async def _upsert(
    tools: Tools,
    principal: Principal,
    collection: str,
    passages: Sequence[Passage],
    before_commit: BeforeCommit | None,
) -> list[Upserted]:
    async with transaction(tools.sessions) as session:
        home = await place(session, principal, collection)
        known = await own_vector_queries.known(session, home.collection.id, [each.id for each in passages])
    vectors = _vectors(passages, home)
    language = collections.language_of(home.collection.language, None)
    bodies = [each.text.encode() for each in passages]
    hashes, words = await asyncio.to_thread(_cut, passages, bodies, language)
    by_hash = dict(zip(hashes, bodies, strict=True))
    put = {sha256 for each, sha256 in zip(passages, hashes, strict=True) if known.get(each.id) != sha256}
    await _put(tools, {sha256: by_hash[sha256] for sha256 in put})
    for _ in range(_TRIES):
        names = tools.finders.known(principal.workspace_id)
        found = await mentions.find(names.finder, [(0, each.text) for each in passages])
        ready = [_Ready(*each) for each in zip(passages, hashes, map(len, bodies), vectors, words, found, strict=True)]
        try:
            async with transaction(tools.sessions) as session:
                writing = _Writing(session, principal, home, language, names.id, put)
                done = await writing.write(ready)
                if before_commit is not None:
                    await before_commit(session, done)
                crash_points.reach("before_commit")
            crash_points.reach("after_commit")
            for size_bytes in writing.published:
                measures.document_ready(passages=1, size_bytes=size_bytes)
            return done
        except _Again as again:
            if again.puts_all:
                await _put(tools, {sha256: by_hash[sha256] for sha256 in by_hash.keys() - put})
                put = set(by_hash)
            await tools.finders.load(tools.sessions, principal.workspace_id)
    raise Unavailable(
        "passages.changing", "Others change the same passages, or names, again and again.", hint="send them again"
    )


class _Writing:
    """One try of one request. names_id: of the names that were looked for. put: hashes of blobs that were put for it.

    published: bytes of each version that came of it.
    """

    def __init__(
        self,
        session: AsyncSession,
        principal: Principal,
        home: Home,
        language: str,
        names_id: UUID | None,
        put: set[bytes],
    ) -> None:
        self._session, self._principal, self._home = session, principal, home
        self._language, self._names_id, self._put = language, names_id, put
        self._collection_id, self._workspace_id = home.collection.id, principal.workspace_id
        self._schemas: dict[UUID, Schema | None] = {}
        self.published: list[int] = []

    async def write(self, ready: Sequence[_Ready]) -> list[Upserted]:
        """Locks are taken in the order in which `receiving` and `publishing` take theirs. Raises _Again."""
        session = self._session
        await keys.recheck(session, self._principal)
        await blobs.confirm_all(session, sorted(self._put))
        home = await collections.get(session, self._principal, str(self._collection_id), share=True)
        await schemas.share(session, self._workspace_id)
        if (await mention_queries.share(session, [self._workspace_id])).get(self._workspace_id) != self._names_id:
            raise _Again
        default = await schemas.of(session, home)
        sizes = {each.sha256: each.size_bytes for each in ready}
        files = await own_vector_queries.add_files(session, self._workspace_id, sizes, MEDIA_TYPE)
        given = [self._given(each, default) for each in ready]
        new = await own_vector_queries.add_documents(
            session, self._workspace_id, self._collection_id, self._principal.actor, given
        )
        self._refuse_new(ready, new.keys(), default)
        others = [each.passage.id for each in ready if each.passage.id not in new]
        space_id = home.space_id
        there = {row.external_id: row for row in await own_vector_queries.lock(session, space_id, home.id, others)}
        if len(there) < len(others):  # somebody deletes one at this moment
            raise _Again
        made: list[tuple[_Ready, Made]] = []
        changes: list[dict[str, Any]] = []
        entries: list[Entry] = []
        described: dict[UUID, list[str]] = {}
        wanted = {each.sha256 for each in ready if each.passage.id in new}
        for number, each in enumerate(ready):
            its_id = each.passage.id
            if its_id in new:
                document_id, version_id = new[its_id]
                made.append((each, self._made(each, document_id, version_id, 1, files)))
                entries.append(Entry("document.create", "document", document_id, None, each.sha256, {}))
                continue
            row = there[its_id]
            columns = await self._settle(row, each, number)
            is_other = bytes(row.sha256) != each.sha256 or _is_other_vector(row.raw, each.vector)
            wanted |= {each.sha256} - {bytes(row.sha256)}
            fields = describing.fields_of(
                {name: True for name in ("attributes", *SCHEMA_COLUMNS) if _is_other(getattr(row, name), columns[name])}
            )
            next_id = new_id() if is_other else None
            if next_id is not None:
                made.append((each, self._made(each, row.id, next_id, row.number + 1, files)))
                entries.append(Entry("document.replace", "document", row.id, bytes(row.sha256), each.sha256, {}))
            elif fields:
                described[row.id] = fields
                entries.append(Entry("document.describe", "document", row.id, None, None, {"fields": fields}))
            if is_other or fields:
                changes.append(
                    {"id": row.id, "version_id": next_id, "sha256": each.sha256 if is_other else None} | columns
                )
        if not wanted <= self._put:  # a text that was there when this began is not any more
            raise _Again(puts_all=True)
        await self._replace(changes)
        await self._publish(made, space_id)
        await access.record_each(session, self._principal, entries)
        await self._tell(made, described)
        self.published = [each.size_bytes for each, _ in made]
        if made:
            await quotas.count(session, self._principal, sum(self.published), documents=len(made))
        return [Upserted(each.passage.id, each.passage.id in new) for each in ready]

    def _given(self, each: _Ready, default: Schema | None) -> Given:
        attributes = each.passage.attributes
        columns = schemas.NONE if default is None else default.columns(default.problems(attributes))
        length = len(each.passage.text)
        return Given(each.passage.id, each.sha256, each.size_bytes, length, attributes, columns)

    def _refuse_new(self, ready: Sequence[_Ready], new: Any, default: Schema | None) -> None:
        for number, each in enumerate(ready):
            if default is not None and each.passage.id in new:
                with _naming(number):
                    default.refuse(default.problems(each.passage.attributes), is_named=False)

    async def _settle(self, row: Row[Any], each: _Ready, number: int) -> dict[str, Any]:
        """The columns of a document that is there already, as its new attributes would have them."""
        attributes = each.passage.attributes
        columns = {name: getattr(row, name) for name in SCHEMA_COLUMNS} | {"attributes": attributes}
        if row.schema_id is None or schemas.asked_of(attributes) == schemas.asked_of(row.attributes):
            return columns
        if row.schema_id not in self._schemas:
            found = await schemas.of_id(self._session, self._workspace_id, row.schema_kind, row.schema_id)
            self._schemas[row.schema_id] = found
        schema = self._schemas[row.schema_id]
        if schema is None:
            return columns
        problems = schema.problems(attributes)
        with _naming(number):
            schema.refuse(problems, is_named=False)
        return columns | schema.columns(problems)

    def _made(
        self, each: _Ready, document_id: UUID, version_id: UUID, number: int, files: Mapping[bytes, UUID]
    ) -> Made:
        length = len(each.passage.text)
        return Made(document_id, version_id, number, files[each.sha256], each.sha256, length, self._language)

    async def _replace(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """What these documents say from now on; the passages of those that have another version go."""
        if replaced := [change["id"] for change in changes if change["version_id"] is not None]:
            await index.remove_documents(self._session, replaced)
            await own_vector_queries.remove_chunks(self._session, replaced)
        if changes:
            await own_vector_queries.set_documents(self._session, changes)

    async def _publish(self, made: Sequence[tuple[_Ready, Made]], space_id: int) -> None:
        if not made:
            return
        session, collection_id = self._session, self._collection_id
        await own_vector_queries.add_versions(session, self._workspace_id, [version for _, version in made])
        chunks = [self._chunk(each, version, space_id) for each, version in made]
        ids = await queries.add_chunks(session, chunks)
        crash_points.reach("mid_publish")
        placed = [
            index.IndexedChunk(chunk_id, collection_id, version.document_id, self._language, each.words, each.vector)
            for chunk_id, (each, version) in zip(ids, made, strict=True)
        ]
        await index.add(session, space_id, placed)
        await mention_queries.add(
            session,
            [
                (Place(chunk_id, collection_id, version.document_id), each.found)
                for chunk_id, (each, version) in zip(ids, made, strict=True)
            ],
        )

    def _chunk(self, each: _Ready, version: Made, space_id: int) -> NewChunk:
        passage = each.passage
        pending = Pending(
            version_id=version.version_id,
            version_number=version.number,
            document_id=version.document_id,
            collection_id=self._collection_id,
            workspace_id=self._workspace_id,
            batch_id=None,
            title=None,
            attributes=passage.attributes,
            sha256=each.sha256,
            size_bytes=each.size_bytes,
            media_type=MEDIA_TYPE,
            language=self._language,
            space_id=space_id,
        )
        cut = chunking.Chunk(0, 0, len(passage.text), None, (), passage.text, "")
        return NewChunk(pending, cut, each.sha256, each.words.length)

    async def _tell(self, made: Sequence[tuple[_Ready, Made]], described: Mapping[UUID, list[str]]) -> None:
        told: list[tuple[str, UUID, dict[str, Any]]] = [
            ("document.ready", version.document_id, {"chunks": 1, "version": version.number}) for _, version in made
        ]
        told += [("document.described", its_id, {"fields": fields}) for its_id, fields in described.items()]
        await events.emit_all(
            self._session,
            [
                events.Happening(
                    self._workspace_id, kind, "document", its_id, collection_id=self._collection_id, data=data
                )
                for kind, its_id, data in told
            ],
        )


async def get(
    session: AsyncSession, principal: Principal, collection: str, ids: Sequence[str], *, with_vectors: bool = False
) -> list[Kept]:
    """Those of these passages that are there, in the order asked, each once."""
    home = await place(session, principal, collection)
    if with_vectors and len(ids) > (most := MAX_NUMBERS // home.space.dimension):
        raise Invalid(
            "passages.too_many_vectors",
            f"With their vectors of {home.space.dimension} numbers up to {most} passages are read at once.",
            hint="ask for fewer ids, or without vectors",
            pointer="/ids",
        )
    space_id = home.collection.space_id if with_vectors else None
    found = await own_vector_queries.find(session, home.collection.id, ids, space_id=space_id)
    rows = [found[its_id] for its_id in dict.fromkeys(ids) if its_id in found]
    return [
        Kept(row.external_id, row.text, row.attributes, own_vector_queries.floats(row.raw) if with_vectors else None)
        for row in rows
    ]


async def delete(
    session: AsyncSession, nudger: Nudger, principal: Principal, collection: str, ids: Sequence[str]
) -> int:
    """Delete passages by their ids; how many there were. Out of every search with the commit, off the disk soon after."""
    principal.require("write")
    home = await place(session, principal, collection)
    found = await own_vector_queries.ids_of(session, home.collection.id, ids)
    if not found:
        return 0
    return (await deleting.delete_selection(session, nudger, principal, Selection(ids=found))).count


async def vectors_of(session: AsyncSession, home: Home, version_ids: Sequence[UUID]) -> Mapping[UUID, np.ndarray]:
    """The vectors of these versions of passages, float32 (dim,), of those that are still there."""
    return await own_vector_queries.vectors_of_versions(session, home.collection.space_id, version_ids)


async def place(session: AsyncSession, principal: Principal, collection: str) -> Home:
    """The collection of this name. Raises NotFound, and Conflict for one whose vectors are made here."""
    found = await collections.get(session, principal, collection)
    space = await spaces.get(session, found.space_id)
    if not space.is_callers:
        raise Conflict(
            "collection.own_vectors",
            f"The vectors of the collection {found.name!r} are made here, by {space.model}.",
            hint='send it files, POST /api/v1/documents; or make a collection with "vectors": {"source": "caller", …}',
        )
    return Home(found, space)


def check(passages: Sequence[Passage]) -> None:
    """Raise Invalid for what cannot be kept, whatever collection it is for."""
    if not 1 <= len(passages) <= MAX_PASSAGES:
        raise Invalid(
            "passages.count",
            f"One request has 1 to {MAX_PASSAGES} passages; these are {len(passages)}.",
            hint="send them in several requests",
            pointer="/passages",
        )
    seen: dict[str, int] = {}
    for number, each in enumerate(passages):
        if not 1 <= len(each.id) <= MAX_ID or not is_storable(each.id):
            raise _refused("id", number, f"An id has 1 to {MAX_ID} characters, none of them NUL.", "/id")
        if not 1 <= len(each.text) <= MAX_TEXT or not is_storable(each.text):
            raise _refused("text", number, f"A text has 1 to {MAX_TEXT:,} characters, none of them NUL.", "/text")
        if (first := seen.setdefault(each.id, number)) != number:
            raise _refused("same_id", number, f"Passages {first} and {number} have the same id.", "/id")
        with _naming(number):
            describing.check_attributes(each.attributes)


def direction(vector: Sequence[float], dimension: int) -> np.ndarray:
    """float32 (dimension,), length 1, as it is kept. Raises ValueError with what is wrong with it."""
    if len(vector) != dimension:
        raise ValueError(f"it has {len(vector)} numbers, and the collection's have {dimension}")
    numbers = np.array(vector, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError("it holds a number that is infinite, or none")
    largest = np.abs(numbers).max()
    if largest == 0:
        raise ValueError("it is zero, which has no direction: cosine says nothing of it")
    numbers /= largest  # before it is squared, which could be too large, or too small
    return np.asarray(numbers / np.linalg.norm(numbers), np.float32)


def asked(vector: Sequence[float], home: Home) -> np.ndarray:
    """A vector that is asked for, as `direction` gives it. Raises Invalid."""
    try:
        return direction(vector, home.space.dimension)
    except ValueError as exc:
        raise Invalid(
            "passages.bad_vector",
            f"This vector cannot be asked for: {exc}.",
            hint="GET /api/v1/collections/{collection} tells the dimension",
            pointer="/vector",
        ) from exc


def _vectors(passages: Sequence[Passage], home: Home) -> list[np.ndarray]:
    made, faults = [], []
    for number, each in enumerate(passages):
        try:
            made.append(direction(each.vector, home.space.dimension))
        except ValueError as exc:
            faults.append((number, each.id, str(exc)))
    if faults:
        number, its_id, said = faults[0]
        more = f" And {len(faults) - 1} more." if len(faults) > 1 else ""
        raise Invalid(
            "passages.bad_vector",
            f"The vector of passage {number} ({its_id[:100]!r}) cannot be kept: {said}.{more}",
            hint="none of the passages was written; `errors` names the first of them",
            errors=[
                {"pointer": pointer_to("passages", number, "vector"), "detail": f"{said[:1].upper()}{said[1:]}."}
                for number, _, said in faults[:_MOST_TOLD]
            ],
        )
    return made


def _cut(passages: Sequence[Passage], bodies: Sequence[bytes], language: str) -> tuple[list[bytes], list[Analysed]]:
    """Hashes and words."""
    return [hashlib.sha256(body).digest() for body in bodies], [
        analyse(normalise(each.text), language) for each in passages
    ]


async def _put(tools: Tools, wanted: Mapping[bytes, bytes]) -> None:
    turns = asyncio.Semaphore(_PUTS)

    async def put(sha256: bytes, body: bytes) -> None:
        async with turns:
            await blobs.put(tools.sessions, tools.objects, sha256, body)

    try:
        async with asyncio.TaskGroup() as group:
            for sha256, body in wanted.items():
                group.create_task(put(sha256, body))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    crash_points.reach("after_put")


def _is_other_vector(raw: bytes | None, vector: np.ndarray) -> bool:
    """Whether what is kept is another vector, as PostgreSQL sends it: behind four bytes, halves."""
    now: bytes = vector.astype(">f2").tobytes()
    return raw is None or bytes(raw)[4:] != now


def _is_other(one: Any, other: Any) -> bool:
    """As JSON: true is not 1 there."""
    if isinstance(one, bytes | memoryview) or isinstance(other, bytes):
        return bool(one != other)
    return json.dumps(one, sort_keys=True, default=str) != json.dumps(other, sort_keys=True, default=str)


def _refused(what: str, number: int, said: str, field_: str) -> Invalid:
    hint = "none of the passages was written"
    return Invalid(f"passages.{what}", f"Passage {number}: {said}", hint=hint, pointer=f"/passages/{number}{field_}")


@contextmanager
def _naming(number: int) -> Iterator[None]:
    """Say of which passage it is, where something of it is refused."""
    try:
        yield
    except Invalid as exc:
        errors = exc.values.get("errors") or [{"pointer": exc.values.get("pointer") or "", "detail": exc.message}]
        told = [each | {"pointer": f"/passages/{number}{each['pointer']}"} for each in errors]
        raise Invalid(exc.code, f"Passage {number}: {exc.message}", hint=exc.hint, errors=told) from exc
