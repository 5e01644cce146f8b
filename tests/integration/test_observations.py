"""Observations on a real PostgreSQL: what a bulk does to raw rows and hours, whoever else writes, and who reaches a month."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as drawn
from hypothesis import strategies as st
from sqlalchemy import text
from tests.keys import make_workspace
from tests.observing import add, counts, make_entity, row

from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Denied, Invalid
from drystone.core.reach import Reach
from drystone.core.settings import Settings
from drystone.observations import adding, months
from drystone.worker.sweep import Sweep

AGAIN = {"max_examples": 25, "deadline": None, "derandomize": True, "database": None}
_UNEQUAL = text("""
with raw as (
    select series_id, date_trunc('hour', observed_at, 'UTC') as hour, workspace_id, cast(count(*) as int) as count,
           sum(value order by observed_at) as sum, min(value), max(value),
           (array_agg(value order by observed_at))[1] as first, (array_agg(value order by observed_at desc))[1] as last
    from observations group by 1, 2, 3
)
(select 'only raw' as which, raw.* from raw except select 'only raw', h.* from observation_hours h)
union all
(select 'only hours', h.* from observation_hours h except select 'only hours', raw.* from raw)
""")


async def unequal(owner: Sessions) -> list[Any]:
    """Hours that are not what the raw rows amount to, to the last bit; and a sign that there are any at all."""
    async with transaction(owner) as session:
        return list((await session.execute(_UNEQUAL)).all())


async def contents(owner: Sessions) -> dict[str, float]:
    """What there is, by time."""
    async with transaction(owner) as session:
        rows = await session.execute(text("select observed_at, value from observations order by observed_at"))
        return {found.observed_at.strftime("%m-%d %H:%M:%S"): found.value for found in rows}


async def test_rows_are_added_once_however_often_they_are_sent(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    sent = [row(pump, f"01-05 {hour:02}:30:00", hour / 7) for hour in range(20)]

    first = await add(sessions, principal, sent)
    second = await add(sessions, principal, sent)

    assert counts(first) == (20, 0, 0, 0, [])
    assert counts(second) == (0, 0, 20, 0, [])
    assert len(await contents(owner)) == 20
    assert await unequal(owner) == []


async def test_another_value_replaces_is_kept_out_or_is_told(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    await add(sessions, principal, [row(pump, "01-05 10:00:00", 1), row(pump, "01-05 10:10:00", 2)])
    changed = [row(pump, "01-05 10:00:00", 1), row(pump, "01-05 10:10:00", 3), row(pump, "01-05 10:20:00", 4)]

    told = await add(sessions, principal, changed, on_conflict="error")
    assert counts(told) == (1, 0, 1, 0, ["observation.differs"])
    assert told.problems[0].row == 2
    kept = await add(sessions, principal, changed, on_conflict="keep")
    assert counts(kept) == (0, 0, 2, 1, [])
    assert (await contents(owner))["01-05 10:10:00"] == 2
    replaced = await add(sessions, principal, changed)
    assert counts(replaced) == (0, 1, 2, 0, [])

    assert list((await contents(owner)).values()) == [1, 3, 4]
    assert await unequal(owner) == []


async def test_a_row_that_says_more_than_its_value_differs_where_that_does(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    plain, with_note = row(pump, "01-05 10:00:00", 1), row(pump, "01-05 10:00:00", 1, attributes={"by": "Ada"})

    assert counts(await add(sessions, principal, [plain])) == (1, 0, 0, 0, [])
    assert counts(await add(sessions, principal, [with_note])) == (0, 1, 0, 0, [])
    assert counts(await add(sessions, principal, [with_note])) == (0, 0, 1, 0, [])
    assert counts(await add(sessions, principal, [plain])) == (0, 1, 0, 0, [])

    async with transaction(owner) as session:
        assert await session.scalar(text("select attributes from observations")) is None


async def test_of_a_key_that_comes_twice_in_a_bulk_one_counts(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    twice = [row(pump, "01-05 10:00:00", 1), row(pump, "01-05 10:00:00", 1), row(pump, "01-05 10:00:00", 2)]

    assert counts(await add(sessions, principal, twice, on_conflict="error")) == (1, 0, 1, 0, ["observation.differs"])
    assert list((await contents(owner)).values()) == [1]
    assert counts(await add(sessions, principal, twice, on_conflict="keep")) == (0, 0, 2, 1, [])
    replaced = await add(sessions, principal, twice)

    assert (replaced.inserted, replaced.replaced, replaced.unchanged) == (0, 2, 1)
    assert list((await contents(owner)).values()) == [2]


async def test_an_entity_goes_by_key_or_id(sessions: Sessions, principal: Principal, owner: Sessions) -> None:
    pump = await make_entity(owner)
    async with transaction(owner) as session:
        its_id = await session.scalar(text("select id from entities where key = :key"), {"key": pump})

    by_key = await add(sessions, principal, [row(pump, "01-05 10:00:00", 1)])
    by_id = await add(
        sessions, principal, [row(str(its_id), "01-05 10:00:00", 1), row(str(its_id).upper(), "01-05 11:00:00", 1)]
    )

    assert counts(by_key) == (1, 0, 0, 0, [])
    assert counts(by_id) == (1, 0, 1, 0, [])
    assert by_id.series == 1


async def test_bad_rows_are_told_and_good_ones_kept(sessions: Sessions, principal: Principal, owner: Sessions) -> None:
    pump = await make_entity(owner)
    await add(sessions, principal, [row(pump, "01-05 09:00:00", 1, unit="°C")])
    evidence = {"version_id": str(uuid4()), "start": 0, "end": 3, "quote_sha256": "0" * 64}
    sent = [
        row(pump, "01-05 10:00:00", 1),
        row("nobody", "01-05 10:00:00", 1),
        row(pump, "01-05 11:00:00", 1, unit="°F"),
        row(pump, "01-05 12:00:00", 1, evidence=evidence),
        row(pump, "01-05 13:00:00", 1, unit="°C"),
        row(pump, "2026-01-05T14:00:00", 1),
    ]

    added = await add(sessions, principal, sent)

    assert (added.inserted, added.unchanged) == (2, 0)
    assert [(problem.row, problem.code) for problem in added.problems] == [
        (2, "observation.unknown_entity"),
        (3, "observation.other_unit"),
        (4, "observation.unknown_version"),
        (6, "observation.no_time_zone"),
    ]
    assert all(problem.fix for problem in added.problems)


@pytest.mark.parametrize(
    "bad",
    [{"entity": "nobody"}, {"unit": "K"}, {"observed_at": "yesterday"}, {"observed_at": "2026-01-05T09:00:00Z"}],
)
async def test_an_atomic_bulk_with_a_bad_row_adds_nothing(
    sessions: Sessions, principal: Principal, owner: Sessions, bad: dict[str, str]
) -> None:
    pump = await make_entity(owner)
    await add(sessions, principal, [row(pump, "01-05 09:00:00", 1, unit="°C")])
    sent = [
        row(pump, "01-05 10:00:00", 1),
        row(pump, "01-05 11:00:00", 2) | bad,
    ]

    with pytest.raises(Invalid) as refused:
        await add(sessions, principal, sent, is_atomic=True, on_conflict="error")

    assert refused.value.code == "observations.refused"
    assert refused.value.values["errors"][0]["pointer"].startswith("/1/")
    assert len(await contents(owner)) == 1
    assert await unequal(owner) == []


async def test_all_that_stands_against_an_atomic_bulk_is_told_at_once(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    await add(sessions, principal, [row(pump, "01-05 09:00:00", 1, unit="°C")])
    gone = {"version_id": str(uuid4()), "start": 0, "end": 1, "quote_sha256": "0" * 64}
    sent = [
        row(pump, "01-05 10:00:00", 1),
        row(pump, "yesterdayT", 1),
        row("nobody", "01-05 10:00:00", 1),
        row(pump, "01-05 11:00:00", 1, unit="K"),
        row(pump, "01-05 12:00:00", 1, evidence=gone),
        row(pump, "01-05 10:00:00", 2),
        row(pump, "01-05 09:00:00", 2),
        row(pump, "01-05 13:00:00", 1, metric="of nobody else", unit="m"),
    ]

    with pytest.raises(Invalid) as refused:
        await add(sessions, principal, sent, is_atomic=True, on_conflict="error")

    told = [int(each["pointer"].split("/")[1]) for each in refused.value.values["errors"]]
    assert told == [1, 2, 3, 4, 5, 6]
    assert refused.value.message.startswith("6 rows cannot be taken, the first is row 2:")
    async with transaction(owner) as session:
        assert await session.scalar(text("select count(*) from series")) == 1, "none is made for what is refused"


async def test_evidence_names_a_version_that_is_there(
    sessions: Sessions, principal: Principal, owner: Sessions, client: Any, collection: str
) -> None:
    pump = await make_entity(owner)
    sent = await client.post(
        "/api/v1/documents", files={"file": ("a.txt", b"It was 21.5 degrees.")}, data={"collection": collection}
    )
    async with transaction(owner) as session:
        version_id = await session.scalar(
            text("select id from versions where document_id = :id"), {"id": UUID(sent.json()["document"]["id"])}
        )
    evidence = {"version_id": str(version_id), "start": 7, "end": 11, "quote_sha256": "ab" * 32}

    added = await add(sessions, principal, [row(pump, "01-05 12:00:00", 21.5, evidence=evidence)])

    assert counts(added) == (1, 0, 0, 0, [])
    async with transaction(owner) as session:
        found = (await session.execute(text("select * from observations"))).one()
    assert (found.evidence_version_id, found.evidence_start, found.evidence_end) == (version_id, 7, 11)
    assert found.evidence_sha256 == bytes.fromhex("ab" * 32)


async def test_a_key_of_some_collections_or_without_write_adds_nothing(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    for scopes, collections in ((frozenset({"read"}), None), (frozenset({"write"}), frozenset({uuid4()}))):
        lesser = Principal(principal.workspace_id, "key:x", scopes, collections)
        with pytest.raises(Denied):
            await add(sessions, lesser, [row(pump, "01-05 10:00:00", 1)])
    assert await contents(owner) == {}


async def test_a_key_that_was_changed_while_the_bulk_came_adds_nothing(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    changed = replace(principal, secret_sha256=b"\1" * 32)

    with pytest.raises(Denied, match="changed"):
        await add(sessions, changed, [row(pump, "01-05 10:00:00", 1)])

    assert await contents(owner) == {}


async def test_a_bulk_is_one_row_of_the_audit_and_one_event(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    sent = [row(pump, f"01-05 10:{minute:02}:00", minute) for minute in range(30)]
    added = await add(sessions, principal, sent, sha256=b"\1" * 32)
    await add(sessions, principal, sent)  # changes nothing, and says nothing

    async with transaction(owner) as session:
        noted = (await session.execute(text("select * from audit where subject_kind = 'bulk'"))).all()
        told = (await session.execute(text("select * from events where kind like 'observations.%'"))).all()

    assert [(each.action, each.subject_id, each.after_sha256) for each in noted] == [
        ("observations.add", added.id, b"\1" * 32)
    ]
    assert noted[0].details | {"inserted": 30, "replaced": 0, "series": 1} == noted[0].details
    assert [(each.kind, each.subject_id) for each in told] == [("observations.added", added.id)]
    assert told[0].data["first"] == "2026-01-05T10:00:00+00:00"


async def test_what_is_deleted_is_gone_from_the_hours_too(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump, other = await make_entity(owner), await make_entity(owner)
    sent = [
        row(each, f"01-05 {h:02}:{m:02}:00", h + m) for each in (pump, other) for h in range(8, 13) for m in (0, 20, 40)
    ]
    await add(sessions, principal, sent)
    async with transaction(owner) as session:
        series_id = await session.scalar(text("select min(id) from series"))

    async with transaction(sessions) as session:
        gone = await adding.delete(
            session,
            principal,
            [series_id],
            datetime(2026, 1, 5, 9, 20, tzinfo=UTC),
            datetime(2026, 1, 5, 11, 20, tzinfo=UTC),
        )

    assert gone == 6
    assert await unequal(owner) == []
    async with transaction(owner) as session:
        kept = await session.scalars(
            text("select hour from observation_hours where series_id = :id order by hour"), {"id": series_id}
        )
        assert [hour.hour for hour in kept] == [8, 9, 11, 12]


@pytest.mark.parametrize(
    ("first", "end"), [("09:00", "11:00"), ("09:20", "11:00"), ("09:00", "11:20"), ("09:00", "09:00")]
)
async def test_what_is_deleted_may_end_with_an_hour(
    sessions: Sessions, principal: Principal, owner: Sessions, first: str, end: str
) -> None:
    pump = await make_entity(owner)
    await add(sessions, principal, [row(pump, f"01-05 {h:02}:{m:02}:00", h + m) for h in range(8, 13) for m in (0, 40)])
    async with transaction(owner) as session:
        series_id = await session.scalar(text("select id from series"))
    ends = [datetime.fromisoformat(f"2026-01-05T{each}:00Z") for each in (first, end)]

    async with transaction(sessions) as session:
        would = await adding.delete(session, principal, [series_id], *ends, is_dry=True)
    there = await contents(owner)
    async with transaction(sessions) as session:
        gone = await adding.delete(session, principal, [series_id], *ends)

    left = await contents(owner)
    assert (would, gone) == (len(there) - len(left),) * 2
    assert left == {at: value for at, value in there.items() if not first <= at[6:11] < end}
    assert await unequal(owner) == []


async def test_months_are_made_by_need_and_hold_what_is_theirs(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    assert counts(await add(sessions, principal, [row(pump, "1955-12-31T23:59:59.5Z", 1)])) == (1, 0, 0, 0, [])
    edges = ["2001-03-01T00:00:00Z", "2001-03-31T23:59:59.999999Z", "2001-04-01T00:00:00Z", "2001-04-01T00:30:00+01:00"]
    added = await add(sessions, principal, [row(pump, at, n) for n, at in enumerate(edges)])

    async with transaction(owner) as session:
        march = await session.scalar(text("select count(*) from observations_2001_03"))
        april = await session.scalar(text("select count(*) from observations_2001_04"))
    assert (counts(added), march, april) == ((4, 0, 0, 0, []), 3, 1)
    assert await unequal(owner) == []


async def test_a_bulk_of_more_months_than_there_may_be_makes_none(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    each_month = [f"{year}-{month:02}-01T00:00:00Z" for year in range(1900, 1961) for month in range(1, 13)]
    async with transaction(owner) as session:
        before = await session.scalar(text("select count(*) from observation_months()"))

    with pytest.raises(Invalid, match="720 months may have some"):
        await add(sessions, principal, [row(pump, at, 1) for at in each_month])

    async with transaction(owner) as session:
        assert await session.scalar(text("select count(*) from observation_months()")) == before


@pytest.mark.parametrize("month", ["2026-11-02", "1899-12-01", "2040-01-01"])
async def test_the_application_makes_no_other_partitions_than_months_within_bounds(
    sessions: Sessions, month: str
) -> None:
    with pytest.raises(Exception, match=r"first day|is not within"):
        async with transaction(sessions) as session:
            await session.execute(text("select make_observation_month(:month)"), {"month": date.fromisoformat(month)})


async def test_many_who_need_the_same_month_make_it_once(sessions: Sessions, owner: Sessions) -> None:
    wanted = [date(1999, month, 1) for month in range(1, 7)]

    await asyncio.gather(*(months.ensure(sessions, wanted) for _ in range(4)))

    async with transaction(owner) as session:
        made = await session.scalar(
            text("select count(*) from observation_months() where extract(year from month) = 1999")
        )
    assert made == 6


async def test_nobody_but_the_owner_reads_a_month_past_its_table(
    sessions: Sessions, principal: Principal, owner: Sessions, settings: Settings
) -> None:
    theirs = await make_workspace(owner)
    stranger = Principal(theirs, "key:x", frozenset({"write"}))
    for who in (principal, stranger):
        entity = await make_entity(owner, "shared-key", workspace_id=who.workspace_id)
        await add(sessions, who, [row(entity, "01-05 10:00:00", 1)])
    engine_url = settings.database.url.get_secret_value()
    connection = await asyncpg.connect(engine_url, server_settings={"drystone.workspace": str(principal.workspace_id)})
    try:
        for table in ("observations", "observation_hours"):
            assert await connection.fetchval(f"select count(*) from {table}") == 1
            for attempt in (
                f"select * from {table}_2026_01",
                f"delete from {table}_2026_01",
                f"drop table {table}_2026_01",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(attempt)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await connection.execute(
                "insert into observations (series_id, observed_at, workspace_id, value) values (1, '2026-01-09', $1, 1)",
                theirs,
            )
    finally:
        await connection.close()
    async with transaction(owner) as session:
        forced = await session.scalars(
            text(
                "select relname from pg_class join pg_inherits on oid = inhrelid"
                " where relkind = 'r' and not (relrowsecurity and relforcerowsecurity)"
            )
        )
        assert list(forced) == []


async def test_old_months_are_dropped_or_detached_and_no_others(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pump = await make_entity(owner)
    await add(sessions, principal, [row(pump, f"1990-0{month}-01T00:00:00Z", month) for month in (1, 2, 3)])

    dropped = await months.end(sessions, date(1990, 2, 1))
    detached = await months.end(sessions, date(1990, 3, 1), is_detached=True)

    assert (dropped[-1], detached) == (date(1990, 1, 1), [date(1990, 2, 1)])
    async with transaction(owner) as session:
        left = list(await session.scalars(text("select value from observations")))
        tables = list(
            await session.scalars(
                text("select relname from pg_class where relname like 'detached%1990%' and relkind = 'r'")
            )
        )
        for table in tables:
            await session.execute(text(f"drop table {table}"))
    assert left == [3]
    assert sorted(table[:28] for table in tables) == ["detached_observation_hours_1", "detached_observations_1990_0"]
    assert await unequal(owner) == []
    with pytest.raises(Exception, match="stay"):
        await months.end(sessions, months.later(months.month_of(datetime.now(UTC)), 1))


def test_months_are_counted_back_over_the_turn_of_a_year() -> None:
    assert months.later(date(2026, 1, 1), -1) == date(2025, 12, 1)
    assert months.later(date(2026, 11, 1), 2) == date(2027, 1, 1)
    now = datetime(2026, 2, 28, 23, tzinfo=UTC)
    assert months.first_kept(1, now) == date(2026, 2, 1)
    assert months.first_kept(3, now) == date(2025, 12, 1)
    assert months.first_kept(0, now) is None


# From half past: bounds that are drawn often lie on an hour, where the hour after them stays as it is.
_MINUTES = st.integers(0, 5 * 60) | st.sampled_from(range(30, 5 * 60, 60))
_VALUES = st.floats(-1e9, 1e9, allow_nan=False) | st.sampled_from([0.1, -0.0, 1e300, -1e300, 5e-324])
_ROWS = st.lists(st.tuples(st.integers(0, 2), _MINUTES, _VALUES), max_size=25)
_BULKS = st.lists(
    st.tuples(_ROWS, st.sampled_from(["replace", "keep", "error"])) | st.tuples(st.integers(0, 2), _MINUTES, _MINUTES),
    min_size=1,
    max_size=8,
)


@pytest.mark.timeout(600)
async def test_hours_are_what_the_raw_rows_amount_to_whoever_wrote_at_the_same_time(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    """Bulks and deletions, drawn by chance, of three series, all at once; late, twice and against each other."""
    entities = [await make_entity(owner) for _ in range(3)]
    start = datetime(2026, 1, 31, 21, 30, tzinfo=UTC)  # so that a month ends within
    await add(sessions, principal, [row(each, start.isoformat(), 0) for each in entities])
    async with transaction(owner) as session:
        ids = list(await session.scalars(text("select id from series order by id")))

    async def one(bulk: Any) -> None:
        if len(bulk) == 2:
            rows = [
                row(entities[which], (start + timedelta(minutes=at)).isoformat(), value) for which, at, value in bulk[0]
            ]
            await add(sessions, principal, rows, on_conflict=bulk[1])
            return
        which, one_end, other_end = bulk
        ends = sorted(start + timedelta(minutes=at) for at in (one_end, other_end))
        async with transaction(sessions) as session:
            await adding.delete(session, principal, [ids[which]], *ends)

    async def draw(bulks: Any) -> list[Any]:
        await asyncio.gather(*map(one, bulks))
        return await unequal(owner)

    loop = asyncio.get_running_loop()

    @drawn(**AGAIN, suppress_health_check=list(HealthCheck))  # type: ignore[arg-type]
    @given(_BULKS)
    def holds(bulks: Any) -> None:
        assert asyncio.run_coroutine_threadsafe(draw(bulks), loop).result(60) == []

    await asyncio.to_thread(holds)
    async with transaction(owner) as session:
        assert await session.scalar(text("select count(*) from observation_hours")) > 0


async def test_two_who_write_the_same_series_at_once_wait_for_each_other(
    sessions: Sessions, principal: Principal, owner: Sessions
) -> None:
    pumps = [await make_entity(owner) for _ in range(4)]

    def bulk(n: int) -> list[dict[str, Any]]:
        order = pumps if n % 2 else pumps[::-1]
        return [row(each, f"01-05 10:{n:02}:{second:02}", n) for each in order for second in range(5)]

    done = await asyncio.gather(*(add(sessions, principal, bulk(n)) for n in range(16)))

    assert [counts(each) for each in done] == [(20, 0, 0, 0, [])] * 16
    assert await unequal(owner) == []
    async with transaction(owner) as session:
        assert await session.scalar(text("select count(*) from series")) == 4
        assert set(await session.scalars(text("select count from observation_hours"))) == {80}


async def test_a_reach_of_another_workspace_sees_none_of_it(
    sessions: Sessions, principal: Principal, owner: Sessions, settings: Settings
) -> None:
    pump = await make_entity(owner)
    await add(sessions, principal, [row(pump, "01-05 10:00:00", 1)])

    async with transaction(sessions.within(Reach(uuid4()))) as session:
        for table in ("series", "observations", "observation_hours"):
            assert await session.scalar(text(f"select count(*) from {table}")) == 0


async def test_the_worker_has_the_next_months_ready_and_ends_those_that_are_not_kept(
    sessions: Sessions, principal: Principal, owner: Sessions, settings: Settings
) -> None:
    pump = await make_entity(owner)
    await add(sessions, principal, [row(pump, "1980-05-01T00:00:00Z", 1), row(pump, "01-05 10:00:00", 2)])
    kept = settings.observations.model_copy(update={"keep_months": 40 * 12})
    now = months.month_of(datetime.now(UTC))

    await Sweep(settings.model_copy(update={"observations": kept}), threading.Event())._turn_months(sessions)

    async with transaction(owner) as session:
        there = set(await session.scalars(text("select month from observation_months()")))
    assert {now, months.later(now, 1), months.later(now, 2)} <= there
    assert min(there) >= months.later(now, 1 - 40 * 12)
    assert list((await contents(owner)).values()) == [2]
