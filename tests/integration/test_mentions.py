"""Mentions: where passages name entities, however names and documents change, and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import text
from tests.conftest import ROOT
from tests.integration.catalogues import A, change
from tests.integration.uploads import Work, count, put, send, until_waiting

from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.documents import mentioning
from drystone.jobs import queries as job_queries
from drystone.mentions import queries
from drystone.mentions.finding import Finder
from drystone.resources import Resources

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


async def test_passages_are_walked_over_once_and_in_order(
    client: httpx.AsyncClient, work: Work, collection: str, sessions: Sessions
) -> None:
    for number in range(3):
        body = "\n\n".join(f"# Part {n}\n\n" + f"word{n} of paper {number} " * 80 for n in range(number * 2 + 1))
        await send(client, collection, body.encode(), name="a.md")
    await send(client, collection, b"")
    await work()

    async with transaction(sessions) as session:
        workspace_id = await session.scalar(text("select workspace_id from documents limit 1"))
        order = "select id from chunks order by document_id, ordinal"
        wanted = list((await session.scalars(text(order))).all())
        for documents, limit in ((1, 1), (2, 2), (10, 3), (10, 100)):
            after, found = queries.BEGINNING, []
            while True:
                position, rows = await queries.next_passages(
                    session, workspace_id, after, documents=documents, limit=limit
                )
                if position is None:
                    break
                found += [row.id for row in rows]
                after = position
            assert found == wanted
    assert len(wanted) >= 9


async def test_names_and_documents_that_change_at_the_same_time_end_with_the_newest_of_both(
    client: httpx.AsyncClient, work: Work, collection: str, sessions: Sessions
) -> None:
    """Uploads, new versions, changes of names and workers, all at once; then every passage is compared."""
    drawn = random.Random(7)
    said = ["NO2", "ozone", "soot", "lead", "fog"]

    async def upload() -> None:
        for number in range(12):
            body = f"Paper {number} of {drawn.random()}: {', '.join(drawn.choices(said, k=3))}."
            await send(client, collection, body.encode(), external_id=f"d{drawn.randrange(8)}-{number % 3}")

    async def rename() -> None:
        for number in range(10):
            words = drawn.sample(said, k=2)
            await name(
                client, f"e{number % 4}", {"type": "property", "label": f"Entity {number}", "aliases": {"en": words}}
            )
            if number % 3 == 2:
                await client.delete(f"{A}/entities/e{number % 4}")

    await asyncio.gather(upload(), upload(), rename(), rename(), *(work() for _ in range(3)))
    await work()

    assert await kept(sessions) == await anew(sessions)
    assert await kept(sessions) != []
    left = "select count(*) from jobs where state <> 'done' and error_code is distinct from 'version.superseded'"
    assert await count(sessions, left) == 0
    assert await count(sessions, "select count(*) from mention_rounds where ended_at is null") == 0
    of_newest = "select count(*) from mention_rounds join catalogues using (workspace_id) where mention_rounds.names_id = catalogues.names_id"
    assert await count(sessions, of_newest) == 1


async def test_who_publishes_with_older_names_is_waited_for(
    client: httpx.AsyncClient, work: Work, collection: str, sessions: Sessions
) -> None:
    """A publication that has read the names and is not committed yet keeps a round from beginning."""
    await send(client, collection, b"Of NO2.")
    await work()
    async with transaction(sessions) as publisher:
        workspace_id = await publisher.scalar(text("select workspace_id from documents limit 1"))
        assert await queries.share(publisher, [workspace_id]) == {}
        await name(client, "no2", NO2)

        working = asyncio.ensure_future(work())
        await until_waiting(sessions)

        assert await kept(sessions) == []
    await working
    assert len(await kept(sessions)) == 1


async def test_a_worker_killed_half_way_is_followed_by_one_that_goes_on(
    client: httpx.AsyncClient,
    work: Work,
    collection: str,
    sessions: Sessions,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    for number in range(230):
        await send(client, collection, f"Paper {number} on NO2.".encode())
    await work()
    await name(client, "no2", NO2)
    crash_points.order(tmp_path, "mid_refresh", "kill")
    given = environment | {"DRYSTONE_CRASH_POINTS": str(tmp_path), "JOB_LEASE_S": "2", "JOB_HEARTBEAT_S": "1"}

    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", _WORKER, json.dumps(given), str(ROOT))
    assert await asyncio.wait_for(victim.wait(), 180) == -signal.SIGKILL

    assert len(await kept(sessions)) == 200
    assert await count(sessions, "select passages from mention_rounds where ended_at is null") == 200
    while not await count(sessions, "select count(*) from jobs where state = 'queued'"):
        await asyncio.sleep(0.2)
        async with transaction(sessions) as session:
            await job_queries.return_expired(session)
    await work()
    assert await kept(sessions) == await anew(sessions)
    assert len(await kept(sessions)) == 230
    assert await count(sessions, "select passages from mention_rounds where ended_at is not null") == 230


async def test_a_round_that_failed_for_good_is_begun_again(
    client: httpx.AsyncClient, work: Work, collection: str, sessions: Sessions, resources: Resources
) -> None:
    async def healed(since_s: float = 0) -> int:
        async with transaction(sessions) as session:
            return len(await mentioning.heal(session, resources.nudger, since_s=since_s))

    await send(client, collection, b"Of NO2.")
    await work()
    assert await healed() == 0, "there are no names"
    await name(client, "no2", NO2)
    assert await healed() == 0, "a job is waiting"
    async with transaction(sessions) as session:
        gone = "update jobs set state = 'failed', finished_at = now() where kind = 'mentions.refresh'"
        await session.execute(text(gone))

    assert await healed(since_s=600) == 0, "it has failed just now"
    assert await healed() == 1
    assert await healed() == 0, "there is one again"
    await work()

    assert len(await kept(sessions)) == 1
    assert await healed() == 0, "the round is at its end"


_WORKER = """
import json, sys
from pathlib import Path
from drystone.core import crash_points, settings
from drystone.worker.process import Process
given = settings.absolute(settings.parse(json.loads(sys.argv[1])), Path(sys.argv[2]))
crash_points.arm(given.general.crash_points)
process = Process(given)
process.start()
while True:
    process.drain(None)
"""
