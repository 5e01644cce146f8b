"""Jobs: work that is queued, running or over; another chance, or an end."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from drystone.client.errors import JobFailed
from drystone.client.models import Changed, Job, JobState, Queue
from drystone.client.operations import call, many
from drystone.client.room import Room, given, part
from drystone.client.steps import Flow, Many, Request


class Jobs(Room):
    """The ledger of work."""

    @call
    def get(self, job: str | UUID) -> Flow[Job]:
        """One by its id."""
        return (yield from self._get(f"/jobs/{part(job)}", Job))

    @many
    def list(
        self,
        *,
        state: JobState | Sequence[JobState] | None = None,
        kind: str | None = None,
        reason: str | None = None,
        collection: str | None = None,
        document: str | UUID | None = None,
        older_than: str | None = None,
        newer_than: str | None = None,
        ended_after: str | None = None,
        page: int | None = None,
    ) -> Many[Job]:
        """Those that fit all that is given, newest first. Ages are such as `15m`, `2h`, `7d`, or a time."""
        yield from self._pages(
            "/jobs",
            Job,
            page=page,
            state=state if state is None or isinstance(state, str) else list(state),
            kind=kind,
            reason=reason,
            collection=collection,
            document=document,
            older_than=older_than,
            newer_than=newer_than,
            ended_after=ended_after,
        )

    @call
    def queue(self) -> Flow[Queue]:
        """How the queue stands and moves."""
        return (yield from self._get("/jobs/stats", Queue))

    @call
    def wait(self, job: str | UUID, *, timeout_s: float = 600.0) -> Flow[Job]:
        """The job, once it is done. Raises JobFailed where it failed or was cancelled; StillPending after timeout_s."""
        found = yield from self._until("/jobs", job, Job, _is_over, timeout_s=timeout_s)
        if found.state != "done":
            raise JobFailed(found)
        return found

    @call
    def retry(self, job: str | UUID, *, force: bool = False) -> Flow[Job]:
        """Queue a failed or cancelled job anew. force: also where its file was quarantined."""
        return (yield from self._one(Request("POST", f"/jobs/{part(job)}/retry", json={"force": force}), Job))

    @call
    def cancel(self, job: str | UUID) -> Flow[Job]:
        """End one that is queued or running: its document fails with `job.cancelled`."""
        return (yield from self._one(Request("POST", f"/jobs/{part(job)}/cancel"), Job))

    @call
    def retry_many(
        self,
        *,
        ids: Sequence[str | UUID] | None = None,
        kind: str | None = None,
        reason: str | None = None,
        collection: str | None = None,
        all: bool = False,
        force: bool = False,
        dry_run: bool = False,
    ) -> Flow[Changed]:
        """Queue the failed and cancelled ones anew that fit, a thousand at once; something must be given."""
        chosen = given(ids=_texts(ids), kind=kind, reason=reason, collection=collection, all=all, dry_run=dry_run)
        request = Request("POST", "/jobs/retry", json={**chosen, "force": force}, is_repeatable=dry_run)
        return (yield from self._one(request, Changed))

    @call
    def cancel_many(
        self,
        *,
        ids: Sequence[str | UUID] | None = None,
        kind: str | None = None,
        reason: str | None = None,
        collection: str | None = None,
        all: bool = False,
        dry_run: bool = False,
    ) -> Flow[Changed]:
        """End the queued and running ones that fit, a thousand at once; something must be given."""
        chosen = given(ids=_texts(ids), kind=kind, reason=reason, collection=collection, all=all, dry_run=dry_run)
        return (yield from self._one(Request("POST", "/jobs/cancel", json=chosen, is_repeatable=dry_run), Changed))


def _is_over(job: Job) -> bool:
    return job.state in ("done", "failed", "cancelled")


def _texts(ids: Sequence[str | UUID] | None) -> Sequence[str] | None:
    return None if ids is None else [str(each) for each in ids]
