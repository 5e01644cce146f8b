"""/uploads: files that come in parts."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Len
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core.numbers import MAX_JSON, WHOLE
from drystone.core.text import Text
from drystone.documents import part_uploads
from drystone.documents.kept_files import KeptView
from drystone.documents.models import PartUpload, UploadPart
from drystone.documents.part_uploads import MOST_PARTS, Announced, no_upload
from drystone.http import idempotency, upload
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Key, Once
from drystone.http.upload import Shape, clean_name
from drystone.openai import ids
from drystone.openai.files import LEAST_S, MOST_S, File, Purpose

router = APIRouter(prefix="/uploads", tags=["openai"])

MOST_PART_BYTES = 64 << 20
_SHAPE = Shape("data", ())


class ExpiresAfter(BaseModel):
    """So many seconds after the file was made."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, WHOLE] = Field(ge=LEAST_S, le=MOST_S)


class NewUpload(BaseModel):
    """A file that is announced."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[Text, Len(1, 1024)]
    bytes: Annotated[int, Ge(1), WHOLE] = Field(le=MAX_JSON)
    mime_type: Annotated[Text, Len(1, 256)]
    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class Parts(BaseModel):
    """The parts in the order of the file."""

    model_config = ConfigDict(extra="forbid")

    part_ids: Annotated[list[Text], Len(1, MOST_PARTS)]
    md5: Annotated[str, Field(pattern="^[0-9a-fA-F]{32}$")] | None = None


class Upload(BaseModel):
    """A file on its way; once it is there, the file."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled"]
    file: File | None

    @classmethod
    def of(cls, row: PartUpload, made: KeptView | None = None) -> Upload:
        return cls.model_validate(
            {
                "id": ids.shown(ids.UPLOAD, row.id),
                "bytes": row.size_bytes,
                "created_at": int(row.created_at.timestamp()),
                "expires_at": int(row.expires_at.timestamp()),
                "filename": row.name,
                "purpose": row.purpose,
                "status": row.state,
                "file": None if made is None else File.of(made),
            }
        )


class Part(BaseModel):
    """A part that has come."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str

    @classmethod
    def of(cls, row: UploadPart) -> Part:
        return cls(
            id=ids.shown(ids.PART, row.id),
            created_at=int(row.created_at.timestamp()),
            upload_id=ids.shown(ids.UPLOAD, row.upload_id),
        )


@router.post("")
async def create(
    body: NewUpload, caller: Caller, resources: ResourcesOf, once: Once, session: Session, response: Response
) -> Upload:
    announced = Announced(
        name=clean_name(body.filename) or "file",
        media_type=body.mime_type,
        purpose=body.purpose,
        size_bytes=body.bytes,
        expires_s=body.expires_after.seconds if body.expires_after else None,
    )
    made = await part_uploads.begin(session, caller, announced, max_bytes=resources.settings.api.max_upload_bytes)
    return await once.remember(session, response, Upload.of(made))


@router.post("/{part_upload_id}/parts")
async def add_part(
    part_upload_id: Text, request: Request, response: Response, caller: Caller, resources: ResourcesOf, key: Key = None
) -> Part:
    caller.require("write")  # before a byte is taken
    found = ids.read(ids.UPLOAD, part_upload_id, no_upload)
    max_bytes = min(MOST_PART_BYTES, resources.settings.api.max_upload_bytes)
    async with (
        upload.receive_sent(request, _SHAPE, max_bytes=max_bytes) as sent,
        idempotency.begin(request, resources, caller, key, sent.fingerprint) as once,
    ):

        async def remember(session: AsyncSession, row: UploadPart) -> None:
            await once.remember(session, response, Part.of(row))

        made = await part_uploads.add_part(
            resources.sessions, resources.objects, caller, found, sent.upload, before_commit=remember
        )
    return Part.of(made)


@router.post("/{part_upload_id}/complete")
async def complete(part_upload_id: Text, body: Parts, caller: Caller, resources: ResourcesOf) -> Upload:
    row, made = await part_uploads.complete(
        resources.sessions,
        resources.objects,
        resources.admission,
        caller,
        ids.read(ids.UPLOAD, part_upload_id, no_upload),
        [ids.read(ids.PART, each, part_uploads.no_part) for each in body.part_ids],
        md5=body.md5,
    )
    return Upload.of(row, made)


@router.post("/{part_upload_id}/cancel")
async def cancel(part_upload_id: Text, caller: Caller, once: Once, session: Session, response: Response) -> Upload:
    row = await part_uploads.cancel(session, caller, ids.read(ids.UPLOAD, part_upload_id, no_upload))
    return await once.remember(session, response, Upload.of(row))
