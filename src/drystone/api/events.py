"""…/events: what happens to a document, a batch or a collection, as it happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.encoders import jsonable_encoder
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.api.batches import Batch
from drystone.api.schemas import Collection, Document
from drystone.core.db import Sessions, transaction
from drystone.core.text import Text
from drystone.documents import batches, collections, schemas, service
from drystone.http.dependencies import Caller, FeedOf, ResourcesOf
from drystone.http.problems import responses
from drystone.http.streams import MEDIA_TYPE, EventStream, Subject, open_stream
from drystone.index import spaces
from drystone.jobs.events import Scope
from drystone.jobs.feed import Feed

router = APIRouter(tags=["events"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-Sent Events: `snapshot`, then events as they happen; comments each 15 s.",
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "object",
                    "description": "One event. `retry` comes first, once; comments keep the line open.",
                    "properties": {
                        "event": {"type": "string", "examples": ["snapshot", "document.ready", "batch.done", "end"]},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                        "id": {"type": "string", "description": "Pass as Last-Event-ID to go on after it."},
                        "retry": {"type": "integer"},
                    },
                }
            }
        },
    },
    **responses(404),
}


@dataclass(frozen=True)
class Watcher:
    """Who watches, and from where on."""

    caller: Principal
    sessions: Sessions
    feed: Feed
    last_id: str | None

    async def watch(self, subject: Subject, *, follow: bool = False) -> EventStream:
        return await open_stream(self.feed, self.sessions, self.caller, subject, last_id=self.last_id, follow=follow)


def get_watcher(
    caller: Caller,
    resources: ResourcesOf,
    feed: FeedOf,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The id of the last event seen: nothing after it is left out."),
    ] = None,
    last_event_id_query: Annotated[
        Text | None, Query(alias="last_event_id", description="The same, where no header can be sent.")
    ] = None,
) -> Watcher:
    return Watcher(caller, resources.sessions.within(caller.reach), feed, last_event_id or last_event_id_query)


WatcherOf = Annotated[Watcher, Depends(get_watcher)]
Follow = Annotated[bool, Query(description="Stay after the last event instead of closing with `end`.")]


@router.get(
    "/documents/{document_id}/events",
    status_code=200,
    summary="Watch a document",
    response_class=EventStream,
    responses=_STREAM,
)
async def of_document(document_id: UUID, watcher: WatcherOf, follow: Follow = False) -> EventStream:
    """What happens to a document; ends when it is ready, has failed or is deleted, unless `follow` is true."""

    async def state(session: AsyncSession) -> tuple[dict[str, Any], bool]:
        view = await service.get_document(session, watcher.caller, document_id)
        return {"document": jsonable_encoder(Document.of(view))}, view.document.state != "pending"

    async with transaction(watcher.sessions) as session:
        await state(session)
    subject = Subject(
        Scope("subject_id", document_id), state, finals=("document.ready", "document.failed", "document.deleted")
    )
    return await watcher.watch(subject, follow=follow)


@router.get(
    "/batches/{batch_id}/events",
    status_code=200,
    summary="Watch a batch",
    response_class=EventStream,
    responses=_STREAM,
)
async def of_batch(batch_id: UUID, watcher: WatcherOf, follow: Follow = False) -> EventStream:
    """What happens to a batch's documents; ends with `batch.done`, unless `follow` is true."""

    async def state(session: AsyncSession) -> tuple[dict[str, Any], bool]:
        await batches.settle(session, batch_id)
        view = await batches.get(session, watcher.caller, batch_id)
        return {"batch": jsonable_encoder(Batch.of(view))}, view.batch.done_at is not None

    async def settle(session: AsyncSession) -> None:
        await batches.settle(session, batch_id)

    async with transaction(watcher.sessions) as session:
        await batches.get(session, watcher.caller, batch_id)
    subject = Subject(Scope("batch_id", batch_id), state, finals=("batch.done",), tick=settle)
    return await watcher.watch(subject, follow=follow)


@router.get(
    "/collections/{collection}/events",
    status_code=200,
    summary="Watch a collection",
    response_class=EventStream,
    responses=_STREAM,
)
async def of_collection(collection: Text, watcher: WatcherOf) -> EventStream:
    """What happens to the documents of a collection, until the client leaves or the collection is deleted."""

    async def state(session: AsyncSession) -> tuple[dict[str, Any], bool]:
        found = await collections.get(session, watcher.caller, collection)
        counts = await collections.states(session, watcher.caller, [found])
        names = await schemas.names(session, [found])
        space = await spaces.get(session, found.space_id)
        shown = Collection.of(found, counts[found.id], names.get(found.schema_id), space)
        return {"collection": jsonable_encoder(shown)}, False

    async with transaction(watcher.sessions) as session:
        found = await collections.get(session, watcher.caller, collection)
    subject = Subject(Scope("collection_id", found.id), state, finals=("collection.deleted",))
    return await watcher.watch(subject)
