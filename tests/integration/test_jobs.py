"""The ledger: claims are exclusive, late writers are fenced, what is lost comes back."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from drystone.access.service import default_workspace
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Invalid
from drystone.jobs import events, queries
from drystone.jobs import service as jobs
from drystone.jobs.queries import Claim
from drystone.resources import Resources


async def _enqueue(resources: Resources, sessions: Sessions, kind: str = "tests.none") -> UUID:
    async with transaction(sessions) as session:
        return await jobs.enqueue(
            session,
            resources.nudger,
            kind=kind,
            subject_id=uuid4(),
            workspace_id=await default_workspace(session),
        )


async def _claim(sessions: Sessions, worker: str = "host:1", lease_s: int = 30) -> Claim | None:
    async with transaction(sessions) as session:
        return await queries.claim_next(session, worker=worker, lease_s=lease_s)


async def _state(sessions: Sessions, job_id: UUID) -> tuple[str, int, int, str | None]:
    async with transaction(sessions) as session:
        row = (
            await session.execute(
                text("select state, attempt, lost_tries, error_code from jobs where id = :id"), {"id": job_id}
            )
        ).one()
    return tuple(row)


async def _expire(sessions: Sessions, job_id: UUID) -> None:
    async with transaction(sessions) as session:
        await session.execute(
            text("update jobs set lease_until = clock_timestamp() - interval '1 s' where id = :id"), {"id": job_id}
        )


async def test_of_many_claimants_one_gets_the_job(resources: Resources, sessions: Sessions) -> None:
    job_id = await _enqueue(resources, sessions)

    claims = await asyncio.gather(*(_claim(sessions, f"host:{i}") for i in range(5)))

    assert [claim.job_id for claim in claims if claim] == [job_id]


async def test_a_rolled_back_transaction_leaves_no_job(resources: Resources, sessions: Sessions) -> None:
    async with sessions.make() as session:
        await session.begin()
        await jobs.enqueue(
            session,
            resources.nudger,
            kind="tests.none",
            subject_id=uuid4(),
            workspace_id=await default_workspace(session),
        )
        await session.rollback()

    assert await _claim(sessions) is None


async def test_an_expired_lease_gives_the_job_to_another_and_fences_the_first(
    resources: Resources, sessions: Sessions
) -> None:
    job_id = await _enqueue(resources, sessions)
    first = await _claim(sessions, "host:1")
    assert first is not None
    await _expire(sessions, job_id)
    async with transaction(sessions) as session:
        returned = await queries.return_expired(session)
    second = await _claim(sessions, "host:2")

    assert [row.id for row in returned] == [job_id]
    assert second is not None
    assert second.attempt == first.attempt + 1
    with pytest.raises(jobs.LostLease):
        async with transaction(sessions) as session:
            await jobs.finish(session, first)
    async with transaction(sessions) as session:
        assert not await queries.heartbeat(session, {job_id: first.attempt}, lease_s=30)
        assert await queries.heartbeat(session, {job_id: second.attempt}, lease_s=30)
        await jobs.finish(session, second)
    assert (
        await _state(sessions, job_id) == ("done", 2, 1, "worker.lost") or (await _state(sessions, job_id))[0] == "done"
    )


async def test_a_lease_that_is_beaten_does_not_expire(resources: Resources, sessions: Sessions) -> None:
    await _enqueue(resources, sessions)
    claim = await _claim(sessions, lease_s=1)
    assert claim is not None
    async with transaction(sessions) as session:
        await queries.heartbeat(session, {claim.job_id: claim.attempt}, lease_s=60)
    async with transaction(sessions) as session:
        await session.execute(text("select pg_sleep(1.1)"))
        assert await queries.return_expired(session) == []


async def test_the_wait_grows_with_every_loss(resources: Resources, sessions: Sessions) -> None:
    job_id = await _enqueue(resources, sessions)
    waits = []
    for _ in range(4):
        async with transaction(sessions) as session:
            await session.execute(text("update jobs set run_after = now() where id = :id"), {"id": job_id})
        assert await _claim(sessions) is not None
        await _expire(sessions, job_id)
        async with transaction(sessions) as session:
            await queries.return_expired(session)
            seconds = await session.scalar(
                text("select extract(epoch from run_after - clock_timestamp()) from jobs where id = :id"),
                {"id": job_id},
            )
        waits.append(round(float(seconds)))

    assert waits == [0, 1, 3, 7]  # 2^n - 1


async def test_a_failed_job_says_why_and_is_not_taken_again(resources: Resources, sessions: Sessions) -> None:
    job_id = await _enqueue(resources, sessions)
    claim = await _claim(sessions)
    assert claim is not None
    async with transaction(sessions) as session:
        await jobs.fail(session, claim, Invalid("document.no_text", "There is no text in it.", hint="run OCR first"))

    assert await _state(sessions, job_id) == ("failed", 1, 0, "document.no_text")
    assert await _claim(sessions) is None


async def test_what_nobody_took_is_offered_again_once(resources: Resources, sessions: Sessions) -> None:
    job_id = await _enqueue(resources, sessions)
    async with transaction(sessions) as session:
        await session.execute(text("update jobs set offered_at = now() - interval '1 minute'"))
    async with transaction(sessions) as session:
        first = await queries.take_unoffered(session, older_than_s=30, limit=10)
    async with transaction(sessions) as session:
        second = await queries.take_unoffered(session, older_than_s=30, limit=10)

    assert (first, second) == ([job_id], [])


async def test_a_job_given_back_waits_and_then_comes_again(resources: Resources, sessions: Sessions) -> None:
    job_id = await _enqueue(resources, sessions)
    claim = await _claim(sessions)
    assert claim is not None
    async with transaction(sessions) as session:
        assert await queries.release(session, job_id, claim.attempt, delay_s=60, transient=True)

    assert await _claim(sessions) is None
    async with transaction(sessions) as session:
        await session.execute(text("update jobs set run_after = now()"))
    again = await _claim(sessions)
    assert again is not None
    assert (again.attempt, again.transient_tries, again.poison_tries) == (2, 1, 0)


async def test_jobs_of_a_vanished_process_come_back_at_once(resources: Resources, sessions: Sessions) -> None:
    await _enqueue(resources, sessions)
    await _claim(sessions, worker="here:123")
    async with transaction(sessions) as session:
        workers = await jobs.workers_with_jobs(session, "here")
        released = await jobs.release_of_worker(session, "here:123")

    assert (workers, released) == (["here:123"], 1)
    assert await _claim(sessions) is not None


async def test_a_job_whose_worker_vanishes_again_and_again_waits_longer_and_is_counted(
    resources: Resources, sessions: Sessions
) -> None:
    await _enqueue(resources, sessions)
    lost, waits = [], []
    for _ in range(3):
        claim = await _claim(sessions, worker="here:123")
        assert claim is not None
        lost.append(claim.lost_tries)
        async with transaction(sessions) as session:
            await jobs.release_of_worker(session, "here:123", vanished=True)
            waits.append(
                await session.scalar(text("select extract(epoch from run_after - clock_timestamp()) from jobs"))
            )
            await session.execute(text("update jobs set run_after = clock_timestamp()"))

    assert lost == [0, 1, 2]
    assert [round(float(wait)) for wait in waits] == [0, 1, 3]


async def test_what_a_process_has_in_hand_is_not_given_back(resources: Resources, sessions: Sessions) -> None:
    await _enqueue(resources, sessions)
    await _enqueue(resources, sessions)
    in_hand, forgotten = await _claim(sessions, worker="here:123"), await _claim(sessions, worker="here:123")
    assert in_hand is not None
    assert forgotten is not None
    async with transaction(sessions) as session:
        assert await jobs.release_of_worker(session, "here:123", but={in_hand.job_id}) == 1

    again = await _claim(sessions)
    assert again is not None
    assert again.job_id == forgotten.job_id


async def test_a_check_is_left_to_its_message(resources: Resources, sessions: Sessions) -> None:
    job_id = await _enqueue(resources, sessions, kind="checks.echo")

    assert await _claim(sessions) is None
    async with transaction(sessions) as session:
        assert await queries.claim_check(session, job_id, worker="host:1", lease_s=30) is not None


async def test_a_reader_of_events_never_skips_a_late_commit(resources: Resources, sessions: Sessions) -> None:
    subject = uuid4()
    async with sessions.make() as slow:
        await slow.begin()
        workspace_id = await default_workspace(slow)
        await events.emit(slow, workspace_id, "late", "test", subject)  # lower id, committed last
        async with transaction(sessions) as quick:
            await events.emit(quick, workspace_id, "early", "test", subject)
        async with transaction(sessions) as reader:
            before = await events.read_after(reader, workspace_id)
        await slow.commit()
    assert [row.kind for row in before] == [], "what is above a running transaction is not shown yet"
    async with asyncio.timeout(60):
        while True:  # transactions of the server's other databases hold it back as well: other tests have some
            async with transaction(sessions) as reader:
                if after := await events.read_after(reader, workspace_id):
                    break
            await asyncio.sleep(0.05)
    assert [row.kind for row in after] == ["late", "early"]
