"""Reading a bundle into this installation. Doing it twice changes nothing.

The catalogue comes first, all of it or nothing; then document by document, each visible when it is whole; then observations.
A document that is here already, by its identity in the collection, is left alone. Ids are kept where they are free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import service as access
from drystone.access.service import DEFAULT_WORKSPACE, Principal
from drystone.adapters.objects import Objects
from drystone.bundle import catalogue as of_catalogue
from drystone.bundle import checking
from drystone.bundle import observations as of_observations
from drystone.bundle import queries as bundles
from drystone.bundle.checking import Item
from drystone.bundle.container import Reading, check_bytes
from drystone.bundle.schema import OF_FAILED, OF_READY, BlobLine, CollectionLine, SchemaPart, VersionPart, blob_name
from drystone.catalogue import bringing
from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, Invalid, NotFound
from drystone.core.ids import new_id
from drystone.core.logging import get_logger
from drystone.core.spool import nameless_file, telling_full_disk, write_all
from drystone.documents import blobs, collections, queries, reembedding, schemas
from drystone.documents.chunking import Chunk as Passage
from drystone.documents.models import FAILED, INGEST, PENDING, READY, Collection
from drystone.documents.queries import NewChunk, Pending
from drystone.documents.schemas import Schema
from drystone.index import analysis, spaces
from drystone.index import queries as index
from drystone.index.embedders import Embedders
from drystone.index.spaces import Space
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.broker import Nudger
from drystone.mentions import finders
from drystone.mentions import queries as mentions
from drystone.mentions.finders import Finders
from drystone.observations.rows import EARLIEST

ACTOR = "bundle"
_MESSAGE = "imported from a bundle"
# Documents of one transaction, and the passages after which no further one is taken into it.
_DOCUMENTS, _CHUNKS = 50, 1000
_PART_BYTES = 1024 * 1024
# Blobs that are put at the same time.
_PUTS = 4

Say = Callable[[str], None]
_Schemas = Mapping[SchemaPart, Schema | None]
log = get_logger("bundle.importing")


@dataclass(frozen=True)
class Place:
    """What an import works with. sessions: of the role that owns the schema. oldest: before that no observations are kept.

    has_graph: whether spaces that are made here have a graph in PostgreSQL.
    """

    sessions: Sessions
    objects: Objects
    embedders: Embedders
    nudger: Nudger
    spool_folder: Path
    oldest: datetime = EARLIEST
    finders: Finders = field(default_factory=Finders)
    has_graph: bool = True


@dataclass
class Imported:
    """What was done. already…: what was here. waiting: documents that a worker is to embed or read first.

    defined, already_defined: of entities, modules and profiles. too_old: observations that are not kept here.
    without_schema: documents that are under nothing here, since there is no category or profile of the key that they are under there.
    """

    documents: int = 0
    already: int = 0
    waiting: int = 0
    chunks: int = 0
    blobs: int = 0
    collections: list[str] = field(default_factory=list)
    renamed_ids: int = 0
    defined: int = 0
    already_defined: int = 0
    series: int = 0
    observations: int = 0
    already_observed: int = 0
    too_old: int = 0
    without_schema: int = 0


@dataclass
class _Known:
    """theirs -> ours: documents that are archives, and versions whose id is another here; what came of the catalogue."""

    archives: dict[UUID, UUID] = field(default_factory=dict)
    versions: dict[UUID, UUID] = field(default_factory=dict)
    catalogue: Mapping[UUID, UUID] = field(default_factory=dict)


@dataclass(frozen=True)
class _Ready:
    """A document whose passages are to be published with its rows. ids: theirs -> ours."""

    home: _Home
    item: Item
    version: VersionPart
    ids: dict[UUID, UUID]


@dataclass(frozen=True)
class _Home:
    """Where a collection of the bundle goes. keeps_vectors: its model is that of the bundle."""

    principal: Principal
    collection: Collection
    keeps_vectors: bool


async def import_(
    place: Place,
    bundle: Reading,
    *,
    workspace: str = DEFAULT_WORKSPACE,
    names: Sequence[str] = (),
    into: str | None = None,
    catalogue: bool | None = None,
    observations: bool | None = None,
    say: Say = lambda _: None,
) -> Imported:
    """Import these collections of a bundle, or all of them. into: the collection that the only one of them goes into.

    catalogue, observations: whether these are imported, too; None: unless collections are named.
    Everything is checked first: of a bundle that is wrong anywhere nothing is imported. Cut short, it may be done again.
    Raises Invalid for a damaged bundle, Conflict where another collection has the name, or the catalogue says something else.
    """
    say("checking the bundle")
    await asyncio.to_thread(checking.check, bundle)
    chosen = _chosen(bundle, names, into)
    takes_catalogue = bundle.has_catalogue and (not names if catalogue is None else catalogue)
    takes_observations = bundle.has_observations and (not names if observations is None else observations)
    async with transaction(place.sessions) as session:
        workspace_id = await bundles.workspace(session, workspace)
    if workspace_id is None:
        raise NotFound("workspace.not_found", f"There is no workspace {workspace!r}.")
    principal = Principal(workspace_id, ACTOR, frozenset({"admin"}))
    done = Imported()
    brought = of_catalogue.read(bundle) if takes_catalogue else None
    series = of_observations.series(bundle) if takes_observations else []
    await _make_spaces(place, chosen)
    async with transaction(place.sessions) as session:  # a conflict of one leaves nothing of the others behind
        arrival = (
            None
            if brought is None
            else await bringing.bring(session, place.nudger, principal, brought, message=_MESSAGE)
        )
        known = _Known(catalogue=arrival.ids if arrival else {})
        homes = await _homes(session, place, principal, known, chosen, into)
        home_series = await of_observations.homes(session, principal, series, arrival.ids if arrival else None)
    if arrival is not None and brought:
        done.defined, done.already_defined = arrival.added, arrival.already
        say(f"catalogue: {arrival.added} brought, {arrival.already} were here")
    sizes = {bytes.fromhex(blob.sha256): blob.size_bytes for blob in checking.blobs(bundle)}
    done.collections = [home.collection.name for home in homes.values()]
    for batch in _batches(bundle, homes):
        await _import(place, bundle, sizes, batch, known, done)
        crash_points.reach("mid_import")
        say(f"{done.documents + done.already} of {sum(each.documents for each in chosen)} documents")
    if series:
        taken = await of_observations.import_(
            place.sessions, principal, bundle, home_series, known.versions, place.oldest, say=say
        )
        done.series, done.observations = len(series), taken.added
        done.already_observed, done.too_old = taken.already, taken.too_old
    log.info("bundle.imported", documents=done.documents, already=done.already, waiting=done.waiting)
    return done


def _chosen(bundle: Reading, names: Sequence[str], into: str | None) -> list[CollectionLine]:
    there = list(checking.collections(bundle))
    if lacking := [name for name in names if name not in {each.name for each in there}]:
        raise NotFound(
            "bundle.no_collection",
            f"The bundle has no collection {lacking[0]!r}.",
            hint=f"it has: {', '.join(each.name for each in there) or 'none'}",
        )
    chosen = [each for each in there if not names or each.name in names]
    if into is not None and len(chosen) != 1:
        raise Invalid(
            "bundle.into_one",
            f"--into names one collection, and {len(chosen)} are to be imported.",
            hint="choose one with --collection",
        )
    return chosen


# --- where to ---


async def _make_spaces(place: Place, chosen: Sequence[CollectionLine]) -> None:
    """What vectors that callers brought go into; of a model's there is one, or the documents are embedded anew."""
    for dimension in sorted({each.dimension for each in chosen if Space(each.model, each.dimension).is_callers}):
        async with transaction(place.sessions) as session:
            await spaces.of_callers(session, dimension, graph=place.has_graph)


async def _homes(
    session: AsyncSession,
    place: Place,
    principal: Principal,
    known: _Known,
    chosen: Sequence[CollectionLine],
    into: str | None,
) -> dict[UUID, _Home]:
    """A home for each, found or made."""
    return {
        each.id: await _home(session, place, principal, known, each, into or each.name, is_chosen=into is not None)
        for each in chosen
    }


async def _home(
    session: AsyncSession,
    place: Place,
    principal: Principal,
    known: _Known,
    line: CollectionLine,
    name: str,
    *,
    is_chosen: bool,
) -> _Home:
    """is_chosen: whether somebody said that it is to go into the collection of this name, if there is one."""
    space = Space(line.model, line.dimension)
    found = await queries.find_collection(session, principal.workspace_id, name, share=True)
    if found is None:
        is_here = space.is_callers or space in place.embedders.spaces
        found = await _make(session, principal, known, line, name, space if is_here else place.embedders.current)
    elif found.id != line.id and not is_chosen:
        raise Conflict(
            "bundle.collection_exists",
            f"There is another collection {name!r} here.",
            hint=f"import it under another name with --into NAME, or into that one with --into {name}",
        )
    if await bundles.has_change(session, found.id):
        raise Conflict(
            "embedding.under_way",
            f"The model of collection {name!r} is being changed.",
            hint="finish or cancel that first: ./drystone embedding",
        )
    ours = await spaces.get(session, found.space_id)
    if ours.is_callers and ours != space:
        raise Conflict(
            "bundle.callers_vectors",
            f"The vectors of collection {name!r} are brought by callers, and have {ours.dimension} dimensions: those of the "
            f"bundle's {line.name!r} are others, and no model here could make them anew.",
            hint="import it under another name with --into NAME",
        )
    return _Home(principal, found, keeps_vectors=ours == space)


async def _make(
    session: AsyncSession, principal: Principal, known: _Known, line: CollectionLine, name: str, space: Space
) -> Collection:
    is_free = not await bundles.taken(session, [line.id])
    schema = await _schema(session, principal, known, line.under)
    return await collections.create(
        session,
        principal,
        space,
        name=name,
        description=line.description,
        language=line.language,
        collection_id=line.id if is_free else None,
        schema=(schema.kind, schema.view.id) if schema else None,
    )


async def _schema(session: AsyncSession, principal: Principal, known: _Known, part: SchemaPart | None) -> Schema | None:
    """The schema here that stands for one there: the one that came along, else the one of this key; None where there is none."""
    if part is None:
        return None
    if part.id in known.catalogue:
        return await schemas.of_id(session, principal.workspace_id, part.kind, known.catalogue[part.id])
    try:
        return await schemas.named(session, principal.workspace_id, f"{part.kind}:{part.key}")
    except Invalid:
        return None


# --- documents ---


def _batches(bundle: Reading, homes: dict[UUID, _Home]) -> Iterator[list[tuple[_Home, Item]]]:
    batch: list[tuple[_Home, Item]] = []
    chunks = 0
    for collection, item in checking.items(bundle):
        if collection.id not in homes:
            continue
        batch.append((homes[collection.id], item))
        chunks += len(item.chunks)
        if len(batch) >= _DOCUMENTS or chunks >= _CHUNKS:
            yield batch
            batch, chunks = [], 0
    if batch:
        yield batch


async def _import(
    place: Place,
    bundle: Reading,
    sizes: dict[bytes, int],
    batch: Sequence[tuple[_Home, Item]],
    known: _Known,
    done: Imported,
) -> None:
    """Blobs first, then all rows of these documents in one transaction."""
    new = await _without_known(place, batch, known)
    done.already += len(batch) - len(new)
    wanted = {sha256 for _, item in new for sha256 in _blobs(item)}
    turns = asyncio.Semaphore(_PUTS)
    async with asyncio.TaskGroup() as group:
        for sha256 in sorted(wanted):
            blob = BlobLine(sha256=sha256.hex(), size_bytes=sizes[sha256])
            group.create_task(_put(place, bundle, blob, turns))
    async with transaction(place.sessions) as session:
        await _check_homes(session, [home for home, _ in new])
        for sha256 in sorted(wanted):
            await blobs.confirm(session, sha256)
        under = await _under(session, [(home, item) for home, item in new], known)
        ids = [each for _, item in new for each in (item.document.id, *(v.id for v in item.document.versions))]
        taken = await bundles.taken(session, ids)
        added = [await _add(session, place, home, item, under, taken, known, done) for home, item in new]
        await _publish(session, place, [each for each in added if each is not None and each.item.chunks])
    done.blobs += len(wanted)


async def _check_homes(session: AsyncSession, homes: Sequence[_Home]) -> None:
    """Keep the collections and their models as they are until the transaction ends. Raises Conflict where they are not."""
    there = {home.collection.id: home.collection for home in homes}
    await reembedding.share(session, set(there))
    for collection in there.values():
        found = await queries.find_collection(session, collection.workspace_id, str(collection.id), share=True)
        if found is None or found.space_id != collection.space_id or await bundles.has_change(session, collection.id):
            raise Conflict(
                "bundle.collection_changed",
                f"The collection {collection.name!r} was deleted, or its model changed, during the import.",
                hint="what was imported before stays; import again",
            )


async def _without_known(place: Place, batch: Sequence[tuple[_Home, Item]], known: _Known) -> list[tuple[_Home, Item]]:
    """Those that are not here yet; of the others is noted under which ids they are."""
    new, here = [], {}
    async with transaction(place.sessions) as session:
        for home, item in batch:
            found = await _find(session, home, item, known.archives)
            if found is None:
                new.append((home, item))
                continue
            here[found] = item
            if item.is_archive:
                known.archives[item.document.id] = found
        versions = await bundles.versions_here(session, list(here))
    for document_id, item in here.items():
        ours = {version.id: versions.get((document_id, version.number)) for version in item.document.versions}
        known.versions |= {theirs: its_id for theirs, its_id in ours.items() if its_id not in (None, theirs)}
    return new


async def _find(session: AsyncSession, home: _Home, item: Item, archives: dict[UUID, UUID]) -> UUID | None:
    document = item.document
    if document.parent_id is not None:
        parent = archives.get(document.parent_id)
        if parent is None:
            return None
        assert document.member_path is not None, "it was checked"
        member = await queries.lock_member(session, parent, document.member_path)
        return member.id if member else None
    known = await queries.lock_by_identity(
        session,
        home.collection.id,
        external_id=document.external_id,
        sha256=bytes.fromhex(document.sha256),
    )
    return known.id if known else None


async def _put(place: Place, bundle: Reading, blob: BlobLine, turns: asyncio.Semaphore) -> None:
    """Keep a blob; what is put is what was hashed."""
    async with turns:
        with nameless_file(place.spool_folder) as file:

            def spool() -> None:
                with bundle.blob(blob_name(blob.sha256), blob) as reading, telling_full_disk(place.spool_folder):
                    left = blob.size_bytes
                    while left and (part := reading.read(min(left, _PART_BYTES))):
                        write_all(file, part)
                        left -= len(part)
                file.seek(0)
                check_bytes(file, blob_name(blob.sha256), blob.size_bytes, blob.sha256)
                file.seek(0)

            await asyncio.to_thread(spool)
            await blobs.put(place.sessions, place.objects, bytes.fromhex(blob.sha256), file)


async def _under(session: AsyncSession, new: Sequence[tuple[_Home, Item]], known: _Known) -> _Schemas:
    """What is here of the schemas that these documents are under; they stay as they are until the transaction ends."""
    found: dict[SchemaPart, Schema | None] = {}
    for home, item in new:
        part = item.document.under
        if part is None or part in found:
            continue
        if not found:
            await schemas.share(session, home.principal.workspace_id)
        found[part] = await _schema(session, home.principal, known, part)
    return found


async def _add(
    session: AsyncSession,
    place: Place,
    home: _Home,
    item: Item,
    under: _Schemas,
    taken: set[UUID],
    known: _Known,
    done: Imported,
) -> _Ready | None:
    """Add its rows; what is then to be published, if it is ready as it is."""
    document, principal = item.document, home.principal
    if document.parent_id is not None and document.parent_id not in known.archives:
        # Another one has its archive's identity.
        done.already += 1
        return None
    theirs = [document.id, *(version.id for version in document.versions)]
    ids = {each: new_id() if each in taken else each for each in theirs}
    done.renamed_ids += ids[document.id] != document.id
    schema = None if document.under is None else under[document.under]
    is_added = await queries.add_document(
        session,
        {
            "id": ids[document.id],
            "workspace_id": principal.workspace_id,
            "collection_id": home.collection.id,
            "external_id": document.external_id,
            "parent_id": document.parent_id and known.archives[document.parent_id],
            "member_path": document.member_path,
            "sha256": bytes.fromhex(document.sha256),
            "name": document.name,
            "title": document.title,
            "attributes": document.attributes,
            **(schemas.NONE if schema is None else schema.columns(schema.problems(document.attributes))),
            "latest_version_id": ids[document.versions[-1].id],
            "created_by": principal.actor,  # theirs is nobody here, or somebody else
        },
    )
    if not is_added:  # somebody sent it at this moment
        done.already += 1
        return None
    if item.is_archive:
        known.archives[document.id] = ids[document.id]
    known.versions |= {each.id: ids[each.id] for each in document.versions if ids[each.id] != each.id}
    states = [await _add_version(session, place, home, item, version, ids) for version in document.versions]
    current = next((version for version in document.versions if version.is_current), None)
    is_ready = current is not None and _is_kept(home, item)
    await bundles.date_document(
        session,
        {
            "id": ids[document.id],
            "state": states[-1],
            "current_version_id": ids[current.id] if current is not None and is_ready else None,
            "created_at": document.created_at,
        },
    )
    done.waiting += PENDING in states
    done.without_schema += document.under is not None and schema is None
    done.documents += 1
    done.chunks += len(item.chunks) if is_ready else 0
    await _tell(session, home, item, ids[document.id], is_ready=is_ready)
    return _Ready(home, item, current, ids) if current is not None and is_ready else None


async def _add_version(
    session: AsyncSession, place: Place, home: _Home, item: Item, version: VersionPart, ids: dict[UUID, UUID]
) -> str:
    """Add its row; its state: one that is to be embedded anew is pending, and has a job."""
    state = version.state if _is_kept(home, item) or not version.is_current else PENDING
    file_id = await queries.file_id(
        session,
        home.principal.workspace_id,
        sha256=bytes.fromhex(version.file.sha256),
        size_bytes=version.file.size_bytes,
        media_type=version.file.media_type,
    )
    is_ready = state == READY
    await bundles.add_version(
        session,
        {
            "id": ids[version.id],
            "workspace_id": home.principal.workspace_id,
            "document_id": ids[item.document.id],
            "number": version.number,
            "file_id": file_id,
            "name": version.name,
            "state": state,
            "text_sha256": bytes.fromhex(version.text_sha256) if version.text_sha256 and is_ready else None,
            **{name: getattr(version, name) if is_ready else None for name in OF_READY},
            "attempt": 1 if is_ready else None,
            **{name: getattr(version, name) if state == FAILED else None for name in OF_FAILED},
            "created_at": version.created_at,
        },
    )
    if state == PENDING:
        await jobs.enqueue(
            session,
            place.nudger,
            kind=INGEST,
            subject_id=ids[version.id],
            workspace_id=home.principal.workspace_id,
            collection_id=home.collection.id,
            cost=version.file.size_bytes,
        )
    return state


async def _publish(session: AsyncSession, place: Place, ready: Sequence[_Ready]) -> None:
    """Passages, vectors, words and mentions, as publishing writes them: a statement for each kind, whatever the number of documents."""
    passages = [(each, n) for each in ready for n in range(len(each.item.chunks))]
    if not passages:
        return
    chunk_ids = await queries.add_chunks(
        session, [_new_chunk(_pending(each), each.item.chunks[n]) for each, n in passages]
    )
    words = await asyncio.to_thread(lambda: [_words(each, n) for each, n in passages])
    by_space: dict[int, list[index.IndexedChunk]] = {}
    for (each, n), chunk_id, analysed in zip(passages, chunk_ids, words, strict=True):
        home = each.home.collection
        vector = each.item.vectors[n].astype(np.float32)
        document_id = each.ids[each.item.document.id]
        chunk = index.IndexedChunk(chunk_id, home.id, document_id, _language(each), analysed, vector)
        by_space.setdefault(home.space_id, []).append(chunk)
    for space_id, chunks in sorted(by_space.items()):
        await index.add(session, space_id, chunks)
    await _mention(session, place, passages, chunk_ids)


async def _mention(
    session: AsyncSession, place: Place, passages: Sequence[tuple[_Ready, int]], chunk_ids: Sequence[int]
) -> None:
    """Mentions of the names there are here; they are looked for within the transaction, so that they are of the newest."""
    workspace_id = passages[0][0].home.principal.workspace_id
    await mentions.share(session, [workspace_id])
    names = await place.finders.load(place.sessions, workspace_id)
    chunks = [each.item.chunks[n] for each, n in passages]
    found = await finders.find(names.finder, [(chunk.start, chunk.text) for chunk in chunks])
    places = [
        mentions.Place(chunk_id, each.home.collection.id, each.ids[each.item.document.id])
        for (each, _), chunk_id in zip(passages, chunk_ids, strict=True)
    ]
    await mentions.add(session, list(zip(places, found, strict=True)))


def _words(ready: _Ready, number: int) -> analysis.Analysed:
    chunk = ready.item.chunks[number]
    return analysis.analyse(chunk.text, _language(ready), titles=tuple(chunk.title_path))


def _language(ready: _Ready) -> str:
    assert ready.version.language is not None, "it was checked"
    return ready.version.language


def _pending(ready: _Ready) -> Pending:
    home, version, document = ready.home, ready.version, ready.item.document
    return Pending(
        version_id=ready.ids[version.id],
        version_number=version.number,
        document_id=ready.ids[document.id],
        collection_id=home.collection.id,
        workspace_id=home.principal.workspace_id,
        batch_id=None,
        title=document.title,
        attributes=document.attributes,
        sha256=bytes.fromhex(version.file.sha256),
        size_bytes=version.file.size_bytes,
        media_type=version.file.media_type,
        language=home.collection.language,
        space_id=home.collection.space_id,
    )


def _new_chunk(pending: Pending, chunk: Any) -> NewChunk:
    passage = Passage(
        ordinal=chunk.ordinal,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
        title_path=tuple(chunk.title_path),
        text=chunk.text,
        space_before=chunk.space_before,
    )
    return NewChunk(pending, passage, bytes.fromhex(chunk.content_hash), chunk.length)


async def _tell(session: AsyncSession, home: _Home, item: Item, document_id: UUID, *, is_ready: bool) -> None:
    """Audit and event: a change for each version, as if they had been sent one after the other."""
    for number, version in enumerate(item.document.versions):
        await access.record(
            session,
            home.principal,
            "document.create" if number == 0 else "document.replace",
            "document",
            document_id,
            after_sha256=bytes.fromhex(version.file.sha256),
            bundle_id=str(item.document.id),
        )
    await events.emit(
        session,
        home.principal.workspace_id,
        "document.ready" if is_ready else "document.received",
        "document",
        document_id,
        collection_id=home.collection.id,
        version=item.document.versions[-1].number,
    )


def _is_kept(home: _Home, item: Item) -> bool:
    """Whether its current version is ready as it is: what has no passages, such as an archive, needs no model."""
    return home.keeps_vectors or not item.chunks


def _blobs(item: Item) -> Iterator[bytes]:
    for version in item.document.versions:
        yield bytes.fromhex(version.file.sha256)
        if version.text_sha256:
            yield bytes.fromhex(version.text_sha256)
