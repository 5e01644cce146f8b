"""The first page: is everything well, how much is there, what waits, what failed."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from drystone import checks, steering
from drystone.console.pages import new_router, page
from drystone.console.visitors import Visitor
from drystone.core.db import transaction
from drystone.documents import collections
from drystone.documents.models import INGEST
from drystone.http.dependencies import ResourcesOf
from drystone.jobs import ledger

router = new_router()

_FAILURES = 6


@router.get("/")
async def get(request: Request, visitor: Visitor, resources: ResourcesOf) -> Response:
    """The overview. Servers are asked first, and none for longer than two seconds."""
    visitor.require("read")
    findings = await checks.readiness(resources)
    database = next(finding for finding in findings if finding.name == "postgres")
    values: dict[str, Any] = {}
    if database.ok:
        async with transaction(resources.sessions.within(visitor.reach)) as session:
            seen = await steering.within(session, visitor)
            found = await collections.list_all(session, visitor)
            counts = await collections.states(session, visitor, found)
            hours = await ledger.ended_by_hour(session, visitor.workspace_id, seen, kind=INGEST)
            failed = await steering.within(session, visitor, states=("failed",))
            values = {
                "queue": await steering.queue(session, visitor),
                "collections": found,
                "totals": {
                    name: sum(each[name] for each in counts.values())
                    for name in ("ready", "pending", "failed", "chunks")
                },
                "hours": hours,
                "most": max([1, *(row.done + row.failed for row in hours)]),
                "failures": await steering.page(session, visitor, failed, before=None, limit=_FAILURES),
            }
    return page(request, "overview.html", visitor=visitor, findings=findings, known=database.ok, **values)
