"""Ingestion of several documents at once: fenced one by one, none held up by another, nothing embedded twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from sqlalchemy import text
from tests.integration.uploads import count, search, send

from drystone.adapters.embedding import Embedder
from drystone.adapters.parsing import Parser
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Invalid, Unavailable
from drystone.documents import embedding, ingest
from drystone.documents.ingest import Tools
from drystone.documents.models import INGEST
from drystone.documents.turns import Turns
from drystone.index.embedders import Embedders
from drystone.jobs import queries
from drystone.jobs import service as jobs
from drystone.jobs.queries import Claim
from drystone.resources import Resources
from drystone.worker.process import Process

_LIGHT = 32 * 1024


class _Counted:
    """The real embedder, which notes what it was asked for; `spoil` changes what it gives."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.asked: list[str] = []
        self.spoil: Any = None
        self.model_id, self.dimension, self.max_tokens = embedder.model_id, embedder.dimension, embedder.max_tokens

    def token_starts(self, text: str) -> np.ndarray:
        return self._embedder.token_starts(text)

    def reads(self, text: str) -> bool:
        return True

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        made = await self._embedder.embed(texts)
        return made if self.spoil is None else self.spoil(texts, made)

    async def embed_queries(self, queries: Sequence[str]) -> np.ndarray:
        return await self._embedder.embed_queries(queries)

    async def aclose(self) -> None: ...


@pytest.fixture
async def tools(resources: Resources, sessions: Sessions) -> AsyncIterator[Tools]:
    parser = Parser(resources.settings.parsing)
    yield Tools(
        sessions,
        resources.objects,
        Embedders(resources.space, _Counted(resources.embedder)),
        parser,
        resources.nudger,
        Turns(),
        resources.admission.spool_folder,
    )
    await parser.aclose()


async def _embedder(tools: Tools) -> _Counted:
    found = await tools.embedders.get(tools.embedders.current)
    assert isinstance(found, _Counted)
    return found


async def _claim_all(sessions: Sessions, *, limit: int = 16, in_turns: bool = False) -> list[Claim]:
    """Every job that waits, in one worker's hands. Twice the limit is asked for a quarter at a time."""
    claims: list[Claim] = []
    while len(claims) < limit:
        async with transaction(sessions) as session:
            more = await queries.claim_light(
                session, worker="host:1", lease_s=30, light=_LIGHT, limit=limit, in_turns=in_turns
            )
        if not more:
            break
        claims += more
    return claims


async def _states(sessions: Sessions) -> dict[str, str]:
    async with transaction(sessions) as session:
        rows = await session.execute(text("select external_id, state from documents"))
        return {row.external_id: row.state for row in rows}


async def _send_all(client: httpx.AsyncClient, collection: str, texts: dict[str, bytes]) -> None:
    for name, body in texts.items():
        answer = await send(client, collection, body, external_id=name)
        assert answer.status_code == 202, answer.text


async def test_a_lost_lease_stops_one_document_and_not_its_neighbours(
    client: httpx.AsyncClient, sessions: Sessions, tools: Tools, collection: str
) -> None:
    await _send_all(client, collection, {"a": b"granite walls", "b": b"slate roofs", "c": b"oak doors"})
    claims = await _claim_all(sessions)
    async with transaction(sessions) as session:
        await session.execute(text("update jobs set attempt = attempt + 1 where id = :id"), {"id": claims[1].job_id})

    failures = await ingest.run(tools, claims)

    assert [type(failure) for failure in failures.values()] == [jobs.LostLease]
    assert set(failures) == {claims[1].job_id}
    assert sorted((await _states(sessions)).values()) == ["pending", "ready", "ready"]
    assert await count(sessions, "select count(*) from chunks") == 2
    assert await count(sessions, "select count(*) from jobs where state = 'done'") == 2


async def test_a_file_without_text_fails_alone(
    client: httpx.AsyncClient, sessions: Sessions, tools: Tools, collection: str
) -> None:
    await _send_all(client, collection, {"a": b"granite walls", "b": b" \n ", "c": b"oak doors"})

    failures = await ingest.run(tools, await _claim_all(sessions))

    assert [type(failure) for failure in failures.values()] == [Invalid]
    assert await _states(sessions) == {"a": "ready", "b": "pending", "c": "ready"}
    assert len(await search(client, collection, "granite")) == 2


async def test_what_one_transaction_cannot_write_for_one_is_written_for_the_others(
    client: httpx.AsyncClient, sessions: Sessions, owner: Sessions, tools: Tools, collection: str
) -> None:
    await _send_all(client, collection, {"a": b"granite walls", "b": b"forbidden words", "c": b"oak doors"})
    claims = await _claim_all(sessions)
    async with transaction(owner) as session:
        await session.execute(text("alter table chunks add constraint no_b check (text not like 'forbidden%')"))
    try:
        failures = await ingest.run(tools, claims)
    finally:
        async with transaction(owner) as session:
            await session.execute(text("alter table chunks drop constraint no_b"))

    assert len(failures) == 1
    assert await _states(sessions) == {"a": "ready", "b": "pending", "c": "ready"}


async def test_two_versions_of_a_document_taken_together_end_with_the_newer_one(
    client: httpx.AsyncClient, sessions: Sessions, tools: Tools, collection: str
) -> None:
    for body in (b"the first words", b"the second words"):
        await send(client, collection, body, external_id="a")
    claims = await _claim_all(sessions)
    assert len(claims) == 2

    failures = await ingest.run(tools, list(reversed(claims)))

    assert failures == {}
    assert await search(client, collection, "words") == ["the second words"]
    assert await count(sessions, "select count(*) from chunks") == 1


async def test_unchanged_passages_of_a_new_version_keep_their_vectors(
    client: httpx.AsyncClient, sessions: Sessions, tools: Tools, collection: str
) -> None:
    paragraphs = [f"{word} " * 150 for word in ("granite", "slate", "oak", "lime", "sand", "moss")]
    await send(client, collection, "\n\n".join(paragraphs).encode(), external_id="a")
    assert await ingest.run(tools, await _claim_all(sessions)) == {}
    before, first = await _vectors(sessions), len((await _embedder(tools)).asked)
    (await _embedder(tools)).asked.clear()
    paragraphs[-1] = "fern " * 150
    await send(client, collection, "\n\n".join(paragraphs).encode(), external_id="a")

    assert await ingest.run(tools, await _claim_all(sessions)) == {}

    after = await _vectors(sessions)
    asked = (await _embedder(tools)).asked
    assert first == len(before) == len(after) > len(asked) > 0
    assert all("fern" in each for each in asked)
    kept = before.keys() & after.keys()
    assert len(kept) == len(after) - len(asked)
    assert all(before[each] == after[each] for each in kept)


async def _vectors(sessions: Sessions) -> dict[bytes, str]:
    async with transaction(sessions) as session:
        space_id = await session.scalar(text("select id from embedding_spaces"))
        rows = await session.execute(
            text(
                f"select content_hash, cast(embedding as text) as v from chunks join vectors_{space_id} on chunk_id = id"
            )
        )
        return {bytes(row.content_hash): row.v for row in rows}


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda texts, made: made * np.nan,
        lambda texts, made: made * 0,
        lambda texts, made: made[:, :-1],
        lambda texts, made: made[:-1],
    ],
    ids=["NaN", "zeros", "another dimension", "too few"],
)
async def test_what_no_search_could_bear_is_never_stored(
    client: httpx.AsyncClient, sessions: Sessions, tools: Tools, collection: str, spoiled: Any
) -> None:
    await _send_all(client, collection, {"a": b"granite walls"})
    (await _embedder(tools)).spoil = spoiled

    failures = await ingest.run(tools, await _claim_all(sessions))

    (failure,) = failures.values()
    assert isinstance(failure, Unavailable)
    assert failure.code == embedding.BAD_ANSWER
    assert await count(sessions, "select count(*) from chunks") == 0


async def test_one_text_that_the_embedder_cannot_take_fails_alone(
    client: httpx.AsyncClient, sessions: Sessions, tools: Tools, collection: str
) -> None:
    await _send_all(client, collection, {"a": b"granite walls", "b": b"poison", "c": b"oak doors"})
    (await _embedder(tools)).spoil = lambda texts, made: (
        made * np.nan if any("poison" in each for each in texts) else made
    )

    failures = await ingest.run(tools, await _claim_all(sessions))

    assert len(failures) == 1
    assert await _states(sessions) == {"a": "ready", "b": "pending", "c": "ready"}


async def test_a_large_document_asks_to_be_taken_where_no_small_ones_wait(
    client: httpx.AsyncClient, sessions: Sessions, tools: Tools, collection: str
) -> None:
    rows = "\n\n".join(f"Heading {n}\n\n" + "word " * 160 for n in range(embedding.LARGE + 2))
    await _send_all(client, collection, {"large": rows.encode()})
    async with transaction(sessions) as session:
        claim = await queries.claim_next(session, worker="host:1", lease_s=30, heavier_than=_LIGHT)
    assert claim is not None

    failures = await ingest.run(replace(tools, takes_large=False), [claim])

    assert [type(failure) for failure in failures.values()] == [jobs.Heavier]
    assert (await _embedder(tools)).asked == []


async def test_small_documents_are_taken_while_a_large_one_is_in_hand(
    client: httpx.AsyncClient, sessions: Sessions, collection: str, opened_process: Process, work: Any
) -> None:
    rows = "\n\n".join(f"Heading {n}\n\n" + f"word{n} " * 100 for n in range(8 * embedding.LARGE))
    await _send_all(client, collection, {"large": rows.encode()})
    await asyncio.to_thread(opened_process.drain, None)

    await _send_all(client, collection, {"small": b"granite walls"})
    await asyncio.to_thread(opened_process.drain, None)
    while_in_hand = await _states(sessions)
    await client.delete(f"/api/v1/collections/{collection}")
    await work()

    assert while_in_hand == {"large": "pending", "small": "ready"}


async def _enqueue(
    resources: Resources, sessions: Sessions, collection_id: UUID, number: int, *, cost: int = 100
) -> None:
    async with transaction(sessions) as session:
        workspace_id = await session.scalar(text("select id from workspaces"))
        assert isinstance(workspace_id, UUID)
        for _ in range(number):
            await jobs.enqueue(
                session,
                resources.nudger,
                kind=INGEST,
                subject_id=UUID(int=1),
                workspace_id=workspace_id,
                collection_id=collection_id,
                cost=cost,
            )


async def _claimed_by_collection(sessions: Sessions) -> dict[int, int]:
    async with transaction(sessions) as session:
        rows = await session.execute(
            text("select collection_id, count(*) as n from jobs where state = 'running' group by collection_id")
        )
        return {row.collection_id.int: row.n for row in rows}


async def test_a_collection_of_one_document_is_not_behind_a_collection_of_hundreds(
    resources: Resources, sessions: Sessions
) -> None:
    await _enqueue(resources, sessions, UUID(int=1), 200)
    await _enqueue(resources, sessions, UUID(int=2), 1)

    async with transaction(sessions) as session:
        await queries.claim_light(session, worker="host:1", lease_s=30, light=_LIGHT, limit=16, in_turns=True)

    assert (await _claimed_by_collection(sessions))[2] == 1
    assert (await _claimed_by_collection(sessions))[1] >= 8


async def test_a_claim_takes_no_more_than_its_cost_and_its_share(resources: Resources, sessions: Sessions) -> None:
    await _enqueue(resources, sessions, UUID(int=1), 8)
    async with transaction(sessions) as session:
        few = await queries.claim_light(session, worker="h:1", lease_s=30, light=_LIGHT, limit=16, in_turns=False)
    await _enqueue(resources, sessions, UUID(int=2), 100, cost=_LIGHT // 2)
    async with transaction(sessions) as session:
        costly = await queries.claim_light(session, worker="h:1", lease_s=30, light=_LIGHT, limit=16, in_turns=False)

    assert len(few) == 2  # a quarter of eight
    assert len(costly) == 7  # the six left of the first, and one that still fits beside them
    assert {claim.job_id for claim in few}.isdisjoint(claim.job_id for claim in costly)


async def test_what_vanished_with_a_worker_is_taken_alone(resources: Resources, sessions: Sessions) -> None:
    await _enqueue(resources, sessions, UUID(int=1), 4)
    async with transaction(sessions) as session:
        await session.execute(text("update jobs set lost_tries = 1"))
        together = await queries.claim_light(session, worker="h:1", lease_s=30, light=_LIGHT, limit=16, in_turns=False)
        alone = await queries.claim_next(session, worker="h:1", lease_s=30, heavier_than=_LIGHT)

    assert together == []
    assert alone is not None


async def test_claimants_side_by_side_never_take_the_same_job(resources: Resources, sessions: Sessions) -> None:
    await _enqueue(resources, sessions, UUID(int=1), 64)

    claims = await asyncio.gather(*(_claim_all(sessions, limit=16, in_turns=n % 2 == 1) for n in range(4)))

    taken = [claim.job_id for part in claims for claim in part]
    assert len(taken) == len(set(taken)) == 64


async def test_a_large_document_has_a_tenth_of_the_core_while_small_ones_wait() -> None:
    turns = Turns()
    order: list[str] = []
    done = asyncio.Event()

    async def small() -> None:
        while not done.is_set():
            with turns.small_in_hand():
                async with turns.small():
                    order.append("small")
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0)  # publishing, say

    async def large() -> None:
        for _ in range(3):
            async with turns.large():
                order.append("large")
                await asyncio.sleep(0.005)
        done.set()

    await asyncio.wait_for(asyncio.gather(small(), small(), large()), timeout=30)

    between = "".join("L" if each == "large" else "s" for each in order).strip("s").split("L")[1:-1]
    assert [len(each) >= 6 for each in between] == [True, True]


async def test_a_large_document_alone_waits_for_nobody() -> None:
    turns = Turns()

    async def slices() -> int:
        for _ in range(100):
            async with turns.large():
                pass
        return 100

    assert await asyncio.wait_for(slices(), timeout=30) == 100
