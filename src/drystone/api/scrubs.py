"""/scrubs: reads blobs again and tells which are missing or wrong. For admins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from annotated_types import Ge, Le
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from drystone.api.jobs import JobState
from drystone.core.numbers import MAX_JSON, WHOLE
from drystone.documents import scrub
from drystone.documents.scrub import Finding
from drystone.http.dependencies import Caller, ResourcesOf, Session
from drystone.http.idempotency import Once
from drystone.http.problems import responses

router = APIRouter(prefix="/scrubs", tags=["scrubs"])


class NewScrub(BaseModel):
    """What to check."""

    model_config = ConfigDict(extra="forbid")

    sample: Annotated[int, Ge(1), Le(MAX_JSON), WHOLE] | None = Field(
        None, description="So many blobs, those first that were not checked for longest; null: all."
    )
    repair: StrictBool = Field(
        False, description="Make extracted texts again. Files as uploaded must be uploaded again."
    )


class BlobProblem(BaseModel):
    """A blob that is missing or wrong, and one document it belongs to."""

    sha256: str
    problem: str = Field(examples=["missing", "wrong"])
    found_at: datetime
    is_text: bool = Field(description="The extracted text, which can be made again; else the file as uploaded.")
    document_id: UUID
    name: str | None
    collection: str
    hint: str

    @classmethod
    def of(cls, found: Finding) -> BlobProblem:
        again = "scrub with repair, or upload the file again" if found.is_text else "upload the same file again"
        return cls(
            sha256=found.sha256.hex(),
            problem=found.problem,
            found_at=found.found_at,
            is_text=found.is_text,
            document_id=found.document_id,
            name=found.name,
            collection=found.collection,
            hint=again,
        )


class BlobProblems(BaseModel):
    """All that is known to be missing or wrong."""

    items: list[BlobProblem]


class Scrub(BaseModel):
    """How far a scrub is."""

    id: UUID
    job_id: UUID
    state: JobState
    total: int = Field(description="Blobs it set out to check.")
    checked: int
    size_bytes: int
    repaired: int
    problems: list[BlobProblem] = Field(description="All that is known to be missing or wrong, not by this one alone.")


@router.post("", status_code=202, summary="Start a scrub", responses=responses(409))
async def start(
    body: NewScrub, caller: Caller, resources: ResourcesOf, once: Once, session: Session, response: Response
) -> Scrub:
    """Read blobs again, hash them, note what is missing or wrong."""
    scrub_id = await scrub.request(session, resources.nudger, caller, sample=body.sample, repair=body.repair)
    response.headers["Location"] = f"/api/v1/scrubs/{scrub_id}"
    return await once.remember(session, response, await _show(scrub_id, caller, session))


@router.get("", summary="List what is missing or wrong", responses=responses())
async def list_(caller: Caller, session: Session) -> BlobProblems:
    """What all scrubs so far found and nobody repaired yet."""
    caller.require_whole("admin")
    found = await scrub.findings(session, workspace_id=caller.workspace_id)
    return BlobProblems(items=[BlobProblem.of(each) for each in found])


@router.get("/{scrub_id}", summary="Get a scrub", responses=responses(404))
async def get(scrub_id: UUID, caller: Caller, session: Session) -> Scrub:
    """How far it is, and what was found."""
    return await _show(scrub_id, caller, session)


async def _show(scrub_id: UUID, caller: Caller, session: Session) -> Scrub:
    row = await scrub.get(session, caller, scrub_id)
    found = await scrub.findings(session, workspace_id=caller.workspace_id)
    return Scrub(
        id=row.id,
        job_id=row.job_id,
        state=row.state,
        total=row.total,
        checked=row.checked,
        size_bytes=row.size_bytes,
        repaired=row.repaired,
        problems=[BlobProblem.of(each) for each in found],
    )
