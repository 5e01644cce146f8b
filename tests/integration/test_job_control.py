"""Jobs in the hands of people: found by what they are, tried again, cancelled; through the HTTP API on real servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from tests.keys import bearer, make_key

from drystone.core.db import Sessions, transaction
from drystone.core.ids import new_id
from drystone.jobs import queries
from drystone.jobs import service as jobs

Work = Callable[[], Awaitable[None]]


async def _send(client: httpx.AsyncClient, collection: str, body: bytes, **fields: str) -> dict[str, Any]:
    answer = await client.post(
        "/api/v1/documents", files={"file": ("a.txt", body)}, data={"collection": collection} | fields
    )
    assert answer.status_code == 202, answer.text
    sent: dict[str, Any] = answer.json()
    return sent


async def _jobs(client: httpx.AsyncClient, **params: Any) -> list[dict[str, Any]]:
    answer = await client.get("/api/v1/jobs", params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def _document(client: httpx.AsyncClient, sent: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/api/v1/documents/{sent['document']['id']}")).json()
    return found


async def _do(sessions: Sessions, sql: str, **values: Any) -> None:
    async with transaction(sessions) as session:
        await session.execute(text(sql), values)


async def test_a_job_shows_its_document_and_how_long_it_has_waited(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    sent = await _send(client, collection, b"A wall.", title="Walls")
    await _do(sessions, "update jobs set run_after = now() - interval '5 minutes'")

    (job,) = await _jobs(client)

    assert job["document"] == {"id": sent["document"]["id"], "name": "a.txt", "title": "Walls"}
    assert (job["collection"], job["lease"], job["attempt"]) == (collection, None, 0)
    assert 300 <= job["waiting_s"] < 400


async def test_a_running_job_shows_its_lease(client: httpx.AsyncClient, collection: str, sessions: Sessions) -> None:
    await _send(client, collection, b"A wall.")
    async with transaction(sessions) as session:
        await queries.claim_next(session, worker="host:1", lease_s=30)

    (job,) = await _jobs(client, state="running")
    stats = (await client.get("/api/v1/jobs/stats")).json()

    assert (job["lease"]["worker"], job["attempt"], job["waiting_s"]) == ("host:1", 1, None)
    assert [running["id"] for running in stats["running"]] == [job["id"]]


async def test_jobs_are_found_by_what_they_are(
    client: httpx.AsyncClient, collection: str, sessions: Sessions, work: Work
) -> None:
    failed = await _send(client, collection, b"\n\n", external_id="blank")
    done = await _send(client, collection, b"A wall.")
    await work()
    other = await _send(client, f"{collection}-b", b"Another wall.")
    await _do(sessions, "update jobs set created_at = now() - interval '2 hours' where state = 'failed'")

    async def ids(**params: Any) -> list[str]:
        return [job["id"] for job in await _jobs(client, **params)]

    assert await ids() == [other["job_id"], done["job_id"], failed["job_id"]]
    assert await ids(state="failed") == [failed["job_id"]]
    assert await ids(state=["failed", "queued"]) == [other["job_id"], failed["job_id"]]
    assert await ids(reason="document.no_text") == [failed["job_id"]]
    assert await ids(reason="document.*") == [failed["job_id"]]
    assert await ids(reason="document.no_*") == [failed["job_id"]]
    assert await ids(reason="document%") == await ids(reason="parse.*") == []
    assert await ids(collection=f"{collection}-b") == [other["job_id"]]
    assert await ids(document=done["document"]["id"]) == [done["job_id"]]
    assert await ids(older_than="1h") == [failed["job_id"]]
    assert await ids(newer_than="1h") == [other["job_id"], done["job_id"]]
    assert await ids(ended_after="1h") == [done["job_id"], failed["job_id"]]
    assert await ids(ended_after="2999-01-01") == []
    assert await ids(min_attempt=1) == [done["job_id"], failed["job_id"]]
    assert await ids(kind="documents.purge") == []
    assert len(await ids(kind="documents.*")) == len(await ids())
    assert await ids(kind="webhooks.*") == []


@pytest.mark.parametrize(
    "given", ["soon", "740000d", "0001-01-01T00:00:00+00:01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
)
@pytest.mark.parametrize("name", ["older_than", "newer_than", "ended_after"])
async def test_a_time_that_is_none_is_told(client: httpx.AsyncClient, name: str, given: str) -> None:
    answer = await client.get("/api/v1/jobs", params={name: given})

    assert (answer.status_code, answer.json()["code"]) == (422, "request.bad_time")


async def test_a_failed_job_is_tried_again_on_the_same_row(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    sent = await _send(client, collection, b"\n\n")
    await work()
    retried = await client.post(f"/api/v1/jobs/{sent['job_id']}/retry")
    pending = await _document(client, sent)
    await work()

    assert (retried.status_code, retried.json()["state"], retried.json()["error"]) == (200, "queued", None)
    assert (pending["state"], pending["error"]) == ("pending", None)
    (job,) = await _jobs(client)
    assert (job["id"], job["state"], job["attempt"]) == (sent["job_id"], "failed", 2)
    assert (await _document(client, sent))["error"]["code"] == "document.no_text"
    async with transaction(sessions) as session:
        audited = list(await session.scalars(text("select action from audit where subject_kind = 'job'")))
        told = list(await session.scalars(text("select kind from events where subject_kind = 'document' order by id")))
    assert audited == ["job.retry"]
    assert told == ["document.received", "document.failed", "job.retrying", "document.failed"]


async def test_a_retry_is_refused_where_it_would_undo_something(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    old = await _send(client, collection, b"\n\n", external_id="a")
    deleted = await _send(client, collection, b"\n\n", external_id="b")
    bad = await _send(client, collection, b"\n\n", external_id="c")
    done = await _send(client, collection, b"A wall.", external_id="d")
    await work()
    await _send(client, collection, b"Words now.", external_id="a")
    await client.delete(f"/api/v1/documents/{deleted['document']['id']}")
    await _do(sessions, "update jobs set error_code = 'document.quarantined' where id = :id", id=bad["job_id"])

    answers = [await client.post(f"/api/v1/jobs/{sent['job_id']}/retry") for sent in (old, deleted, bad, done)]
    forced = await client.post(f"/api/v1/jobs/{bad['job_id']}/retry", json={"force": True})

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (409, "job.superseded"),
        (409, "job.subject_deleted"),
        (409, "job.quarantined"),
        (409, "job.other_state"),
    ]
    assert (forced.status_code, forced.json()["state"]) == (200, "queued")


async def test_many_are_retried_by_reason_after_a_look(client: httpx.AsyncClient, collection: str, work: Work) -> None:
    sent = [await _send(client, collection, b"\n\n", external_id=str(number)) for number in range(3)]
    await _send(client, collection, b"Words.")
    await work()
    await client.delete(f"/api/v1/documents/{sent[0]['document']['id']}")

    looked = (await client.post("/api/v1/jobs/retry", json={"reason": "document.*", "dry_run": True})).json()
    still = await _jobs(client, state="failed")
    done = (await client.post("/api/v1/jobs/retry", json={"reason": "document.*"})).json()
    queued = await _jobs(client, state="queued", kind="documents.ingest")

    assert (looked["jobs"], looked["refused"], looked["more"]) == (2, {"job.subject_deleted": 1}, False)
    assert len(still) == 3
    assert done == looked | {"dry_run": False}
    assert len(queued) == 2


async def test_nothing_chosen_is_not_everything(client: httpx.AsyncClient) -> None:
    answers = [await client.post(f"/api/v1/jobs/{verb}", json={}) for verb in ("retry", "cancel")]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(422, "job.nothing_chosen")] * 2


async def test_a_queued_job_is_cancelled_at_once_and_can_be_retried(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    sent = await _send(client, collection, b"A wall.")
    cancelled = await client.post(f"/api/v1/jobs/{sent['job_id']}/cancel")
    await work()
    document = await _document(client, sent)
    again = await client.post(f"/api/v1/jobs/{sent['job_id']}/cancel")
    await client.post(f"/api/v1/jobs/{sent['job_id']}/retry")
    await work()

    assert (cancelled.json()["state"], cancelled.json()["error"]["code"]) == ("cancelled", "job.cancelled")
    assert (document["state"], document["error"]["code"]) == ("failed", "job.cancelled")
    assert document["error"]["hint"]
    assert (again.status_code, again.json()["code"]) == (409, "job.other_state")
    assert (await _document(client, sent))["state"] == "ready"


async def test_the_worker_of_a_cancelled_job_loses_it_and_its_late_end_changes_nothing(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    sent = await _send(client, collection, b"A wall.")
    async with transaction(sessions) as session:
        claim = await queries.claim_next(session, worker="host:1", lease_s=30)
    assert claim is not None
    await client.post(f"/api/v1/jobs/{sent['job_id']}/cancel")

    async with transaction(sessions) as session:
        assert not await queries.heartbeat(session, {claim.job_id: claim.attempt}, lease_s=30)
        assert not await queries.lock_held(session, claim.job_id, claim.attempt)
    with pytest.raises(jobs.LostLease):
        async with transaction(sessions) as session:
            await jobs.finish(session, claim)
    assert (await _document(client, sent))["error"]["code"] == "job.cancelled"


async def test_what_clears_away_deleted_documents_is_not_cancelled(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    sent = await _send(client, collection, b"A wall.")
    await work()
    await client.delete(f"/api/v1/documents/{sent['document']['id']}")
    (purge,) = await _jobs(client, kind="documents.purge")

    answer = await client.post(f"/api/v1/jobs/{purge['id']}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "job.not_cancellable")


async def test_the_queue_tells_its_depth_its_age_and_its_pace(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    for number in range(4):
        await _send(client, collection, f"Wall {number}.".encode())
    await work()
    await _send(client, collection, b"One more wall.")
    await _do(sessions, "update jobs set run_after = now() - interval '90 s' where state = 'queued'")
    await _do(sessions, "update jobs set finished_at = now() - interval '100 s' where state = 'done'")

    stats = (await client.get("/api/v1/jobs/stats")).json()

    assert (stats["due"], stats["later"], stats["done_recently"]) == (1, 0, 4)
    assert 90 <= stats["oldest_s"] < 190
    assert stats["counts"] == [{"kind": "documents.ingest", "state": "queued", "jobs": 1}]
    assert stats["recent_s"] == 300
    assert stats["jobs_per_s"] == 0.04  # 4 jobs in 100 s
    assert 24 <= stats["empty_in_s"] < 30  # one job at that pace takes 25 s


async def test_a_running_job_tells_how_far_its_document_has_come(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    sent = await _send(client, collection, b"A long wall.")
    job_id = sent["job_id"]
    await _do(
        sessions, "update jobs set state = 'running', started_at = now(), worker = 'a:1' where id = :id", id=job_id
    )
    before = (await client.get(f"/api/v1/jobs/{job_id}")).json()["progress"]
    for done in (600, 1240):
        await _do(
            sessions,
            "insert into events (workspace_id, kind, subject_kind, subject_id, data) select workspace_id, "
            "'document.progress', 'document', id, jsonb_build_object('done', cast(:done as int), 'total', 8000) "
            "from documents where id = :id",
            id=sent["document"]["id"],
            done=done,
        )

    shown = (await client.get(f"/api/v1/jobs/{job_id}")).json()["progress"]
    (running,) = (await client.get("/api/v1/jobs/stats")).json()["running"]
    await _do(sessions, "update jobs set started_at = now() + interval '1 s' where id = :id", id=job_id)
    again = (await client.get(f"/api/v1/jobs/{job_id}")).json()["progress"]

    assert shown == running["progress"] == {"done": 1240, "total": 8000}
    assert before is again is None


async def test_a_key_of_one_collection_sees_and_changes_no_other_s_jobs(
    client: httpx.AsyncClient, collection: str, owner: Sessions
) -> None:
    mine, theirs = await _send(client, collection, b"Mine."), await _send(client, f"{collection}-b", b"Theirs.")
    collection_id = (await client.get(f"/api/v1/collections/{collection}")).json()["id"]
    headers = bearer(await make_key(owner, collection_ids=[UUID(collection_id)]))

    listed = (await client.get("/api/v1/jobs", headers=headers)).json()["items"]
    answers = [
        await client.get(f"/api/v1/jobs/{theirs['job_id']}", headers=headers),
        await client.post(f"/api/v1/jobs/{theirs['job_id']}/cancel", headers=headers),
    ]
    cancelled = (await client.post("/api/v1/jobs/cancel", json={"all": True}, headers=headers)).json()

    assert [job["id"] for job in listed] == [mine["job_id"]]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert cancelled["ids"] == [mine["job_id"]]


async def test_an_unknown_job_is_not_found(client: httpx.AsyncClient) -> None:
    answers = [await client.post(f"/api/v1/jobs/{new_id()}/{verb}") for verb in ("retry", "cancel")]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(404, "job.not_found")] * 2
