"""Entities and observations for tests, made without the routes of the catalogue."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text

from drystone.access.service import Principal, default_workspace
from drystone.core.db import Sessions, transaction
from drystone.observations import adding
from drystone.observations.adding import Added
from drystone.observations.rows import Rows, read


async def make_entity(owner: Sessions, key: str | None = None, *, workspace_id: UUID | None = None) -> str:
    """The key of an entity that is there from now on."""
    its_key = key or f"e-{uuid4().hex[:12]}"
    async with transaction(owner) as session:
        given = {"id": uuid4(), "workspace_id": workspace_id or await default_workspace(session), "key": its_key}
        await session.execute(
            text(
                "insert into entities (id, workspace_id, type, key, created_by)"
                " values (:id, :workspace_id, 'category', :key, 'test')"
            ),
            given,
        )
    return its_key


def rows_of(given: Sequence[dict[str, Any]]) -> Rows:
    return read(io.BytesIO(json.dumps(list(given)).encode()), "json")


def row(entity: str, at: str, value: float, **more: Any) -> dict[str, Any]:
    """A row of the metric "temperature". at: `MM-DD HH:MM:SS` of 2026, UTC."""
    moment = at if "T" in at else f"2026-{at.replace(' ', 'T')}Z"
    return {"entity": entity, "metric": "temperature", "observed_at": moment, "value": value, **more}


async def add(sessions: Sessions, principal: Principal, given: Sequence[dict[str, Any]], **how: Any) -> Added:
    return await adding.add(sessions, principal, rows_of(given), **how)


def counts(added: Added) -> tuple[int, int, int, int, list[str]]:
    """inserted, replaced, unchanged, kept, codes of problems."""
    codes = [problem.code for problem in added.problems]
    return added.inserted, added.replaced, added.unchanged, added.kept, codes
