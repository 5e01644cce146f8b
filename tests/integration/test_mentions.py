"""Mentions: where passages name entities, however names and documents change, and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from tests.conftest import ROOT
from tests.integration.catalogues import A, change
from tests.integration.uploads import Work, count, put, send

from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.mentions import queries
from drystone.mentions.finding import Finder

NO2 = {"type": "property", "label": "Nitrogen dioxide", "aliases": {"en": ["NO2"], "de": ["Stickstoffdioxid"]}}
OZONE = {"type": "property", "label": "Ozone"}

Row = tuple[int, UUID, tuple[int, ...], tuple[int, ...]]


async def name(client: httpx.AsyncClient, key: str, content: dict[str, Any]) -> str:
    answer = await client.put(f"{A}/entities/{key}", json={"schema_definition": {"type": "number"}} | content)
    assert answer.status_code in (200, 201), answer.text
    found: str = answer.json()["id"]
    return found


async def kept(sessions: Sessions) -> list[Row]:
    """All mentions that there are."""
    async with transaction(sessions) as session:
        rows = await session.execute(text("select chunk_id, entity_id, starts, ends from mentions"))
        return sorted((row.chunk_id, row.entity_id, tuple(row.starts), tuple(row.ends)) for row in rows)


async def anew(sessions: Sessions) -> list[Row]:
    """All mentions that there should be: every passage looked through for the names of now."""
    found: dict[tuple[int, UUID], list[tuple[int, int]]] = {}
    async with transaction(sessions) as session:
        for workspace_id in (await session.scalars(text("select id from workspaces"))).all():
            finder = Finder((await queries.names(session, workspace_id))[1])
            rows = await session.execute(
                text(
                    "select chunks.id, start_offset, text from chunks join documents on documents.id = document_id"
                    " where workspace_id = :id"
                ),
                {"id": workspace_id},
            )
            for row in rows:
                for each in finder.find(row.text):
                    for entity_id in each.entity_ids:
                        spots = found.setdefault((row.id, entity_id), [])
                        spots.append((row.start_offset + each.start, row.start_offset + each.end))
    return sorted((*key, *zip(*spots, strict=True)) for key, spots in found.items())  # type: ignore[misc]  # two tuples


async def test_a_document_is_published_with_its_mentions(
    client: httpx.AsyncClient, work: Work, collection: str, sessions: Sessions
) -> None:
    entity_id = await name(client, "no2", NO2)
    await work()

    sent = await send(client, collection, "Of NO₂ and\nnitrogen  DIOXIDE, not no2x.".encode())
    await work()

    assert await count(sessions, "select count(*) from jobs where kind = 'mentions.refresh'") == 1
    ((_, its_entity, starts, ends),) = await kept(sessions)
    words = (await client.get(f"{A}/documents/{sent.json()['document']['id']}/text")).text
    assert str(its_entity) == entity_id
    assert [words[start:end] for start, end in zip(starts, ends, strict=True)] == ["NO₂", "nitrogen  DIOXIDE"]


async def test_where_no_entity_has_a_name_nothing_is_written(
    client: httpx.AsyncClient, work: Work, collection: str, sessions: Sessions
) -> None:
    await send(client, collection, b"Of NO2.")
    await work()

    assert await kept(sessions) == []
    assert await count(sessions, "select count(*) from mention_rounds") == 0


async def test_names_that_come_change_and_go_are_looked_for_in_all_there_is(
    client: httpx.AsyncClient, work: Work, collection: str, sessions: Sessions
) -> None:
    for number in range(3):
        await send(client, collection, f"Paper {number} on NO2 and ozone, NOx not.".encode())
    await work()
    assert await kept(sessions) == []

    no2 = UUID(await name(client, "no2", NO2))
    await work()
    assert [row[1] for row in await kept(sessions)] == [no2] * 3

    await name(client, "no2", NO2 | {"aliases": {"en": ["NOx"]}})
    await work()
    assert await kept(sessions) == await anew(sessions)
    assert {row[2] for row in await kept(sessions)} == {(26,)}

    ozone = UUID(await name(client, "ozone", OZONE))
    assert (await client.delete(f"{A}/entities/no2")).status_code == 204
    await work()
    assert {row[1] for row in await kept(sessions)} == {ozone}

    assert (await client.post(f"{A}/entities/no2/restore")).status_code == 200
    await work()
    assert {row[1] for row in await kept(sessions)} == {no2, ozone}
    assert await kept(sessions) == await anew(sessions)


async def test_what_is_no_name_is_not_looked_for_anew(
    client: httpx.AsyncClient, work: Work, sessions: Sessions
) -> None:
    await name(client, "no2", NO2)
    await work()

    await name(client, "no2", NO2 | {"description": "a gas"})
    await change(client, {"kind": "module", "key": "air", "content": {"label": "Air", "entities": ["no2"]}})

    assert await count(sessions, "select count(*) from jobs where kind = 'mentions.refresh'") == 1


async def test_mentions_go_with_their_passages(
    client: httpx.AsyncClient, work: Work, collection: str, sessions: Sessions
) -> None:
    await name(client, "no2", NO2)
    first, second = [
        (await send(client, collection, body)).json()["document"]["id"] for body in (b"NO2 here.", b"And NO2 there.")
    ]
    await work()
    assert len(await kept(sessions)) == 2

    await put(client, first, b"Nothing of it.")
    await client.delete(f"{A}/documents/{second}")
    await work()

    assert await kept(sessions) == []
