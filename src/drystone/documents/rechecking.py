"""Comparing documents with their schemas anew where these changed: a job that goes on where it was cut short.

Each document says with what it was compared (`schema_sha256`), so what is left to do is known from documents alone. Before a job looks
at a schema it waits for whoever writes documents with an older one; whoever comes after that reads it as it is then, or newer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.core import crash_points
from drystone.core.db import transaction
from drystone.documents import schemas
from drystone.documents.filling import SLICE_S
from drystone.documents.ingest import Tools
from drystone.documents.models import SchemaKind
from drystone.documents.schemas import Schema
from drystone.jobs import events
from drystone.jobs import service as jobs
from drystone.jobs.events import Happening
from drystone.jobs.queries import Claim, lock_held

# Documents that are compared and committed together.
_AT_ONCE = 200
# PostgreSQL ends a transaction that does nothing for long, and others of this process wait meanwhile.
_MOMENT_S = 1.0


@dataclass(frozen=True)
class _Used:
    """A schema that documents are under."""

    kind: SchemaKind
    id: UUID


async def recheck(tools: Tools, claim: Claim) -> None:
    """Have every document of a workspace say how it fits its schema as it is now. Raises Unfinished when others should go first."""
    began = time.monotonic()
    for used in await _begin(tools, claim):
        while await _slice(tools, claim, used):
            crash_points.reach("mid_recheck")
            if time.monotonic() - began > SLICE_S:
                raise jobs.Unfinished
    async with transaction(tools.sessions) as session:
        await jobs.finish(session, claim)


async def _begin(tools: Tools, claim: Claim) -> Sequence[_Used]:
    """The schemas that documents are under, once nobody writes with an older one."""
    async with transaction(tools.sessions) as session:
        if not await lock_held(session, claim.job_id, claim.attempt):
            raise jobs.LostLease(claim.job_id)
        await schemas.alone(session, claim.workspace_id)
        rows = await session.execute(_USED, {"workspace_id": claim.workspace_id})
        return [_Used(row.kind, row.id) for row in rows]


async def _slice(tools: Tools, claim: Claim, used: _Used) -> bool:
    """Compare some documents that were compared with something else than there is now; whether there were any."""
    async with transaction(tools.sessions) as session:
        if not await lock_held(session, claim.job_id, claim.attempt):
            raise jobs.LostLease(claim.job_id)
        await schemas.share(session, claim.workspace_id)
        schema = await schemas.of_id(session, claim.workspace_id, used.kind, used.id)
        assert schema is not None, "its row stays for good"
        given = {"id": used.id, "sha256": schema.sha256, "limit": _AT_ONCE}
        stale = (await session.scalars(_STALE, given)).all()
        rows = (await session.execute(_LOCKED, {"id": used.id, "ids": stale})).all()
        if rows:
            await _write(session, claim.workspace_id, schema, rows)
        return bool(stale)


async def _write(session: AsyncSession, workspace_id: UUID, schema: Schema, rows: Sequence[Row[Any]]) -> None:
    compared = list(_compared(schema, rows))
    await session.execute(
        _COMPARED,
        {
            "ids": [row.id for row, _ in compared],
            "problems": [problem and json.dumps(problem) for _, problem in compared],
            "version_id": schema.view.version_id,
            "sha256": schema.sha256,
        },
    )
    await events.emit_all(
        session,
        [
            Happening(
                workspace_id,
                "document.described",
                "document",
                row.id,
                collection_id=row.collection_id,
                data={"fields": ["schema_problem"]},
            )
            for row, problem in compared
            if problem != row.schema_problem
        ],
    )


def _compared(schema: Schema, rows: Sequence[Row[Any]]) -> Iterator[tuple[Row[Any], dict[str, str] | None]]:
    """Documents with their first problem: the first of them, and as many more as take a moment. Others come in the next slice."""
    until = None
    for row in rows:
        problems = schema.problems(row.attributes)
        yield row, problems[0].said() if problems else None
        until = (
            until or time.monotonic() + _MOMENT_S
        )  # the first of them may have had to wait for the validator to be made
        if time.monotonic() > until:
            return


_USED = text("""
select used.kind, used.id
from (
    select 'category' as kind, id from entities where workspace_id = :workspace_id and type = 'category'
    union all
    select 'profile', id from profiles where workspace_id = :workspace_id
) as used
where exists (select from documents where schema_id = used.id and deleted_at is null)
order by used.id
""")
# Two ranges of the index; <> would read all that there is.
_STALE = text("""
(select id from documents
 where schema_id = :id and deleted_at is null and schema_sha256 < :sha256 order by schema_sha256, id limit :limit)
union all
(select id from documents
 where schema_id = :id and deleted_at is null and schema_sha256 > :sha256 order by schema_sha256, id limit :limit)
limit :limit
""")
# As they are once nobody else changes them: some may be gone, or under another schema.
_LOCKED = text("""
select id, collection_id, attributes, schema_problem from documents
where id = any(cast(:ids as uuid[])) and schema_id = :id and deleted_at is null
order by id for update
""")
# What is shown of it has changed, so its revision does; the time of its last change only where that is how it fits.
_COMPARED = text("""
update documents
set schema_version_id = :version_id, schema_sha256 = :sha256, schema_problem = cast(given.problem as jsonb),
    revision = documents.revision + 1,
    updated_at = case when documents.schema_problem is distinct from cast(given.problem as jsonb)
                      then now() else documents.updated_at end
from unnest(cast(:ids as uuid[]), cast(:problems as text[])) as given (id, problem)
where documents.id = given.id
""")
