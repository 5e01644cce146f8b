"""Webhooks against a real server that checks signatures by somebody else's implementation of the standard."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from standardwebhooks.webhooks import Webhook

from drystone.adapters.calling import Caller, check_literal, is_public
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Invalid, Unavailable
from drystone.core.settings import Settings
from drystone.webhooks import sending
from drystone.worker.webhooks import LANES, LANES_OF_SLOW, SLOW_S, WebhookLane

Work = Callable[[], Awaitable[None]]
_GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "webhooks.md"


@dataclass
class Receiver:
    """A server; answers with `statuses` in turn, then 204. hold: what a call waits for before its answer."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    calls: queue.SimpleQueue[tuple[dict[str, str], bytes]] = field(default_factory=queue.SimpleQueue)
    hold: threading.Event = field(default_factory=threading.Event)

    async def next(self) -> tuple[dict[str, str], bytes]:
        return await asyncio.to_thread(self.calls.get, timeout=20)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with _receiver() as found:
        yield found


@contextlib.contextmanager
def _receiver() -> Iterator[Receiver]:
    found = Receiver()
    found.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.calls.put(({name.lower(): value for name, value in self.headers.items()}, body))
            found.hold.wait(20)
            self.send_response(found.statuses.pop(0) if found.statuses else 204)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/hook?a=b"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    found.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def lane(settings: Settings) -> Iterator[None]:
    """The sender of a worker's main process, in a thread as there."""
    stop = threading.Event()
    thread = threading.Thread(target=WebhookLane(settings, stop).run)
    thread.start()
    yield
    stop.set()
    thread.join()


async def _make(client: httpx.AsyncClient, url: str, **more: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/webhooks", json={"url": url} | more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _send(client: httpx.AsyncClient, collection: str, body: bytes = b"A wall.") -> dict[str, Any]:
    answer = await client.post("/api/v1/documents", files={"file": ("a.txt", body)}, data={"collection": collection})
    document: dict[str, Any] = answer.json()["document"]
    return document


async def _deliveries(client: httpx.AsyncClient, webhook: dict[str, Any], state: str) -> list[dict[str, Any]]:
    """The deliveries once there is one in this state."""
    async with asyncio.timeout(20):
        while True:
            found = (await client.get(f"/api/v1/webhooks/{webhook['id']}/deliveries")).json()["items"]
            if any(delivery["state"] == state for delivery in found):
                return list(found)
            await asyncio.sleep(0.05)


async def _do(sessions: Sessions, sql: str) -> None:
    async with transaction(sessions) as session:
        await session.execute(text(sql))


@pytest.mark.usefixtures("lane")
async def test_events_arrive_signed_as_the_standard_says(
    client: httpx.AsyncClient, collection: str, work: Work, receiver: Receiver
) -> None:
    webhook = await _make(client, receiver.url, kinds=["document.ready", "document.failed"])
    document = await _send(client, collection)
    await work()

    headers, body = await receiver.next()
    told = Webhook(webhook["secret"]).verify(body, headers)
    (delivery,) = await _deliveries(client, webhook, "delivered")

    assert told["type"] == "document.ready"
    assert told["data"]["document_id"] == document["id"]
    assert headers["content-type"] == "application/json"
    assert (delivery["tries"], delivery["response_status"], delivery["kind"]) == (1, 204, "document.ready")
    assert "secret" not in (await client.get(f"/api/v1/webhooks/{webhook['id']}")).json()


@pytest.mark.usefixtures("lane")
async def test_after_a_rotation_both_secrets_verify(client: httpx.AsyncClient, receiver: Receiver) -> None:
    old = await _make(client, receiver.url)
    new = (await client.post(f"/api/v1/webhooks/{old['id']}/rotate")).json()
    await client.post(f"/api/v1/webhooks/{old['id']}/test")

    headers, body = await receiver.next()

    assert old["secret"] != new["secret"]
    for secret in (old["secret"], new["secret"]):
        assert Webhook(secret).verify(body, headers)["type"] == "webhook.test"


@pytest.mark.usefixtures("lane")
async def test_a_refused_call_is_made_again_with_the_same_id(
    client: httpx.AsyncClient, receiver: Receiver, sessions: Sessions
) -> None:
    receiver.statuses = [500, 302]
    webhook = await _make(client, receiver.url)
    await client.post(f"/api/v1/webhooks/{webhook['id']}/test")

    ids, waits = [], []
    for _ in range(3):
        headers, _body = await receiver.next()
        ids.append(headers["webhook-id"])
        if len(ids) < 3:
            wait_s = None
            while wait_s is None:
                async with transaction(sessions) as session:
                    wait_s = await session.scalar(
                        text(
                            "select extract(epoch from run_after - clock_timestamp()) from jobs where state = 'queued'"
                        )
                    )
            waits.append(float(wait_s))
            await _do(sessions, "update jobs set run_after = now()")
    (delivery,) = await _deliveries(client, webhook, "delivered")

    assert len(set(ids)) == 1
    assert 3 < waits[0] <= 5.5
    assert 260 < waits[1] <= 330
    assert (delivery["tries"], delivery["response_status"]) == (3, 204)


@pytest.mark.usefixtures("lane")
async def test_a_server_that_is_gone_is_not_called_again(client: httpx.AsyncClient, receiver: Receiver) -> None:
    receiver.statuses = [410]
    webhook = await _make(client, receiver.url)
    await client.post(f"/api/v1/webhooks/{webhook['id']}/test")

    await _deliveries(client, webhook, "failed")
    shown = (await client.get(f"/api/v1/webhooks/{webhook['id']}")).json()
    tried = await client.post(f"/api/v1/webhooks/{webhook['id']}/test")
    await client.patch(f"/api/v1/webhooks/{webhook['id']}", json={"enabled": True})
    again = (await client.post(f"/api/v1/webhooks/{webhook['id']}/redeliver")).json()

    assert (shown["is_enabled"], shown["disabled_reason"]) == (False, "The server answered 410: it is gone.")
    assert (tried.status_code, tried.json()["code"]) == (409, "webhook.disabled")
    assert again == {"deliveries": 1}
    assert (await _deliveries(client, webhook, "delivered"))[0]["response_status"] == 204


@pytest.mark.usefixtures("lane")
async def test_days_of_failure_disable_a_webhook(
    client: httpx.AsyncClient, receiver: Receiver, sessions: Sessions
) -> None:
    receiver.statuses = [500] * 99
    webhook = await _make(client, receiver.url)
    await client.post(f"/api/v1/webhooks/{webhook['id']}/test")
    async with asyncio.timeout(20):
        while (await client.get(f"/api/v1/webhooks/{webhook['id']}")).json()["is_enabled"]:
            await _do(
                sessions,
                f"""update jobs set transient_tries = {len(sending.PAUSES_S)}, run_after = now()
                where kind = 'webhooks.deliver' and state = 'queued'""",
            )
    (job,) = (await client.get("/api/v1/jobs", params={"kind": "webhooks.deliver"})).json()["items"]

    assert job["error"]["code"] == "webhook.undeliverable"
    assert sum(sending.PAUSES_S) / 86400 == pytest.approx(3.15, abs=0.1), "about three days"


@pytest.mark.usefixtures("lane")
async def test_a_slow_server_delays_neither_documents_nor_other_webhooks(
    client: httpx.AsyncClient, collection: str, work: Work, receiver: Receiver
) -> None:
    slow = await _make(client, receiver.url, kinds=["document.received"])
    receiver.hold.clear()
    for number in range(4):
        await _send(client, collection, f"Wall {number}.".encode())
    await receiver.next()
    await receiver.next()  # both of its lanes are held now
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        other = await _make(client, f"http://127.0.0.1:{closed.getsockname()[1]}/")
        await client.post(f"/api/v1/webhooks/{other['id']}/test")
        await work()
        async with asyncio.timeout(20):
            while not (tried := await _deliveries(client, other, "pending"))[0]["tries"]:
                pass

    documents = (await client.get("/api/v1/documents", params={"collection": collection})).json()["items"]
    assert [document["state"] for document in documents] == ["ready"] * 4
    assert tried[0]["error"].startswith("No answer: ")
    assert receiver.calls.empty(), "two calls at a time to one webhook"
    receiver.hold.set()
    while len([d for d in await _deliveries(client, slow, "delivered") if d["state"] == "delivered"]) < 4:
        pass


@pytest.mark.parametrize("kind", ["document.raedy", "documnet.*", "*", "document.progress"])
async def test_a_kind_that_webhooks_are_never_told_of_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    webhook = await _make(client, "http://127.0.0.1:1/", kinds=["batch.*", "scrub.finished"])
    body = {"url": "http://127.0.0.1:1/", "kinds": ["document.ready", kind]}
    made = await client.post("/api/v1/webhooks", json=body)
    changed = await client.patch(f"/api/v1/webhooks/{webhook['id']}", json={"kinds": [kind]})

    assert [(a.status_code, a.json()["code"]) for a in (made, changed)] == [(422, "webhook.unknown_kind")] * 2
    assert [a.json()["errors"][0]["pointer"] for a in (made, changed)] == ["/kinds/1", "/kinds/0"]
    assert "document.ready" in made.json()["hint"]
    assert (await client.get(f"/api/v1/webhooks/{webhook['id']}")).json()["kinds"] == ["batch.*", "scrub.finished"]


@pytest.mark.usefixtures("lane")
async def test_many_slow_servers_wait_for_each_other_only(
    client: httpx.AsyncClient, collection: str, receiver: Receiver
) -> None:
    with _receiver() as other:
        good = await _make(client, other.url, kinds=["document.received"])
        slow = [await _make(client, receiver.url, kinds=["document.received"]) for _ in range(LANES_OF_SLOW - 2)]
        receiver.hold.clear()
        await _send(client, collection, b"All are called, and some are found to be slow.")
        await asyncio.gather(*(receiver.next() for _ in slow))
        await other.next()
        await asyncio.sleep(SLOW_S)  # what makes a server slow is that time passes
        for number in range(LANES):
            await _send(client, collection, f"More of it than there are lanes: {number}.".encode())

        async with asyncio.timeout(25):  # in turn with all that the slow ones are owed it would be a minute
            for _ in range(LANES):
                await other.next()

        receiver.hold.set()
        for webhook in (good, *slow):
            await client.delete(f"/api/v1/webhooks/{webhook['id']}")


@pytest.mark.usefixtures("lane")
async def test_a_webhook_that_is_deleted_while_it_is_called_leaves_no_job(
    client: httpx.AsyncClient, sessions: Sessions, collection: str, receiver: Receiver
) -> None:
    webhook = await _make(client, receiver.url, kinds=["document.received"])
    receiver.hold.clear()
    receiver.statuses.append(500)
    await _send(client, collection)
    await receiver.next()

    await client.delete(f"/api/v1/webhooks/{webhook['id']}")
    receiver.hold.set()

    async with asyncio.timeout(20):
        while await _left(sessions):
            await asyncio.sleep(0.05)


async def test_a_delivery_job_that_lost_its_webhook_is_swept(
    client: httpx.AsyncClient, sessions: Sessions, collection: str
) -> None:
    webhook = await _make(client, "http://127.0.0.1:1/")
    await client.post(f"/api/v1/webhooks/{webhook['id']}/test")
    before = await _left(sessions)
    await _do(sessions, "delete from webhook_deliveries")

    async with transaction(sessions) as session:
        swept = await sending.sweep(session)

    assert (before, swept, await _left(sessions)) == (1, 1, 0)


async def _left(sessions: Sessions) -> int:
    async with transaction(sessions) as session:
        return int(await session.scalar(text("select count(*) from jobs where kind = 'webhooks.deliver'")) or 0)


@pytest.mark.usefixtures("lane")
async def test_a_webhook_hears_of_its_kinds_and_its_collection_only(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    await client.post("/api/v1/collections", json={"name": collection})
    one = await _make(client, "http://127.0.0.1:1/", kinds=["document.*"], collection=collection)
    every = await _make(client, "http://127.0.0.1:1/")
    await _send(client, collection)
    await _send(client, f"{collection}-b")

    async def kinds(webhook: dict[str, Any]) -> list[str]:
        answer = await client.get(f"/api/v1/webhooks/{webhook['id']}/deliveries")
        return sorted(delivery["kind"] for delivery in answer.json()["items"])

    async with asyncio.timeout(20):
        while len(seen := await kinds(every)) < 3:
            pass
    assert seen == ["collection.created", "document.received", "document.received"]
    assert await kinds(one) == ["document.received"]
    assert await sending.dispatch(sessions) == 0, "nothing is made twice"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:5db8:d822::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2001:20::1",
        "2620:4f:8000::1",
        "3fff::1",
        "fec0::1",
        "ff02::1",
        "5f00::1",
        "100::1",
        "100:0:0:1::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:0:127.0.0.1",
        "192.0.0.8",
        "192.0.0.9",
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.1",
    ],
)
def test_an_address_of_the_own_network_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_an_address_of_the_internet_is_public() -> None:
    assert is_public("93.184.216.34")
    assert is_public("2606:2800:220:1:248:1893:25c8:1946")
    assert is_public("::ffff:93.184.216.34")
    assert is_public("64:ff9b::5db8:d822")


async def test_a_name_that_leads_home_is_found_out_when_it_is_called(receiver: Receiver) -> None:
    caller = Caller(allow_private=False, timeout_s=5)
    port = receiver.url.split(":")[2]

    with pytest.raises(Unavailable, match="no public address"):
        await caller.post(f"http://localhost:{port}", b"{}", {})

    assert receiver.calls.empty()
    await caller.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org",
        "http://",
        "http://user@example.org/",
        "//example.org",
        "http://example.org/#a",
        "http://a b/",
    ],
)
async def test_a_url_that_cannot_be_called_is_refused(client: httpx.AsyncClient, url: str) -> None:
    answer = await client.post("/api/v1/webhooks", json={"url": url})

    assert (answer.status_code, answer.json()["code"]) == (422, "webhook.bad_url")


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::1]:80/", "http://localhost/", "https://10.0.0.1/"])
def test_a_url_into_the_own_network_is_refused_unless_it_is_allowed(url: str) -> None:
    check_literal(url, allow_private=True)
    with pytest.raises(Invalid, match="no public address"):
        check_literal(url, allow_private=False)


@pytest.mark.usefixtures("lane")
async def test_the_receiver_of_the_guide_takes_what_is_ours_and_nothing_else(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", _GUIDE.read_text(), re.DOTALL)
    (tmp_path / "receiver.py").write_text(code)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    webhook = await _make(client, url)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "receiver.py"), str(port)],
        env={**os.environ, "WEBHOOK_SECRET": webhook["secret"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        forged = {"webhook-id": "a", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,AAAA"}
        async with httpx.AsyncClient(trust_env=False) as other, asyncio.timeout(20):
            while True:
                try:
                    answer = await other.post(url, content=b"{}", headers=forged)
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
        await client.post(f"/api/v1/webhooks/{webhook['id']}/test")
        await _deliveries(client, webhook, "delivered")
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2)]
    finally:
        process.kill()
        process.communicate()

    assert answer.status_code == 401
    assert lines[0] == "refused"
    assert json.loads(lines[1])["type"] == "webhook.test"
