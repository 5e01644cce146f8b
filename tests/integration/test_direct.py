"""Direct uploads: into the store by the sender, checked by hash before anything is kept; nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from drystone.access.service import Principal
from drystone.adapters.incoming import Incoming
from drystone.adapters.objects import Objects
from drystone.adapters.signing import presign
from drystone.core.clock import utc_now
from drystone.core.db import Sessions, transaction
from drystone.core.errors import NotFound
from drystone.core.settings import S3Settings
from drystone.core.spool import Spool
from drystone.documents import direct
from drystone.documents.receiving import Received
from drystone.resources import Resources

Work = Callable[[], Awaitable[None]]
BODY = b"The heron stands in shallow water.\r\n"


@pytest.fixture
def incoming(s3: S3Settings) -> Incoming:
    return Incoming(Objects.open_s3(s3), s3)


async def _put(url: str, body: bytes) -> int:
    async with httpx.AsyncClient(trust_env=False) as sender:
        return (await sender.put(url, content=body)).status_code


async def _announce(client: httpx.AsyncClient, body: bytes = BODY, **said: Any) -> dict[str, Any]:
    announced = await client.post(
        "/api/v1/uploads",
        json={"name": "a.txt", "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), **said},
    )
    assert announced.status_code == 201, announced.text
    answer: dict[str, Any] = announced.json()
    return answer


async def _there(incoming: Incoming) -> set[UUID]:
    return {arrived.upload_id async for arrived in incoming.list()}


async def test_what_was_put_is_received_as_any_upload_and_leaves_nothing(
    client: httpx.AsyncClient, work: Work, collection: str, resources: Resources
) -> None:
    said: dict[str, Any] = {"collection": collection, "external_id": "x", "attributes": {"year": 1962}}
    announced = await _announce(client, **said)
    put = await _put(announced["url"], BODY)
    complete = f"/api/v1/uploads/{announced['id']}/complete"

    done = await client.post(complete)
    again = await client.post(complete)
    by_form = await client.post(
        "/api/v1/documents",
        files={"file": ("a.txt", BODY)},
        data={"collection": collection, "external_id": "x", "attributes": '{"year": 1962}'},
    )
    await work()
    document = (await client.get(done.headers["location"])).json()

    assert (put, done.status_code, again.status_code, by_form.status_code) == (200, 202, 200, 200)
    assert {a.json()["document"]["id"] for a in (done, again, by_form)} == {document["id"]}
    assert (document["state"], document["version"], document["attributes"]) == ("ready", 1, {"year": 1962})
    assert UUID(announced["id"]) not in await _there(resources.incoming)


async def test_other_bytes_are_refused_and_removed_and_the_right_ones_may_follow(
    client: httpx.AsyncClient, collection: str, resources: Resources, sessions: Sessions
) -> None:
    announced = await _announce(client, collection=collection)
    complete = f"/api/v1/uploads/{announced['id']}/complete"
    too_early = await client.post(complete)
    await _put(announced["url"], BODY.swapcase())

    refused = await client.post(complete)
    there = await _there(resources.incoming)
    async with transaction(sessions) as session:
        documents = await session.scalar(text("select count(*) from documents"))
    await _put(announced["url"], BODY)
    done = await client.post(complete)

    assert (too_early.status_code, too_early.json()["code"]) == (409, "upload.not_there")
    assert (refused.status_code, refused.json()["code"]) == (422, "upload.mismatch")
    assert (UUID(announced["id"]) in there, documents) == (False, 0)
    assert done.status_code == 202


async def test_parallel_completions_give_one_document(client: httpx.AsyncClient, collection: str) -> None:
    announced = await _announce(client, collection=collection)
    await _put(announced["url"], BODY)

    answers = await asyncio.gather(*(client.post(f"/api/v1/uploads/{announced['id']}/complete") for _ in range(4)))

    assert sorted(a.status_code for a in answers) == [200, 200, 200, 202]
    assert len({a.json()["document"]["id"] for a in answers}) == 1


class _Halted(Incoming):
    """Reads what was put, then waits until it may go on."""

    def __init__(self, objects: Objects, settings: S3Settings) -> None:
        super().__init__(objects, settings)
        self.fetched, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def fetch(self, upload_id: UUID, spool: Spool, *, max_bytes: int) -> None:
        await super().fetch(upload_id, spool, max_bytes=max_bytes)
        self.fetched.set()
        await self.may_go_on.wait()


def _receiver(resources: Resources, incoming: Incoming) -> direct.Receiver:
    return direct.Receiver(
        sessions=resources.sessions,
        objects=resources.objects,
        incoming=incoming,
        nudger=resources.nudger,
        space=resources.space,
        admission=resources.admission,
    )


@pytest.mark.parametrize("external_id", [None, "x"])
async def test_a_completion_that_comes_late_neither_brings_back_nor_rolls_back(
    client: httpx.AsyncClient,
    collection: str,
    resources: Resources,
    principal: Principal,
    sessions: Sessions,
    external_id: str | None,
) -> None:
    said: dict[str, Any] = {"collection": collection} | ({"external_id": external_id} if external_id else {})
    announced = await _announce(client, **said)
    await _put(announced["url"], BODY)
    halted = _Halted(resources.objects, resources.settings.s3)
    upload_id = UUID(announced["id"])
    late = asyncio.create_task(direct.complete(_receiver(resources, halted), principal, upload_id))
    await halted.fetched.wait()
    first = await client.post(f"/api/v1/uploads/{upload_id}/complete")
    if external_id:
        await client.post("/api/v1/documents", files={"file": ("a.txt", b"Newer.")}, data=said)
    else:
        await client.delete(first.headers["location"])
    halted.may_go_on.set()
    outcome = (await asyncio.gather(late, return_exceptions=True))[0]
    async with transaction(sessions) as session:
        documents = await session.scalar(text("select count(*) from documents"))
    page = (await client.get("/api/v1/documents", params={"collection": collection})).json()

    assert documents == 1
    if external_id:
        assert isinstance(outcome, Received)
        assert (str(outcome.document.document.id), outcome.job_id) == (first.json()["document"]["id"], None)
        assert [item["version"] for item in page["items"]] == [2]
    else:
        assert isinstance(outcome, NotFound)
        assert (outcome.code, page["items"]) == ("document.not_found", [])


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"size_bytes": 0}, 422),
        ({"size_bytes": 10**12}, 413),
        ({"sha256": "abc"}, 422),
        ({"name": ""}, 422),
        ({"attributes": {"a": "\0"}}, 422),
        ({"extra": 1}, 422),
        ({"collection": "../x"}, 422),
        ({"collection": "x" * 129}, 422),
        ({"title": "x" * 2001}, 422),
        ({"size_bytes": 2**63}, 422),
        ({"collection": str(uuid4())}, 422),
        ({"media_type": "image/png"}, 415),
        ({"name": "a.mbox"}, 415),
    ],
)
async def test_a_wrong_announcement_is_refused(client: httpx.AsyncClient, wrong: dict[str, Any], status: int) -> None:
    body = {"name": "a.txt", "size_bytes": 5, "sha256": "0" * 64, **wrong}

    assert (await client.post("/api/v1/uploads", json=body)).status_code == status


async def test_an_expired_announcement_is_gone_and_so_is_what_was_put(
    client: httpx.AsyncClient, collection: str, resources: Resources, sessions: Sessions
) -> None:
    announced, live = await _announce(client, collection=collection), await _announce(client, collection=collection)
    for each in (announced, live):
        await _put(each["url"], BODY)
    async with transaction(sessions) as session:
        await session.execute(
            text("update direct_uploads set expires_at = now() - interval '1 s' where id = :id"),
            {"id": announced["id"]},
        )

    late = await client.post(f"/api/v1/uploads/{announced['id']}/complete")
    await direct.sweep(sessions, resources.incoming, older_than_s=-5)
    there = await _there(resources.incoming)

    assert (late.status_code, late.json()["code"]) == (404, "upload.not_found")
    assert (UUID(announced["id"]) in there, UUID(live["id"]) in there) == (False, True)


async def test_a_signed_url_takes_the_announced_bytes_and_no_other_request(incoming: Incoming, s3: S3Settings) -> None:
    upload_id = uuid4()
    url = incoming.url(upload_id, size_bytes=10, expires_s=60)
    async with httpx.AsyncClient(trust_env=False) as sender:
        answers = {
            "other length": (await sender.put(url, content=b"x" * 11)).status_code,
            "other method": (await sender.get(url)).status_code,
            "other object": (
                await sender.put(url.replace(str(upload_id), str(uuid4())), content=b"x" * 10)
            ).status_code,
            "unsigned read": (await sender.get(url.split("?")[0])).status_code,
            "unsigned list": (await sender.get(f"{s3.endpoint_url}/{s3.bucket}")).status_code,
        }
        expired = presign(
            s3,
            "PUT",
            f"incoming/{upload_id}",
            now=datetime.fromtimestamp(utc_now().timestamp() - 120, utc_now().tzinfo),
            expires_s=60,
        )
        answers["expired"] = (await sender.put(expired, content=b"x" * 10)).status_code
        right = (await sender.put(url, content=b"x" * 10)).status_code

    assert answers == dict.fromkeys(answers, 403)
    assert right == 200


async def test_an_upload_in_parts_that_nobody_finishes_is_ended(incoming: Incoming, s3: S3Settings) -> None:
    key = f"sha256/00/{os.urandom(32).hex()}"
    async with httpx.AsyncClient(trust_env=False) as sender:
        begun = await sender.post(presign(s3, "POST", key, now=utc_now(), expires_s=60, query={"uploads": ""}))
        upload_id = begun.text.partition("<UploadId>")[2].partition("</UploadId>")[0]
        part = presign(s3, "PUT", key, now=utc_now(), expires_s=60, query={"partNumber": "1", "uploadId": upload_id})
        before = (await sender.put(part, content=b"x" * 1000)).status_code

        young = await incoming.end_abandoned(older_than_s=3600)
        ended = await incoming.end_abandoned(older_than_s=-5)
        after = (await sender.put(part, content=b"x" * 1000)).status_code

    assert (before, young) == (200, 0)
    assert ended >= 1
    assert after == 404
