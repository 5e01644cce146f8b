"""/uploads: announce a file, put it into the object store without passing through here, complete it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from annotated_types import Ge, Le, Len
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from drystone.api.schemas import ReceivedDocument, SchemaName
from drystone.core.numbers import MAX_JSON, WHOLE
from drystone.core.text import MAX_EXTERNAL_ID, MAX_TITLE, Text
from drystone.documents import direct
from drystone.documents.direct import Receiver
from drystone.http import upload
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses
from drystone.resources import Resources

router = APIRouter(prefix="/uploads", tags=["documents"])


class NewUpload(BaseModel):
    """A file that is to be put directly."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Text, Len(1, 255)]
    size_bytes: Annotated[int, Ge(1), Le(MAX_JSON), WHOLE]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="Of the whole file, in hexadecimal.")]
    collection: Annotated[Text, Len(1, 128)] | None = None
    external_id: Annotated[Text, Len(1, MAX_EXTERNAL_ID)] | None = None
    title: Annotated[Text, Len(1, MAX_TITLE)] | None = None
    attributes: dict[str, Any] | None = None
    schema_: SchemaName | None = Field(None, alias="schema")
    media_type: Annotated[Text, Len(1, 255)] | None = None


class Upload(BaseModel):
    """Where to put the file."""

    id: UUID
    method: str = "PUT"
    url: str = Field(description="Takes exactly size_bytes bytes until expires_at; needs no key.")
    expires_at: datetime


@router.post("", status_code=201, summary="Announce a direct upload", responses=responses(404, 409, 413, 415, 429))
async def announce(
    body: NewUpload, caller: Caller, resources: ResourcesOf, once: Once, session: Session, response: Response
) -> Upload:
    """Get a URL to PUT a file to, in the object store itself; then complete it. For large files and slow lines."""
    direct.check_size(body.size_bytes, resources.settings.api.max_upload_bytes)
    await resources.admission.check(body.size_bytes, principal=caller)
    request = body.model_dump(exclude={"size_bytes", "sha256", "media_type", "name"}, by_alias=True)
    begun = await direct.begin(
        session,
        resources.incoming,
        caller,
        sha256=bytes.fromhex(body.sha256),
        size_bytes=body.size_bytes,
        request=request
        | {
            "name": upload.clean_name(body.name),
            "declared_type": body.media_type,
            "attributes": upload.checked_attributes(body.attributes),
        },
    )
    response.headers["Location"] = f"/api/v1/uploads/{begun.id}"
    return await once.remember(session, response, Upload(id=begun.id, url=begun.url, expires_at=begun.expires_at))


@router.post(
    "/{upload_id}/complete",
    status_code=202,
    summary="Complete a direct upload",
    responses={
        200: {"description": "It was complete already, or these bytes were there", "model": ReceivedDocument},
        **responses(404, 409, 415, 429),
    },
)
async def complete(upload_id: UUID, caller: Caller, resources: ResourcesOf, response: Response) -> ReceivedDocument:
    """Check size and SHA-256 of what was put, and receive it like any upload. May be sent again."""
    received = await direct.complete(_receiver(resources), caller, upload_id)
    response.headers["Location"] = f"/api/v1/documents/{received.document.document.id}"
    if received.job_id is None:
        response.status_code = 200
    return ReceivedDocument.of(received.document, received.job_id)


def _receiver(resources: Resources) -> Receiver:
    return Receiver(
        sessions=resources.sessions,
        objects=resources.objects,
        incoming=resources.incoming,
        nudger=resources.nudger,
        space=resources.space,
        admission=resources.admission,
    )
