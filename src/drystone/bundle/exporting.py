"""Writing a bundle: one moment of some collections, in open formats. Neither memory nor disk holds more than a part of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from drystone import __version__, schema
from drystone.access.service import DEFAULT_WORKSPACE
from drystone.adapters.objects import Objects
from drystone.bundle import catalogue as of_catalogue
from drystone.bundle import observations as of_observations
from drystone.bundle import queries
from drystone.bundle.container import Writing, write
from drystone.bundle.schema import (
    FORMAT,
    OF_FAILED,
    OF_READY,
    BlobLine,
    BundleManifest,
    ChunkLine,
    CollectionLine,
    DocumentLine,
    FilePart,
    SchemaPart,
    VersionPart,
    blob_name,
    chunks_name,
)
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, NotFound
from drystone.index import vectors

Say = Callable[[str], None]


async def export(
    sessions: Sessions,
    objects: Objects,
    path: Path,
    names: Sequence[str] = (),
    *,
    workspace: str = DEFAULT_WORKSPACE,
    catalogue: bool | None = None,
    observations: bool | None = None,
    say: Say = lambda _: None,
) -> BundleManifest:
    """Write these collections, or all of the workspace, to a .zip file or a folder, which is there when it is whole.

    catalogue, observations: whether the workspace's go along; None: unless collections are named.
    Raises NotFound for a collection that is not there, Conflict where the path is taken or a document was purged meanwhile.
    """
    with Writing(path) as bundle:
        async with transaction(sessions) as session:
            await queries.look_at_one_moment(session)
            workspace_id = await _workspace(session, workspace)
            rows = await _chosen(session, workspace_id, names)
            with bundle.member("collections.ndjson") as file:
                for row in rows:
                    write(file, _collection(row))
            with bundle.member("documents.ndjson") as file:
                for row in rows:
                    say(f"collection {row.name}: {row.documents} documents, {row.chunks} passages")
                    async for document, versions in queries.documents(session, row.id):
                        write(file, _document(row.id, document, versions))
            for number, row in enumerate(rows, start=1):
                await _write_chunks(session, bundle, number, row)
            blobs, blob_bytes = await _list_blobs(session, objects, bundle, [row.id for row in rows])
            say(f"copying {blobs} blobs")
            async for blob in _blobs(session, objects, [row.id for row in rows]):
                await _copy_blob(objects, bundle, blob)
            counts: dict[str, int] = {}
            if not names if catalogue is None else catalogue:
                counts |= await of_catalogue.export(session, bundle, workspace_id)
            if not names if observations is None else observations:
                say("writing observations")
                counts |= await of_observations.export(session, bundle, workspace_id)
            revision = await schema.current(session)
        manifest = BundleManifest(
            format=FORMAT,
            format_version=2,
            created_at=datetime.now(UTC),
            software=__version__,
            schema_revision=revision or "",
            collections=len(rows),
            documents=sum(row.documents for row in rows),
            chunks=sum(row.chunks for row in rows),
            blobs=blobs,
            blob_bytes=blob_bytes,
            members=bundle.members,
            **counts,
        )
        bundle.manifest(manifest)
    return manifest


async def _workspace(session: AsyncSession, name: str) -> UUID:
    workspace_id = await queries.workspace(session, name)
    if workspace_id is None:
        raise NotFound("workspace.not_found", f"There is no workspace {name!r}.")
    return workspace_id


async def _chosen(session: AsyncSession, workspace_id: UUID, names: Sequence[str]) -> Sequence[Row[Any]]:
    rows = await queries.collections(session, workspace_id)
    there = {row.name for row in rows}
    if lacking := [name for name in names if name not in there]:
        raise NotFound(
            "collection.not_found",
            f"There is no collection {lacking[0]!r}.",
            hint=f"there is: {', '.join(sorted(there)) or 'none'}",
        )
    return [row for row in rows if not names or row.name in names]


async def _write_chunks(session: AsyncSession, bundle: Writing, number: int, row: Row[Any]) -> None:
    with bundle.member(chunks_name(number, "ndjson")) as file:
        async for page in queries.chunks(session, row.id):
            for chunk in page:
                write(file, _chunk(chunk))
    with bundle.member(chunks_name(number, "npy")) as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (row.chunks, row.dimension)}
        np.lib.format.write_array_header_1_0(file, header)
        async for page in queries.chunks(session, row.id):
            ids = [chunk.id for chunk in page]
            found, _, made = await vectors.stored(session, row.space_id, ids, row.dimension)
            place = {chunk_id: n for n, chunk_id in enumerate(found)}
            if lacking := [chunk_id for chunk_id in ids if chunk_id not in place]:
                raise Conflict(
                    "bundle.no_vector",
                    f"{len(lacking)} passages of {row.name} have no vector.",
                    hint="./drystone doctor --data tells what is wrong",
                )
            file.write(made[[place[chunk_id] for chunk_id in ids]].astype("<f2").tobytes())


async def _list_blobs(session: AsyncSession, objects: Objects, bundle: Writing, ids: Sequence[UUID]) -> tuple[int, int]:
    """Write which blobs there are; how many, and their bytes."""
    count = size_bytes = 0
    with bundle.member("blobs.ndjson") as file:
        async for blob in _blobs(session, objects, ids):
            write(file, blob)
            count, size_bytes = count + 1, size_bytes + blob.size_bytes
    return count, size_bytes


async def _blobs(session: AsyncSession, objects: Objects, ids: Sequence[UUID]) -> AsyncIterator[BlobLine]:
    async for sha256, size_bytes in queries.blobs(session, ids):
        size = await _size(objects, sha256) if size_bytes is None else size_bytes
        yield BlobLine(sha256=sha256.hex(), size_bytes=size)


async def _copy_blob(objects: Objects, bundle: Writing, blob: BlobLine) -> None:
    with bundle.blob(blob_name(blob.sha256)) as file:
        try:
            async for part in objects.stream(bytes.fromhex(blob.sha256), size_bytes=blob.size_bytes):
                await asyncio.to_thread(file.write, part)
        except NotFound as exc:
            raise _gone(blob.sha256) from exc


async def _size(objects: Objects, sha256: bytes) -> int:
    try:
        return await objects.size(sha256)
    except NotFound as exc:
        raise _gone(sha256.hex()) from exc


def _gone(sha256: str) -> Conflict:
    return Conflict(
        "bundle.blob_gone",
        f"The blob {sha256} is not in the store.",
        hint="a document may have been deleted meanwhile: try again; otherwise ./drystone scrub --all",
    )


def _document(collection_id: UUID, row: Row[Any], versions: Sequence[Row[Any]]) -> DocumentLine:
    return DocumentLine(
        id=row.id,
        collection_id=collection_id,
        external_id=row.external_id,
        parent_id=row.parent_id,
        member_path=row.member_path,
        sha256=row.sha256.hex(),
        name=row.name,
        title=row.title,
        attributes=row.attributes,
        under=_under(row),
        created_by=row.created_by,
        created_at=row.created_at,
        versions=[_version(each, is_current=each.id == row.current_version_id) for each in versions],
    )


def _version(row: Row[Any], *, is_current: bool) -> VersionPart:
    given = {name: getattr(row, name) for name in _OF_VERSION}
    text_sha256 = row.text_sha256
    return VersionPart(
        **given,
        file=FilePart(sha256=row.sha256.hex(), size_bytes=row.size_bytes, media_type=row.media_type),
        is_current=is_current,
        text_sha256=text_sha256 and text_sha256.hex(),
    )


def _collection(row: Row[Any]) -> CollectionLine:
    given = {name: getattr(row, name) for name in CollectionLine.model_fields if name != "under"}
    return CollectionLine(**given, under=_under(row))


def _under(row: Row[Any]) -> SchemaPart | None:
    if row.schema_id is None:
        return None
    return SchemaPart(kind=row.schema_kind, id=row.schema_id, key=row.schema_key)


def _chunk(row: Row[Any]) -> ChunkLine:
    given = {name: getattr(row, name) for name in ("document_id", "ordinal", "page", "title_path", "length", "text")}
    return ChunkLine(
        **given,
        start=row.start_offset,
        end=row.end_offset,
        content_hash=row.content_hash.hex(),
        space_before=row.space_before,
    )


_OF_VERSION = ("id", "number", "name", "state", "created_at", *OF_READY, *OF_FAILED)
