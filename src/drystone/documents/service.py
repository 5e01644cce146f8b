"""Documents as they are looked up: one, a page of them, their text, their bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, case, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from drystone.access.service import Principal
from drystone.adapters.objects import Objects
from drystone.adapters.parsing import ARCHIVE
from drystone.catalogue.models import Entity, EntityVersion, Profile, ProfileVersion
from drystone.core.conditions import NO_CONDITION, Condition
from drystone.core.errors import Conflict, NotFound, Unavailable
from drystone.documents import collections, filter_types, filters, queries, schemas
from drystone.documents.filters import Filter
from drystone.documents.models import FAILED, WORK_CANCELLED, Collection, Document, File, State, Version

_Serving = aliased(Version)
_FIRST_BYTES = 1024 * 1024


@dataclass(frozen=True)
class DocumentView:
    """A document with its newest version, as edges show it. serving: number of the version that search sees, if any.

    schema: the name of the one it is under. schema_version: number of the version of it that its attributes were compared with.
    """

    document: Document
    version: Version
    file: File
    collection_name: str
    serving: int | None
    schema: str | None
    schema_version: int | None

    @property
    def title(self) -> str | None:
        return self.document.title or self.version.title or self.document.name

    @property
    def etag(self) -> str:
        return etag(self.document)


def etag(document: Document) -> str:
    """The strong entity tag of a document: everything that is shown of it changes its revision."""
    return f'"{document.revision}"'


async def get_document(session: AsyncSession, principal: Principal, document_id: UUID) -> DocumentView:
    """A document with its newest version. Raises NotFound, also for deleted ones and those the key may not see."""
    principal.require("read")
    row = (
        await session.execute(_ONE_VIEW, {"wanted_id": document_id, "its_workspace_id": principal.workspace_id})
    ).one_or_none()
    if row is None or not principal.may_see(row.Document.collection_id):
        raise no_document(document_id)
    return _view(row)


async def page_documents(
    session: AsyncSession,
    principal: Principal,
    *,
    collection: str | None = None,
    state: State | None = None,
    external_id: str | None = None,
    archive: UUID | None = None,
    schema: str | None = None,
    fits: bool | None = None,
    filter: Filter | None = None,
    batch_id: UUID | None = None,
    cancelled: bool | None = None,
    after: UUID | None = None,
    newest_first: bool = False,
    limit: int = 50,
) -> list[DocumentView]:
    """Documents in the order they were made, or the newest first; those behind the id `after`.

    schema: under this one. fits: those under a schema whose attributes fit it, or do not. batch_id: of the newest version.
    cancelled: of failed ones those whose work was cancelled, or the others.
    """
    principal.require("read")
    query = _views().where(Document.workspace_id == principal.workspace_id)
    parameters: dict[str, Any] = {}
    if collection is not None:
        collection_id = (await collections.get(session, principal, collection)).id
        query = query.where(Document.collection_id == collection_id)
        parameters["collection_ids"] = [collection_id]
    elif principal.collection_ids is not None:
        query = query.where(Document.collection_id.in_(principal.collection_ids))
    if state is not None:
        query = query.where(Document.state == state)
    if external_id is not None:
        query = query.where(Document.external_id == external_id)
    if archive is not None:
        query = query.where(Document.parent_id == archive)
    if schema is not None:
        found = await schemas.find(session, principal.workspace_id, schema)
        query = query.where(schemas.is_under(principal.workspace_id, found))
    if fits is not None:
        query = query.where(
            Document.schema_id.is_not(None),
            Document.schema_problem.is_(None) if fits else Document.schema_problem.is_not(None),
        )
    if filter is not None:
        filter = await filter_types.typed(session, principal.workspace_id, filter)
        clauses = [filters.condition(filter, parameters)]
        clauses += filters.narrowing(filter, parameters) if collection is not None else []
        query = query.where(text(f"exists (select 1 from {_THIS} and {' and '.join(clauses)})"))
    if batch_id is not None:
        query = query.where(Version.batch_id == batch_id)
    if cancelled is not None:
        query = query.where((Version.error_code == WORK_CANCELLED) == cancelled)
    if after is not None:
        query = query.where(Document.id < after if newest_first else Document.id > after)
    query = query.order_by(Document.id.desc() if newest_first else Document.id).limit(limit)
    rows = await session.execute(query, parameters if filter is not None else {})
    return [_view(row) for row in rows]


async def read_text(session: AsyncSession, objects: Objects, principal: Principal, document_id: UUID) -> str:
    """The extracted text that quotes and offsets refer to. Raises Conflict while there is none."""
    view = await get_document(session, principal, document_id)
    version_id = view.document.current_version_id
    version = None if version_id is None else await session.get(Version, version_id)
    if view.file.media_type == ARCHIVE:
        raise Conflict(
            "document.is_archive",
            "An archive has no text of its own; the documents in it have.",
            hint=f"GET /api/v1/documents?archive={document_id} lists them",
        )
    if version is None or version.text_sha256 is None:
        raise Conflict(
            "document.not_ready",
            f"The document has no text{': it failed' if view.document.state == FAILED else ' yet: it is pending'}.",
            hint=view.version.error_hint or "wait until its state is ready",
            state=view.document.state,
        )
    return await kept_text(objects, version.text_sha256)


async def kept_text(objects: Objects, text_sha256: bytes) -> str:
    """An extracted text. Raises Unavailable `objects.missing` or `objects.corrupt` where the store has it no more."""
    with _kept():
        return (await objects.get(text_sha256)).decode()


async def open_content(objects: Objects, file: File) -> AsyncIterator[bytes]:
    """The bytes as they were uploaded; the first megabyte, or all that there is, has been read when this returns.

    So what is lost or wrong is known before anything is answered; raises as `kept_text` does.
    """
    chunks = objects.stream(file.sha256, chunk_size=_FIRST_BYTES, size_bytes=file.size_bytes)
    with _kept():
        first = await anext(chunks, b"")

    async def all_chunks() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return all_chunks()


@contextmanager
def _kept() -> Iterator[None]:
    """What a row names should be in the store: that it is not is no matter of who asks for the document."""
    try:
        yield
    except NotFound as exc:
        raise Unavailable(
            "objects.missing",
            "The object store has lost the bytes of this document.",
            hint="restore them from a backup, or upload the same file again; a scrub finds all that are lost",
            **exc.values,
        ) from exc


# The row that a filter's SQL calls `document`.
_THIS = "documents as document where document.id = documents.id"


def _of_schema(category: Any, profile: Any) -> Any:
    return case((Document.schema_kind == "category", category), (Document.schema_kind == "profile", profile))


def _name(kind: str, model: type[Entity] | type[Profile]) -> Any:
    return select(literal(f"{kind}:") + model.key).where(model.id == Document.schema_id).scalar_subquery()


def _number(model: type[EntityVersion] | type[ProfileVersion]) -> Any:
    return select(model.number).where(model.id == Document.schema_version_id).scalar_subquery()


# Looked up for documents that are under one only.
_SCHEMA = (
    _of_schema(_name("category", Entity), _name("profile", Profile)).label("schema_name"),
    _of_schema(_number(EntityVersion), _number(ProfileVersion)).label("schema_version"),
)


def _views() -> Any:
    return (
        select(
            Document,
            Version,
            File,
            Collection.name.label("collection_name"),
            _Serving.number.label("serving"),
            *_SCHEMA,
        )
        .join(Version, Version.id == Document.latest_version_id)
        .outerjoin(_Serving, _Serving.id == Document.current_version_id)
        .join(File, File.id == Version.file_id)
        .join(Collection, Collection.id == Document.collection_id)
        .where(Document.deleted_at.is_(None), Collection.deleted_at.is_(None))
        .execution_options(populate_existing=True)
    )


# Made once: to build it anew takes longer than to run it.
_ONE_VIEW = _views().where(
    Document.id == bindparam("wanted_id"), Document.workspace_id == bindparam("its_workspace_id")
)


def _view(row: Row[Any]) -> DocumentView:
    return DocumentView(
        document=row.Document,
        version=row.Version,
        file=row.File,
        collection_name=row.collection_name,
        serving=row.serving,
        schema=row.schema_name,
        schema_version=row.schema_version,
    )


async def lock_for_change(
    session: AsyncSession, principal: Principal, document_id: UUID, condition: Condition = NO_CONDITION
) -> Document:
    """The document, its row locked, for a caller who may change it. Raises NotFound, or Conflict for the condition."""
    principal.require("write")
    document = await queries.lock_document(session, document_id)
    if (
        document is None
        or document.workspace_id != principal.workspace_id
        or not principal.may_see(document.collection_id)
    ):
        raise no_document(document_id)
    condition.check(etag(document))
    return document


def no_document(document_id: UUID) -> NotFound:
    """The error for a document that does not exist, or not for this caller."""
    return NotFound("document.not_found", f"There is no document {document_id}.", document_id=str(document_id))
