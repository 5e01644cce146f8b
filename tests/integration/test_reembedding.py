"""A change of model: the second one is a real server that embeds by words, of another dimension than the bundled one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from sqlalchemy import text
from tests.conftest import ROOT, work_until_idle
from tests.endpoint import Answer, Endpoint, Request, Script
from tests.integration.uploads import Work, count, put, search, send
from typer.testing import CliRunner

from drystone import invariants, schema
from drystone.access.service import Principal
from drystone.adapters.embedding import Embedder
from drystone.adapters.embedding.model import MODEL_ID
from drystone.adapters.parsing import Parser
from drystone.cli import main
from drystone.core import crash_points
from drystone.core import settings as core_settings
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict
from drystone.core.settings import Settings
from drystone.documents import ingest, queries
from drystone.documents.ingest import Tools
from drystone.documents.turns import Turns
from drystone.index import spaces as index_spaces
from drystone.index.embedders import Embedders
from drystone.index.spaces import Space
from drystone.invariants import Limits
from drystone.jobs import queries as job_queries
from drystone.jobs import service as jobs
from drystone.resources import Resources
from drystone.web import create_app
from drystone.worker.process import Process

NEXT, DIMENSION = "words-96", 96
Change = Callable[..., Awaitable[httpx.Response]]


def vector_of(content: str) -> list[float]:
    """Each word adds to one of the numbers, chosen by its hash."""
    row = np.zeros(DIMENSION)
    for word in re.findall(r"\w+", content.lower()) or [""]:
        row[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % DIMENSION] += 1
    return list(row)


def by_words(request: Request) -> Answer:
    made = [{"index": n, "embedding": vector_of(each)} for n, each in enumerate(request.body["input"])]
    return Answer(json.dumps({"data": made}).encode())


def refuses(request: Request) -> Answer:
    return Answer(b'{"error": {"message": "no"}}', 400)


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(by_words)
    async with endpoint.running():
        yield endpoint


@pytest.fixture
def endpoint(served: Endpoint) -> Endpoint:
    """The second model, answering and asked nothing yet."""
    served.scripts[:] = [by_words]
    served.requests.clear()
    return served


@pytest.fixture(scope="module")
async def second_environment(served: Endpoint, environment: dict[str, str]) -> dict[str, str]:
    """The environment with a second model, for which the database has a space."""
    given = environment | {
        "NEXT_EMBEDDING_PROVIDER": "openai",
        "NEXT_EMBEDDING_URL": served.url,
        "NEXT_EMBEDDING_MODEL": NEXT,
        "NEXT_EMBEDDING_DIMENSION": str(DIMENSION),
        "NEXT_EMBEDDING_TIMEOUT_S": "1",
    }
    await schema.migrate(core_settings.parse(given), ROOT)
    return given


@pytest.fixture(scope="module")
def second_settings(second_environment: dict[str, str]) -> Settings:
    return core_settings.absolute(core_settings.parse(second_environment), ROOT)


@pytest.fixture(scope="module")
async def second_app(second_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(second_settings)
    async with app.router.lifespan_context(app):
        headers = {"Authorization": f"Bearer {second_settings.api.key.get_secret_value()}"}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://drystone", headers=headers) as client:
            yield client


@pytest.fixture(scope="module")
def second_process(second_settings: Settings) -> Iterator[Process]:
    patient = second_settings.worker.model_copy(update={"sweep_s": 3600})
    process = Process(second_settings.model_copy(update={"worker": patient}))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def both(second_app: httpx.AsyncClient, endpoint: Endpoint, sessions: Sessions) -> httpx.AsyncClient:
    """A client of an API that knows both models, on an empty database."""
    return second_app


@pytest.fixture
def work_both(second_process: Process, sessions: Sessions) -> Work:
    """Runs every job that is due, in a worker that knows both models and has not lately found one away."""
    second_process._resources.embedders._pauses.clear()
    return partial(work_until_idle, second_process, sessions)


@pytest.fixture
def change(both: httpx.AsyncClient, collection: str) -> Change:
    """Sends a step of a change of the collection's model."""

    async def send_step(step: str, **more: Any) -> httpx.Response:
        return await both.post(f"/api/v1/collections/{collection}/embedding/{step}", **more)

    return send_step


async def embedding_of(client: httpx.AsyncClient, collection: str) -> dict[str, Any]:
    answer = await client.get(f"/api/v1/collections/{collection}/embedding")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def upload(client: httpx.AsyncClient, collection: str, **bodies: str) -> dict[str, str]:
    """Document ids by external id."""
    ids = {}
    for external_id, body in bodies.items():
        answer = await send(client, collection, body.encode(), external_id=external_id)
        assert answer.status_code == 202, answer.text
        ids[external_id] = answer.json()["document"]["id"]
    return ids


def contents(endpoint: Endpoint) -> list[str]:
    """All texts that the second model was asked for."""
    return [each for request in endpoint.requests for each in request.body["input"]]


async def spaces(sessions: Sessions) -> dict[str, int]:
    async with transaction(sessions) as session:
        return {row.model: row.id for row in await session.execute(text("select model, id from embedding_spaces"))}


async def vectors_in(sessions: Sessions, model: str) -> int:
    return await count(sessions, f"select count(*) from vectors_{(await spaces(sessions))[model]}")


async def harm(resources: Resources) -> dict[str, int]:
    verdict = await invariants.check(resources.sessions, resources.objects, Limits(lease_s=30, orphan_s=86_400))
    return {each: number for each, number in verdict.checked.items() if number}


async def job_is_due(sessions: Sessions) -> None:
    """What waits for its next try need not wait any longer."""
    async with transaction(sessions) as session:
        await session.execute(text("update jobs set run_after = clock_timestamp() where state = 'queued'"))


async def test_a_collection_changes_its_model_and_back_and_loses_nothing(
    both: httpx.AsyncClient,
    endpoint: Endpoint,
    work_both: Work,
    change: Change,
    sessions: Sessions,
    resources: Resources,
    collection: str,
) -> None:
    await upload(both, collection, granite="Granite walls stand long.", slate="Slate roofs keep rain off.")
    await work_both()
    assert (await embedding_of(both, collection))["state"] == "single"

    started = await change("start")
    assert started.status_code == 202, started.text
    assert started.json()["state"] == "filling"
    assert started.json()["next"] == {"model": NEXT, "dimension": DIMENSION, "is_configured": True}
    await work_both()
    ready = await embedding_of(both, collection)
    assert ready["state"] == "ready"
    assert (ready["fill"]["done"], ready["fill"]["total"], ready["fill"]["embedded"]) == (2, 2, 2)
    assert ready["fill"]["left_s"] == 0
    assert await harm(resources) == {}

    endpoint.requests.clear()
    assert len(await search(both, collection, "who stands long")) == 2
    assert contents(endpoint) == []  # searches ask the model of before
    switched = await change("switch")
    assert switched.status_code == 200, switched.text
    assert switched.json()["active"]["model"] == NEXT
    assert switched.json()["previous"]["model"] == MODEL_ID
    assert "Granite" in (await search(both, collection, "who stands long"))[0]
    assert contents(endpoint) == ["who stands long"]

    await upload(both, collection, oak="Oak doors turn on iron hinges.")
    await work_both()
    assert "Oak" in (await search(both, collection, "hinges"))[0]
    back = await change("rollback")
    assert back.status_code == 200, back.text
    assert back.json()["active"]["model"] == MODEL_ID
    dense = {"query": "a door of wood", "collection": collection, "mode": "dense", "limit": 1}
    assert "Oak" in (await both.post("/api/v1/search", json=dense)).json()["hits"][0]["quote"]
    endpoint.requests.clear()
    await search(both, collection, "a door of wood")
    assert contents(endpoint) == []

    assert (await change("finish")).json()["code"] == "embedding.not_switched"
    assert (await change("switch")).status_code == 200
    assert (await change("finish")).status_code == 202
    await work_both()
    assert (await embedding_of(both, collection))["state"] == "single"
    assert await vectors_in(sessions, MODEL_ID) == 0
    assert await vectors_in(sessions, NEXT) == 3
    assert await harm(resources) == {}
    audited = "select count(*) from audit where action like 'embedding.%'"
    assert await count(sessions, audited) == 5
    told = "select count(*) from events where kind like 'embedding.%' and kind <> 'embedding.progress'"
    assert await count(sessions, told) == 6


async def test_the_same_content_is_embedded_once(
    both: httpx.AsyncClient, endpoint: Endpoint, work_both: Work, change: Change, sessions: Sessions, collection: str
) -> None:
    await upload(both, collection, **{f"n{n}": "Granite walls stand long." for n in range(5)}, slate="Slate roofs.")
    await upload(both, "elsewhere", slate="Slate roofs.")
    await work_both()

    await change("start")
    await work_both()
    await both.post("/api/v1/collections/elsewhere/embedding/start")
    await work_both()

    assert sorted(contents(endpoint)) == ["Granite walls stand long.", "Slate roofs."]
    assert await vectors_in(sessions, NEXT) == 7
    fill = (await embedding_of(both, "elsewhere"))["fill"]
    assert (fill["embedded"], fill["reused"], fill["is_complete"]) == (0, 1, True)


async def test_what_comes_during_a_change_is_published_in_both_spaces_at_once(
    both: httpx.AsyncClient, endpoint: Endpoint, work_both: Work, change: Change, sessions: Sessions, collection: str
) -> None:
    await upload(both, collection, granite="Granite walls.")
    await work_both()
    await change("start")
    await work_both()
    jobs_before = await count(sessions, "select count(*) from jobs where kind = 'documents.reembed'")

    ids = await upload(both, collection, oak="Oak doors.")
    await work_both()
    await put(both, ids["oak"], b"Oak doors and windows.")
    await work_both()

    assert contents(endpoint) == ["Granite walls.", "Oak doors.", "Oak doors and windows."]
    assert await vectors_in(sessions, NEXT) == await vectors_in(sessions, MODEL_ID) == 2
    assert await count(sessions, "select count(*) from jobs where kind = 'documents.reembed'") == jobs_before


@pytest.mark.parametrize(
    "fault",
    [lambda request: Answer(fault="hang up"), lambda request: Answer(fault="silence"), refuses],
    ids=["away", "silent", "refuses"],
)
async def test_a_second_model_that_fails_holds_up_no_upload_but_the_switch(
    both: httpx.AsyncClient,
    endpoint: Endpoint,
    work_both: Work,
    change: Change,
    sessions: Sessions,
    resources: Resources,
    collection: str,
    fault: Script,
) -> None:
    await upload(both, collection, granite="Granite walls.")
    await work_both()
    await change("start")
    await work_both()
    endpoint.scripts[:] = [fault]

    await upload(both, collection, oak="Oak doors.", slate="Slate roofs.")
    await work_both()

    assert len(await search(both, collection, "doors")) == 3
    refused = await change("switch")
    assert refused.status_code == 409
    assert refused.json()["code"] == "embedding.incomplete"
    assert "1 of 3" in refused.json()["detail"]
    fill = (await embedding_of(both, collection))["fill"]
    assert not fill["is_complete"]
    assert fill["job"]["state"] == "queued"
    assert fill["job"]["error"]["code"].startswith("embedding.")
    warned = await both.post("/api/v1/search", json={"query": "x", "collection": collection, "model": NEXT})
    assert warned.status_code == 503  # nobody can embed the question

    endpoint.scripts[:] = [by_words]
    asked = await both.post("/api/v1/search", json={"query": "doors", "collection": collection, "model": NEXT})
    assert [each["code"] for each in asked.json()["warnings"]] == ["search.incomplete_model"]
    await job_is_due(sessions)
    await work_both()
    assert (await change("switch")).status_code == 200
    assert await harm(resources) == {}


async def test_who_was_away_has_refused_nothing(
    both: httpx.AsyncClient, endpoint: Endpoint, work_both: Work, change: Change, sessions: Sessions, collection: str
) -> None:
    """After a long absence one refusal ended the job: tries of both kinds were counted as one."""
    await upload(both, collection, granite="Granite walls.")
    await work_both()
    endpoint.scripts[:] = [refuses]
    await change("start")

    async def state_after(transient_tries: int, error_code: str) -> tuple[str, int]:
        async with transaction(sessions) as session:
            given = {"tries": transient_tries, "code": error_code}
            await session.execute(
                text(
                    "update jobs set run_after = clock_timestamp(), transient_tries = :tries, error_code = :code"
                    " where kind = 'documents.reembed'"
                ),
                given,
            )
        await work_both()
        async with transaction(sessions) as session:
            row = (
                await session.execute(text("select state, transient_tries from jobs where kind = 'documents.reembed'"))
            ).one()
        return row.state, row.transient_tries

    assert await state_after(9, "embedding.unavailable") == ("queued", 1)
    assert await state_after(4, "embedding.refused") == ("queued", 5)
    assert (await state_after(5, "embedding.refused"))[0] == "failed"


async def test_searches_go_on_unmixed_while_the_model_is_switched_to_and_fro(
    both: httpx.AsyncClient, work_both: Work, change: Change, collection: str
) -> None:
    bodies = {f"d{n}": f"Wall {n} of granite and slate, by mason {n * 7}." for n in range(12)}
    await upload(both, collection, **bodies)
    await work_both()
    await change("start")
    await work_both()
    question = {"query": "the wall of mason 35", "collection": collection, "mode": "hybrid", "limit": 12}

    async def answer(**more: Any) -> list[tuple[str, float | None]]:
        found = await both.post("/api/v1/search", json=question | more)
        assert found.status_code == 200, found.text
        return [(hit["document"]["id"], hit["scores"]["dense"]) for hit in found.json()["hits"]]

    of = {MODEL_ID: await answer(model=MODEL_ID), NEXT: await answer(model=NEXT)}
    assert of[MODEL_ID] != of[NEXT]
    seen: list[list[tuple[str, float | None]]] = []
    is_over = asyncio.Event()

    async def ask() -> None:
        while not is_over.is_set():
            seen.append(await answer())

    searching = [asyncio.create_task(ask()) for _ in range(3)]
    for n in range(20):
        assert (await change("rollback" if n % 2 else "switch")).status_code == 200
        assert await answer() == of[MODEL_ID if n % 2 else NEXT]
    is_over.set()
    await asyncio.gather(*searching)

    assert [each for each in seen if each not in of.values()] == []
    assert {tuple(each) for each in seen} == {tuple(each) for each in of.values()}


async def test_a_switch_waits_for_no_upload_that_is_being_received(
    both: httpx.AsyncClient, work_both: Work, change: Change, sessions: Sessions, principal: Principal, collection: str
) -> None:
    await upload(both, collection, oak="Oak doors.")
    await work_both()
    await change("start")
    await work_both()

    async with transaction(sessions) as receiving:
        home = await queries.find_collection(receiving, principal.workspace_id, collection, share=True)
        assert home is not None
        assert await queries.share_collection(receiving, home.id)
        switched = await asyncio.wait_for(change("switch"), 10)

    assert switched.status_code == 200


async def test_what_is_deleted_or_replaced_while_it_is_filled_leaves_no_vector(
    both: httpx.AsyncClient,
    endpoint: Endpoint,
    work_both: Work,
    change: Change,
    sessions: Sessions,
    resources: Resources,
    collection: str,
) -> None:
    ids = await upload(both, collection, granite="Granite walls.", oak="Oak doors.", slate="Slate roofs.")
    await work_both()

    async def meanwhile(request: Request) -> Answer:
        await both.delete(f"/api/v1/documents/{ids['oak']}")
        await put(both, ids["slate"], b"Slate roofs of another kind.")
        return by_words(request)

    endpoint.scripts[:] = [meanwhile, by_words]
    await change("start")
    await work_both()

    assert await vectors_in(sessions, NEXT) == await vectors_in(sessions, MODEL_ID) == 2
    assert (await embedding_of(both, collection))["state"] == "ready"
    assert await harm(resources) == {}
    await both.delete(f"/api/v1/collections/{collection}")
    await work_both()
    assert await vectors_in(sessions, NEXT) == 0


async def test_a_worker_killed_while_it_fills_is_followed_by_one_that_embeds_nothing_again(
    both: httpx.AsyncClient,
    endpoint: Endpoint,
    work_both: Work,
    change: Change,
    sessions: Sessions,
    second_environment: dict[str, str],
    collection: str,
    tmp_path: Path,
) -> None:
    bodies = {f"d{n}": f"Wall number {n} stands." for n in range(100)}
    await upload(both, collection, **bodies)
    await work_both()
    await change("start")
    crash_points.order(tmp_path, "mid_reembed", "kill")
    environment = second_environment | {
        "DRYSTONE_CRASH_POINTS": str(tmp_path),
        "JOB_LEASE_S": "2",
        "JOB_HEARTBEAT_S": "1",
    }

    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", _WORKER, json.dumps(environment), str(ROOT))
    assert await asyncio.wait_for(victim.wait(), 180) == -signal.SIGKILL

    assert [each.name for each in tmp_path.glob("mid_reembed.reached.*")] != []
    assert await vectors_in(sessions, NEXT) == 64
    fill = (await embedding_of(both, collection))["fill"]
    assert (fill["done"], fill["total"]) == (64, 100)
    assert fill["left_s"] > 0
    while not await count(sessions, "select count(*) from jobs where state = 'queued' and kind = 'documents.reembed'"):
        await asyncio.sleep(0.2)
        async with transaction(sessions) as session:
            await job_queries.return_expired(session)
    await work_both()
    assert (await embedding_of(both, collection))["state"] == "ready"
    assert sorted(contents(endpoint)) == sorted(bodies.values())


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


class _Meanwhile:
    """The real embedder, which lets something happen before it answers the first time."""

    def __init__(self, embedder: Embedder, happen: Callable[[], Awaitable[None]]) -> None:
        self._embedder, self._happen = embedder, happen
        self.model_id, self.dimension, self.max_tokens = embedder.model_id, embedder.dimension, embedder.max_tokens
        self._happened = False

    def token_starts(self, text: str) -> np.ndarray:
        return self._embedder.token_starts(text)

    def reads(self, text: str) -> bool:
        return True

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        if not self._happened:
            self._happened = True
            await self._happen()
        return await self._embedder.embed(texts)

    async def embed_queries(self, asked: Sequence[str]) -> np.ndarray:
        return await self._embedder.embed_queries(asked)

    async def aclose(self) -> None: ...


async def test_what_was_embedded_before_a_switch_is_not_published_after_it_without_a_vector(
    both: httpx.AsyncClient,
    second_process: Process,
    work_both: Work,
    change: Change,
    sessions: Sessions,
    resources: Resources,
    collection: str,
) -> None:
    await upload(both, collection, granite="Granite walls.")
    await work_both()
    await upload(both, collection, oak="Oak doors.")
    async with transaction(sessions) as session:
        claims = await job_queries.claim_light(session, worker="a:1", lease_s=60, light=9999, limit=1, in_turns=False)

    async def begin_and_switch() -> None:
        await change("start")
        while (await embedding_of(both, collection))["state"] != "ready":
            await asyncio.to_thread(second_process.drain, None)
        assert (await change("switch")).status_code == 200

    parser = Parser(resources.settings.parsing)
    tools = Tools(
        sessions,
        resources.objects,
        Embedders(resources.space, _Meanwhile(resources.embedder, begin_and_switch)),
        parser,
        resources.nudger,
        Turns(),
        resources.admission.spool_folder,
    )
    failures = await ingest.run(tools, claims)
    await parser.aclose()

    assert [getattr(failure, "code", failure) for failure in failures.values()] == ["embedding.changed"]
    assert await vectors_in(sessions, NEXT) == await vectors_in(sessions, MODEL_ID) == 1
    async with transaction(sessions) as session:
        assert await jobs.release_of_worker(session, "a:1") == 1
    await work_both()
    assert await vectors_in(sessions, NEXT) == await vectors_in(sessions, MODEL_ID) == 2
    assert await harm(resources) == {}


async def test_only_collections_of_one_model_are_searched_together(
    both: httpx.AsyncClient, work_both: Work, change: Change, collection: str
) -> None:
    ids = await upload(both, collection, granite="Granite walls.")
    await upload(both, "other", slate="Slate walls.")
    await work_both()
    await change("start")
    await work_both()
    await change("switch")
    question = {"query": "walls", "collections": [collection, "other"]}
    like = {"like": {"document_id": ids["granite"]}, "collection": "other"}

    alike = await both.post("/api/v1/search", json=like)
    refused = await both.post("/api/v1/search", json=question)
    by_words_only = await both.post("/api/v1/search", json=question | {"mode": "lexical"})
    named = await both.post("/api/v1/search", json=question | {"model": MODEL_ID})
    plainly = await both.post("/api/v1/search", json=question | {"model": "all-MiniLM-L6-v2"})
    unknown = await both.post("/api/v1/search", json=question | {"model": NEXT})

    assert (refused.status_code, refused.json()["code"]) == (409, "search.several_models")
    assert len(by_words_only.json()["hits"]) == 2
    assert len(named.json()["hits"]) == len(plainly.json()["hits"]) == 2
    assert (unknown.status_code, unknown.json()["code"]) == (422, "search.no_such_model")
    assert len(alike.json()["hits"]) == 1, "it has vectors of its model of before, too"
    await change("finish")
    alike = await both.post("/api/v1/search", json=like)
    assert (alike.status_code, alike.json()["code"]) == (409, "search.like_other_model")
    assert len((await both.post("/api/v1/search", json=like | {"mode": "lexical"})).json()["hits"]) == 1


async def test_a_passage_without_a_vector_of_the_model_that_is_asked_says_so(
    both: httpx.AsyncClient, endpoint: Endpoint, work_both: Work, change: Change, sessions: Sessions, collection: str
) -> None:
    await upload(both, collection, granite="Granite walls.", slate="Slate roofs.")
    await work_both()
    await change("start")
    await work_both()
    async with transaction(sessions) as session:
        table = f"vectors_{(await spaces(sessions))[NEXT]}"
        await session.execute(
            text(f"delete from {table} where chunk_id in (select id from chunks where text like 'Granite%')")
        )

    named = f"{NEXT}/{DIMENSION}"
    found = (
        await both.post("/api/v1/search", json={"query": "granite", "collection": collection, "model": named})
    ).json()

    by_quote = {hit["quote"]: hit["scores"]["dense"] for hit in found["hits"]}
    assert by_quote["Granite walls."] is None
    assert by_quote["Slate roofs."] is not None


async def test_a_model_that_is_configured_no_more_is_told_and_uploads_wait_for_it(
    both: httpx.AsyncClient,
    client: httpx.AsyncClient,
    work: Work,
    work_both: Work,
    change: Change,
    sessions: Sessions,
    collection: str,
) -> None:
    await upload(both, collection, granite="Granite walls.")
    await work_both()
    await change("start")
    await work_both()
    await change("switch")

    question = {"query": "walls", "collection": collection}
    refused = await client.post("/api/v1/search", json=question)
    await upload(client, collection, oak="Oak doors.")
    await work()

    assert (refused.status_code, refused.json()["code"]) == (409, "search.other_model")
    assert NEXT in refused.json()["detail"]
    assert (await client.post("/api/v1/search", json=question | {"mode": "lexical"})).status_code == 200
    assert not (await embedding_of(client, collection))["active"]["is_configured"]
    waiting = "select count(*) from jobs where state = 'queued' and error_code = 'embedding.not_configured'"
    assert await count(sessions, waiting) == 1
    await job_is_due(sessions)
    await work_both()
    assert "Oak" in (await search(both, collection, "doors"))[0]


async def test_steps_in_the_wrong_order_are_refused(
    both: httpx.AsyncClient, client: httpx.AsyncClient, work_both: Work, change: Change, collection: str
) -> None:
    await upload(both, collection, granite="Granite walls.")
    await work_both()

    async def code(step: str, **more: Any) -> str:
        answer = await change(step, **more)
        assert answer.is_client_error, answer.text
        return str(answer.json()["code"])

    assert [await code(step) for step in ("switch", "rollback", "finish", "cancel")] == ["embedding.single"] * 4
    assert await code("start", json={"model": "nobody"}) == "embedding.unknown_model"
    alone = await client.post(f"/api/v1/collections/{collection}/embedding/start")
    assert (alone.status_code, alone.json()["code"]) == (409, "embedding.no_other_model")
    assert (await change("start", json={"model": NEXT})).status_code == 202
    assert await code("start") == "embedding.under_way"
    assert await code("rollback") == "embedding.not_switched"
    await work_both()
    assert (await change("switch")).status_code == 200
    assert [await code("switch"), await code("cancel")] == ["embedding.switched"] * 2


async def test_a_step_is_conditional_and_done_once(
    both: httpx.AsyncClient, work_both: Work, change: Change, sessions: Sessions, collection: str
) -> None:
    await upload(both, collection, granite="Granite walls.")
    await work_both()
    path = f"/api/v1/collections/{collection}/embedding"
    seen = (await both.get(path)).headers["ETag"]

    headers = {"Idempotency-Key": "once", "If-Match": seen}
    first, again = [await change("start", headers=headers) for _ in range(2)]
    stale = await change("cancel", headers={"If-Match": seen})

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert stale.status_code == 412
    assert await count(sessions, "select count(*) from reembeddings") == 1
    filling = await both.get(path)
    await work_both()
    ready = await both.get(path, headers={"If-None-Match": filling.headers["ETag"]})
    assert (ready.status_code, ready.json()["state"]) == (200, "ready")
    assert ready.headers["ETag"] != filling.headers["ETag"]


async def test_a_cancelled_change_leaves_nothing_and_what_is_left_of_it_is_used_again(
    both: httpx.AsyncClient, endpoint: Endpoint, work_both: Work, change: Change, sessions: Sessions, collection: str
) -> None:
    await upload(both, collection, granite="Granite walls.")
    await work_both()
    await change("start")
    await work_both()

    await change("cancel")
    await change("start")  # before what the cancelled one left was removed
    await work_both()
    assert contents(endpoint) == ["Granite walls."]
    assert (await embedding_of(both, collection))["state"] == "ready"
    await change("cancel")
    await work_both()

    assert await vectors_in(sessions, NEXT) == 0
    assert await vectors_in(sessions, MODEL_ID) == 1


async def test_both_models_are_asked_and_their_answers_compared(
    both: httpx.AsyncClient, work_both: Work, change: Change, collection: str
) -> None:
    ids = await upload(both, collection, granite="Granite walls stand long.", slate="Slate roofs keep rain off.")
    await work_both()
    single = await change("compare", json={"queries": ["walls"]})
    await change("start")
    await work_both()

    compared = await change("compare", json={"queries": ["walls that stand", "roofs"], "mode": "dense"})

    assert (single.status_code, single.json()["code"]) == (409, "embedding.single")
    found = compared.json()
    assert (found["active"], found["other"], found["lacking"]) == (MODEL_ID, NEXT, 0)
    assert (found["overlap"], found["rbo"], found["same_first"]) == (1, pytest.approx(1), 1)
    assert found["queries"][0]["active"] == found["queries"][0]["other"] == [ids["granite"], ids["slate"]]


async def test_a_fresh_upload_does_not_wait_for_a_fill(
    both: httpx.AsyncClient,
    endpoint: Endpoint,
    second_process: Process,
    work_both: Work,
    change: Change,
    sessions: Sessions,
    collection: str,
) -> None:
    await upload(both, collection, **{f"d{n}": f"Wall number {n} stands." for n in range(150)})
    await work_both()

    async def slowly(request: Request) -> Answer:
        await asyncio.sleep(0.3)
        return by_words(request)

    endpoint.scripts[:] = [slowly]
    await change("start")
    await asyncio.to_thread(second_process.drain, None)
    await upload(both, "fresh", oak="Oak doors.")
    await asyncio.to_thread(second_process.drain, None)
    state = (await embedding_of(both, collection))["state"]
    ready = await count(sessions, "select count(*) from documents where state = 'ready' and external_id = 'oak'")
    endpoint.scripts[:] = [by_words]
    await work_both()

    assert (state, ready) == ("filling", 1)
    assert (await embedding_of(both, collection))["state"] == "ready"


async def test_doctor_learns_of_models_that_are_configured_nowhere(
    both: httpx.AsyncClient, work_both: Work, change: Change, sessions: Sessions, settings: Settings, collection: str
) -> None:
    await upload(both, collection, granite="Granite walls.")
    await work_both()

    async def found() -> list[tuple[Space, int, str]]:
        async with transaction(sessions) as session:
            return await index_spaces.not_among(session, index_spaces.configured(settings))

    assert await found() == []
    await change("start")
    await work_both()
    await change("switch")
    assert await found() == [(Space(NEXT, DIMENSION), 1, collection)]


async def test_the_command_line_goes_all_the_way(
    both: httpx.AsyncClient,
    work_both: Work,
    second_settings: Settings,
    second_environment: dict[str, str],
    collection: str,
    tmp_path: Path,
) -> None:
    await upload(both, collection, granite="Granite walls stand long.", slate="Slate roofs keep rain off.")
    await work_both()
    queries, qrels = tmp_path / "queries.tsv", tmp_path / "qrels.tsv"
    queries.write_text("1\twalls that stand\n2\troofs\n")
    qrels.write_text("query-id\tcorpus-id\tscore\n1\tgranite\t1\n2\tslate\t1\n")

    with _serving(second_settings) as port:
        environment = second_environment | {"API_PORT": str(port), "DRYSTONE_ROOT": str(ROOT)}

        async def run(*arguments: str) -> str:
            invoke = partial(CliRunner().invoke, main.app, ["embedding", *arguments], env=environment)
            done = await asyncio.to_thread(invoke, catch_exceptions=False)
            assert done.exit_code == 0, done.output
            return str(done.stdout)

        assert "state\tsingle" in await run("status", collection)
        assert "state\tfilling" in await run("start", collection)
        with pytest.raises(Conflict, match=f"{NEXT} has 0 of 2 passages"):
            await run("switch", collection)
        await work_both()
        assert "filled\t2 of 2 passages" in await run("status", collection, "--wait")
        assert "overlap@10\t1.000" in await run("compare", collection, "--queries", str(queries))
        judged = json.loads(await run("compare", collection, f"--queries={queries}", f"--qrels={qrels}", "--json"))
        assert [each["measures"]["ndcg@10"]["value"] for each in judged["runs"]] == [1, 1]
        assert judged["comparisons"][0]["measures"]["ndcg@10"]["equal"] == 2
        assert json.loads(await run("switch", collection, "--json"))["state"] == "switched"
        assert "state\tready" in await run("rollback", collection)
        assert "state\tsingle" in await run("cancel", collection)


@contextmanager
def _serving(settings: Settings) -> Iterator[int]:
    """The API on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="critical", ws="none"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
