"""What tests of documents do again and again: send, search, count."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from sqlalchemy import text

from drystone.core.db import Sessions, transaction

Work = Callable[[], Awaitable[None]]

BODY = b"Some words to keep."


async def send(
    client: httpx.AsyncClient,
    collection: str,
    body: bytes = BODY,
    name: str = "a.txt",
    *,
    headers: dict[str, str] | None = None,
    **data: Any,
) -> httpx.Response:
    """Upload one file."""
    return await client.post(
        "/api/v1/documents", files={"file": (name, body)}, data={"collection": collection} | data, headers=headers
    )


async def put(
    client: httpx.AsyncClient, document_id: str, body: bytes, *, headers: dict[str, str] | None = None, **data: Any
) -> httpx.Response:
    """Upload a new version."""
    path = f"/api/v1/documents/{document_id}/content"
    return await client.put(path, files={"file": ("a.txt", body)}, data=data, headers=headers)


async def search(client: httpx.AsyncClient, collection: str, query: str) -> list[str]:
    """The quotes of what is found."""
    answer = await client.post("/api/v1/search", json={"query": query, "collection": collection})
    assert answer.status_code == 200, answer.text
    return [hit["quote"] for hit in answer.json()["hits"]]


async def count(sessions: Sessions, sql: str) -> int:
    """The number that a statement gives."""
    async with transaction(sessions) as session:
        return int(await session.scalar(text(sql)) or 0)


async def until_waiting(sessions: Sessions) -> None:
    """Until somebody waits for a lock of this database."""
    waits = (
        "select exists (select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
    )
    async with asyncio.timeout(30):
        while True:
            async with transaction(sessions) as session:
                if await session.scalar(text(waits)):
                    return
