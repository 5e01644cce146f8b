"""/files: files that are kept by themselves, to be put into vector stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core.db import transaction
from drystone.core.errors import Invalid, pointer_to
from drystone.core.text import Text
from drystone.documents import kept_files
from drystone.documents.kept_files import KeptView, no_file
from drystone.http import idempotency, upload
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.downloads import attachment
from drystone.http.idempotency import Key
from drystone.http.upload import Shape
from drystone.openai import ids
from drystone.openai.paging import Order, Page, Turning, WithId

router = APIRouter(prefix="/files", tags=["openai"])

# What may be said here. Nothing depends on it.
Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data"]
LEAST_S, MOST_S = 3600, 2_592_000
MOST_LISTED = 10_000
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_SHAPE = Shape("file", ("purpose", _ANCHOR, _SECONDS))


class File(WithId):
    """A file. status: always processed: keeping it is all that is done with it here."""

    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None

    @classmethod
    def of(cls, view: KeptView) -> File:
        kept = view.kept
        return cls(
            id=ids.shown(ids.FILE, kept.id),
            bytes=view.file.size_bytes,
            created_at=int(kept.created_at.timestamp()),
            expires_at=None if kept.expires_at is None else int(kept.expires_at.timestamp()),
            filename=kept.name,
            purpose=kept.purpose,
        )


class DeletedFile(BaseModel):
    """That a file is gone, and with it what stood in vector stores of it."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


@router.post("")
async def create(request: Request, response: Response, caller: Caller, resources: ResourcesOf, key: Key = None) -> File:
    caller.require("write")  # before a byte is taken
    max_bytes = resources.settings.api.max_upload_bytes
    async with (
        upload.receive_sent(request, _SHAPE, max_bytes=max_bytes) as sent,
        idempotency.begin(request, resources, caller, key, sent.fingerprint) as once,
    ):

        async def remember(session: AsyncSession, view: KeptView) -> None:
            await once.remember(session, response, File.of(view))

        made = await kept_files.receive(
            resources.sessions,
            resources.objects,
            caller,
            sent.upload,
            purpose=_purpose(sent.texts.get("purpose")),
            expires_s=_expires_s(sent.texts),
            before_commit=remember,
        )
    return File.of(made)


@router.get("")
async def list_(
    caller: Caller,
    session: Session,
    purpose: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = MOST_LISTED,
    order: Order = "desc",
    after: Text | None = None,
) -> Page[File]:
    found = await kept_files.page(
        session,
        caller,
        purpose=purpose,
        after=None if after is None else ids.read(ids.FILE, after, no_file),
        order=order,
        limit=limit + 1,
    )
    return Turning(limit, order, after, None).page(found, File.of)


@router.get("/{file_id}")
async def get(file_id: Text, caller: Caller, session: Session) -> File:
    return File.of(await kept_files.get(session, caller, ids.read(ids.FILE, file_id, no_file)))


@router.delete("/{file_id}")
async def delete(file_id: Text, caller: Caller, resources: ResourcesOf, session: Session) -> DeletedFile:
    await kept_files.delete_one(session, resources.nudger, caller, ids.read(ids.FILE, file_id, no_file))
    return DeletedFile(id=file_id)


@router.get("/{file_id}/content", response_class=StreamingResponse)
async def content(file_id: Text, caller: Caller, resources: ResourcesOf) -> StreamingResponse:
    async with transaction(resources.sessions.within(caller.reach)) as session:
        view = await kept_files.get(session, caller, ids.read(ids.FILE, file_id, no_file))
    return attachment(await kept_files.open_content(resources.objects, view), view.file, view.kept.name)


def _purpose(given: str | None) -> str:
    known = get_args(Purpose)
    if given is None or given not in known:
        raise Invalid(
            "file.bad_purpose",
            "A file needs a purpose, and it is one of some.",
            hint=f"one of {', '.join(known)}; assistants and user_data are for vector stores",
            pointer="/purpose",
        )
    return given


def _expires_s(texts: Mapping[str, str]) -> int | None:
    anchor, seconds = texts.get(_ANCHOR), texts.get(_SECONDS)
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or not (seconds or "").isascii() or not (seconds or "").isdecimal():
        raise _bad_expiry()
    if not LEAST_S <= (given := int(str(seconds)[:12])) <= MOST_S:
        raise _bad_expiry()
    return given


def _bad_expiry() -> Invalid:
    return Invalid(
        "file.bad_expiry",
        f"A file expires {LEAST_S:,} to {MOST_S:,} seconds after created_at.",
        hint="send expires_after[anchor]=created_at and expires_after[seconds]=86400, or neither",
        pointer=pointer_to("expires_after"),
    )
