"""/metrics: who may read it, that it tells what happened, and that nobody outside decides how much it tells."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from tests.integration.uploads import search, send
from tests.keys import bearer, make_key
from tests.numbers import Numbers

from drystone.core import measures
from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings
from drystone.web import create_app

ROOT = Path(__file__).parent.parent.parent
# Of one word of a request or a file: a series would be made for each.
HOSTILE = "kingfisher"
# Asks for its first connection after ten seconds, whatever is asked meanwhile.
BEATS = "drystone-heartbeat"


@pytest.fixture
def token(settings: Settings) -> dict[str, str]:
    return bearer(settings.monitoring.token.get_secret_value())


@pytest.fixture
async def scrape(client: httpx.AsyncClient, token: dict[str, str]) -> Any:
    async def ask() -> Numbers:
        answer = await client.get("/metrics", headers=token)
        assert answer.status_code == 200, answer.text
        return Numbers.of(answer.text)

    return ask


async def test_the_token_opens_the_numbers_and_nothing_else(client: httpx.AsyncClient, token: dict[str, str]) -> None:
    numbers = await client.get("/metrics", headers=token)
    others = [await client.get(path, headers=token) for path in ("/api/v1/collections", "/api/v1/keys")]

    assert numbers.status_code == 200
    assert numbers.headers["content-type"].startswith("text/plain")
    assert [other.status_code for other in others] == [401, 401]


async def test_without_a_token_in_the_settings_an_empty_one_opens_nothing(settings: Settings) -> None:
    monitoring = settings.monitoring.model_copy(update={"token": SecretStr("")})
    async for client in _client(settings.model_copy(update={"monitoring": monitoring})):
        answers = [await client.get("/metrics", headers={"Authorization": said}) for said in ("Bearer ", "Bearer")]

    assert [answer.status_code for answer in answers] == [401, 401]


async def test_an_admin_of_everything_may_read_them_and_a_reader_may_not(
    client: httpx.AsyncClient, owner: Sessions
) -> None:
    admin = await client.get("/metrics", headers=bearer(await make_key(owner)))
    reader = await client.get("/metrics", headers=bearer(await make_key(owner, scopes=["read", "write"])))

    assert (admin.status_code, reader.status_code) == (200, 403)


async def test_what_happens_is_counted(client: httpx.AsyncClient, scrape: Any, work: Any, collection: str) -> None:
    before = await scrape()
    body = b"A wall that stands without mortar."
    assert (await send(client, collection, body)).status_code == 202
    assert (await send(client, collection, b"%PDF-1.7\nnothing", name="b.pdf")).status_code == 202
    await work()
    assert await search(client, collection, "walls") != []
    after = await scrape()

    def more(name: str, **labels: str) -> float:
        return float(after.sum(name, **labels) - before.sum(name, **labels))

    uploads = {"method": "POST", "route": "/api/v1/documents"}
    assert more("drystone_http_requests_total", **uploads, status="2xx") >= 2
    assert more("drystone_http_request_seconds_count", **uploads) >= 2
    assert more("drystone_documents_ended_total", state="ready", reason="none") == 1
    assert more("drystone_documents_ended_total", state="failed", reason="document.corrupt") >= 1
    assert more("drystone_document_bytes_total") == len(body)
    assert more("drystone_passages_total") == 1
    assert more("drystone_job_ends_total", kind="documents.ingest", outcome="done") == 1
    assert more("drystone_job_ends_total", kind="documents.ingest", outcome="failed") >= 1
    assert more("drystone_job_wait_seconds_count", kind="documents.ingest") >= 2
    assert more("drystone_parser_ends_total", end="ok") == 1
    assert more("drystone_parser_ends_total", end="refused") >= 1
    for stage in ("fetch", "parse", "chunk", "embed", "publish"):
        assert more("drystone_ingestion_stage_seconds_count", stage=stage) >= 1, stage
    for stage in ("embed", "scope", "words", "vectors", "fuse", "choose", "show"):
        assert more("drystone_search_stage_seconds_count", stage=stage) == 1, stage
    assert more("drystone_search_seconds_count", mode="hybrid") == 1
    assert more("drystone_object_seconds_count", operation="put", outcome="ok") >= 1
    assert more("drystone_object_seconds_count", operation="get", outcome="ok") >= 1
    assert more("drystone_model_texts_total", provider="bundled", use="passages") == 1
    assert more("drystone_model_texts_total", provider="bundled", use="queries") == 1
    assert more("drystone_database_wait_seconds_count", pool="drystone-web") >= 1
    assert after.sum("drystone_database_connections", pool="drystone-web", state="in_use") == 0
    assert after.sum("drystone_database_connections", pool="drystone-web", state="waiting") == 0


async def test_what_servers_know_is_read(
    client: httpx.AsyncClient, sessions: Sessions, settings: Settings, collection: str
) -> None:
    await send(client, collection)
    async with transaction(sessions) as session:
        await session.execute(text("update jobs set run_after = now() - interval '90 s' where state = 'queued'"))
        await session.execute(text(_A_LATER_JOB))
        await session.execute(text(_A_LOST_JOB))
    numbers = await _scraped(settings)

    assert numbers.sum("drystone_queue_jobs", kind="documents.ingest", state="due") == 1
    assert numbers.sum("drystone_queue_jobs", kind="documents.ingest", state="later") == 1
    assert numbers.sum("drystone_queue_jobs", kind="documents.ingest", state="running") == 1
    assert 90 <= numbers.sum("drystone_queue_oldest_seconds", kind="documents.ingest") < 600
    assert numbers.sum("drystone_leases", state="expired") == 1
    assert numbers.sum("drystone_leases", state="running") == 0
    assert numbers.sum("drystone_database_bytes") > 1_000_000
    assert numbers.sum("drystone_table_bytes", table="jobs") > 0
    assert numbers.sum("drystone_table_bytes", table="vectors") > 0
    assert 1 <= numbers.sum("drystone_database_backends", state="open") < 100
    assert numbers.sum("drystone_disk_free_bytes") > 0
    assert {numbers.sum("drystone_reading_ok", source=source) for source in ("queue", "sizes", "workers", "disk")} == {
        1.0
    }


async def test_a_server_that_is_away_fails_no_scrape(settings: Settings, token: dict[str, str]) -> None:
    url = SecretStr("postgresql://drystone_app:0123456789abcdef@127.0.0.1:9/drystone")
    away = settings.model_copy(update={"database": settings.database.model_copy(update={"url": url})})
    numbers = await _scraped(away)

    assert numbers.sum("drystone_reading_ok", source="queue") == 0
    assert numbers.sum("drystone_reading_ok", source="workers") == 1
    assert "drystone_queue_jobs" not in numbers.names()
    assert numbers.sum("drystone_build_info", process="web") == 1


async def test_requests_decide_no_label(
    client: httpx.AsyncClient, scrape: Any, work: Any, owner: Sessions, collection: str
) -> None:
    await _be_hostile(client, owner, collection, f"{HOSTILE}-0")
    await work()
    await scrape()  # its own line comes with the next
    before = await scrape()
    for number in range(1, 6):
        await _be_hostile(client, owner, collection, f"{HOSTILE}-{number}")
    await work()
    after = await scrape()

    assert [word for word in after.words() if HOSTILE in word.lower()] == []
    new = {
        (name, labels) for name, labels in after.samples.keys() - before.samples.keys() if ("pool", BEATS) not in labels
    }
    assert new == set()
    assert after.sum("drystone_http_requests_total", route="none") > before.sum(
        "drystone_http_requests_total", route="none"
    )


async def _be_hostile(client: httpx.AsyncClient, owner: Sessions, collection: str, word: str) -> None:
    """Say one word wherever a request may say something."""
    whole = await make_key(owner)
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"/{word}", {}),
        ("GET", f"/api/v1/{word}", {}),
        (word.upper().replace("-", ""), f"/api/v1/collections/{word}", {}),
        ("GET", f"/api/v1/collections/{word}", {}),
        ("DELETE", f"/api/v1/collections/{word}", {}),
        ("GET", f"/api/v1/documents/{uuid4()}", {}),
        ("GET", f"/api/v1/documents/{word}", {}),
        ("GET", "/api/v1/collections", {"headers": bearer(f"{word}.{'x' * 43}")}),
        ("GET", "/api/v1/collections", {"headers": bearer(whole)}),
        ("GET", f"/api/v1/collections?{word}={word}", {}),
        ("GET", "/metrics", {"headers": {"X-Request-ID": word, "Authorization": f"Bearer {word}"}}),
        ("POST", "/api/v1/search", {"json": {"query": word, "collection": collection, "mode": word}}),
        ("POST", "/api/v1/search", {"json": {"query": word, "collection": word}}),
        ("POST", "/api/v1/collections", {"json": {"name": word}}),
    ]
    for method, path, given in asked:
        await client.request(method, path, **given)
    await send(client, word, word.encode(), name=f"{word}.txt", external_id=word)
    await send(client, word, f"%PDF-1.7\n{word}".encode(), name=f"{word}.pdf")


def test_reasons_that_are_no_code_of_ours_share_a_label() -> None:
    assert measures.bounded("of a test", "document.corrupt") == "document.corrupt"
    assert measures.bounded("of a test", "Robert'); drop table") == "other"
    assert {measures.bounded("of many", f"code.n{'x' * number}") for number in range(50)} != {"other"}
    found = {
        measures.bounded("of more", f"code.{a}{b}") for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"
    }
    assert len(found) == 201


# --- the worker's own port ---


@pytest.fixture(scope="module")
def worker(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Popen]:
    """A worker as the Procfile starts it, with two pool processes, on the test's servers."""
    folder = tmp_path_factory.mktemp("worker")
    with psutil.Popen(
        [sys.executable, "-m", "drystone.cli.main", "worker"],
        cwd=ROOT,
        env={**os.environ, **environment, "DRYSTONE_DATA_DIR": str(folder), "DRYSTONE_ROOT": str(ROOT)},
    ) as process:
        yield process
        process.terminate()
        process.wait(30)
    assert list((folder / "run" / "measures").iterdir()) == []


async def test_a_worker_tells_what_all_its_processes_count_also_those_that_died(
    worker: psutil.Popen, client: httpx.AsyncClient, settings: Settings, collection: str
) -> None:
    url = f"http://127.0.0.1:{settings.monitoring.worker_port}/metrics"
    headers = bearer(settings.monitoring.token.get_secret_value())
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
        for number in range(12):
            await send(client, collection, f"Wall number {number}.".encode(), name=f"{number}.txt")
        first = await _until(http, url, lambda told: told.sum("drystone_documents_ended_total", state="ready") >= 12)
        killed = _pool(worker)
        for child in killed:
            child.send_signal(signal.SIGKILL)
        await send(client, collection, b"One more wall.")
        second = await _until(http, url, lambda told: told.sum("drystone_documents_ended_total", state="ready") >= 13)

        assert first.sum("drystone_documents_ended_total", state="ready") == 12
        assert second.sum("drystone_documents_ended_total", state="ready") == 13
        assert second.sum("drystone_passages_total") == 13
        buckets = [
            second.sum("drystone_ingestion_stage_seconds_bucket", stage="parse", le=le) for le in ("60.0", "+Inf")
        ]
        assert buckets == [13, 13]
        assert first.sum("drystone_database_connections", pool="drystone-worker", state="limit") == 10
        assert second.sum("drystone_build_info", process="worker") == 1
        assert len(killed) == 2


async def test_the_workers_port_says_nothing_without_the_token(worker: psutil.Popen, settings: Settings) -> None:
    url = f"http://127.0.0.1:{settings.monitoring.worker_port}"
    right = bearer(settings.monitoring.token.get_secret_value())
    async with httpx.AsyncClient(trust_env=False) as http:
        await _until(http, f"{url}/metrics", lambda told: True, headers=right)
        api_key = bearer(settings.api.key.get_secret_value())
        wrong = [
            await http.get(f"{url}/metrics", headers=each)
            for each in ({}, bearer("x"), {"Authorization": "Bearer"}, api_key)
        ]
        elsewhere = await http.get(f"{url}/etc/passwd", headers=right)

    assert {(answer.status_code, answer.headers["www-authenticate"]) for answer in wrong} == {(401, "Bearer")}
    assert not any("drystone_" in answer.text for answer in wrong)
    assert elsewhere.status_code == 404


async def test_the_numbers_of_a_worker_stay_in_the_room_taken_for_them(worker: psutil.Popen) -> None:
    """They would be written to pages without room on the disk, which kills a process when the disk is full."""
    folder = Path(worker.environ()["DRYSTONE_DATA_DIR"]) / "run" / "measures" / str(worker.pid)
    files = list(folder.glob("*.db"))
    used = [int.from_bytes(path.read_bytes()[:4], sys.byteorder) for path in files]

    assert len(files) >= 6
    assert all(path.stat().st_size == 512 * 1024 for path in files)
    assert max(used) < 256 * 1024


def _pool(worker: psutil.Popen) -> list[psutil.Process]:
    found = []
    for child in worker.children():
        with contextlib.suppress(psutil.Error):  # it may be ending
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


async def _until(http: httpx.AsyncClient, url: str, is_so: Any, *, headers: dict[str, str] | None = None) -> Numbers:
    """The numbers, once they say so."""
    deadline = time.monotonic() + 120
    while True:
        assert time.monotonic() < deadline, "it never said so"
        try:
            answer = await http.get(url, headers=headers)
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        assert answer.status_code == 200, answer.text
        if is_so(told := Numbers.of(answer.text)):
            return told
        await asyncio.sleep(0.1)


async def _client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://drystone") as client,
    ):
        yield client


async def _scraped(settings: Settings) -> Numbers:
    """What a web process with these settings tells first."""
    found = ""
    async for client in _client(settings):
        answer = await client.get("/metrics", headers=bearer(settings.monitoring.token.get_secret_value()))
        assert answer.status_code == 200, answer.text
        found = answer.text
    return Numbers.of(found)


_A_LATER_JOB = """
insert into jobs (id, workspace_id, kind, subject_id, run_after)
select gen_random_uuid(), workspace_id, kind, gen_random_uuid(), now() + interval '1 hour' from jobs limit 1
"""
_A_LOST_JOB = """
insert into jobs (id, workspace_id, kind, subject_id, state, attempt, lease_until)
select gen_random_uuid(), workspace_id, kind, gen_random_uuid(), 'running', 1, now() - interval '1 minute'
from jobs limit 1
"""
