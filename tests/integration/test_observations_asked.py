"""Observations as they are asked for over HTTP: raw, latest, in buckets, as rates and moving averages, and how PostgreSQL
goes to them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import event, text
from tests.keys import bearer, make_key
from tests.observing import add, make_entity, row

from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.reach import Reach
from drystone.observations import reading, selects
from drystone.observations.reading import Choice, Span

A = "/api/v1"


async def ask(client: httpx.AsyncClient, path: str, **given: Any) -> dict[str, Any]:
    answer = await client.get(f"{A}{path}", params={name.rstrip("_"): value for name, value in given.items()})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
async def pump(client: httpx.AsyncClient, owner: Sessions) -> str:
    return await make_entity(owner)


async def send(client: httpx.AsyncClient, rows: Sequence[dict[str, Any]], **query: Any) -> dict[str, Any]:
    answer = await client.post(f"{A}/observations", json=list(rows), params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_bulk_comes_as_json_ndjson_or_csv(client: httpx.AsyncClient, pump: str) -> None:
    rows = [row(pump, "01-05 10:00:00", 1), row(pump, "01-05 11:00:00", 2)]
    bodies = {
        "application/json; charset=utf-8": json.dumps(rows),
        "application/x-ndjson": "\n".join(map(json.dumps, rows)),
        "text/csv": "entity,metric,observed_at,value\n"
        + "".join(f"{each['entity']},temperature,{each['observed_at']},{each['value']}\n" for each in rows),
    }

    answers = [
        (await client.post(f"{A}/observations", content=body, headers={"Content-Type": kind})).json()
        for kind, body in bodies.items()
    ]

    assert [(each["inserted"], each["unchanged"], each["refused"]) for each in answers] == [
        (2, 0, 0),
        (0, 2, 0),
        (0, 2, 0),
    ]


async def test_each_wrong_row_is_told_and_an_atomic_bulk_is_refused(client: httpx.AsyncClient, pump: str) -> None:
    rows = [row(pump, "01-05 10:00:00", 1), row("nobody", "01-05 10:00:00", 1), {"entity": pump}]

    told = await send(client, rows)
    refused = await client.post(f"{A}/observations", json=rows, params={"atomic": "true"})

    assert (told["inserted"], told["refused"]) == (1, 2)
    assert [(each["row"], each["code"]) for each in told["errors"]] == [
        (2, "observation.unknown_entity"),
        (3, "observation.invalid"),
    ]
    assert (refused.status_code, refused.json()["code"]) == (422, "observations.refused")
    assert [each["pointer"] for each in refused.json()["errors"]] == ["/1/entity", "/2/metric"]


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("text/plain", "x", 415, "observations.unsupported_type"),
        ("application/json; charset=latin-1", "[]", 415, "request.bad_encoding"),
        ("application/json", "{", 422, "request.not_json"),
        ("text/csv", "a,b\n", 422, "observations.bad_header"),
        ("application/json", " " * ((8 << 20) + 1), 413, "observations.too_large"),
        ("application/x-ndjson", "{}\n" * 100_001, 413, "observations.too_many"),
    ],
)
async def test_what_is_no_bulk_is_refused(
    client: httpx.AsyncClient, kind: str, body: str, status: int, code: str
) -> None:
    answer = await client.post(f"{A}/observations", content=body, headers={"Content-Type": kind})

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_bulk_under_a_key_is_answered_as_the_first_time(client: httpx.AsyncClient, pump: str) -> None:
    rows, headers = [row(pump, "01-05 10:00:00", 1)], {"Idempotency-Key": "k-1"}

    first = await client.post(f"{A}/observations", json=rows, headers=headers)
    again = await client.post(f"{A}/observations", json=rows, headers=headers)

    assert again.json() == first.json()
    assert first.json()["inserted"] == 1
    assert again.headers["idempotent-replayed"] == "true"


async def test_raw_rows_are_paged_by_time_over_all_series(
    client: httpx.AsyncClient, owner: Sessions, pump: str
) -> None:
    other = await make_entity(owner)
    sent = [row(each, f"01-05 10:{minute:02}:00", minute) for minute in range(7) for each in (pump, other)]
    sent += [row(pump, "03-01 00:00:00", 99)]
    await send(client, sent)

    for order in ("oldest", "newest"):
        seen, cursor = [], None
        while True:
            given = {"limit": 4, "order": order} | ({"cursor": cursor} if cursor else {})
            page = await ask(client, "/observations", **given)
            seen += [(each["observed_at"], each["entity"], each["value"]) for each in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        times = [at for at, _, _ in seen]
        assert times == sorted(times, reverse=order == "newest")
        assert len(seen) == len(set(seen)) == 15

    some = await ask(client, "/observations", entity=pump, from_="2026-01-05T10:02:00Z", until="2026-01-05T10:04:00Z")
    assert [each["value"] for each in some["items"]] == [2, 3]


async def test_the_latest_is_that_of_now_or_of_a_date(client: httpx.AsyncClient, owner: Sessions, pump: str) -> None:
    other = await make_entity(owner, f"z-{pump}")
    await send(
        client,
        [
            row(pump, "01-05 10:00:00", 1, unit="°C"),
            row(pump, "02-05 10:00:00", 2),
            row(other, "02-07 10:00:00", 3, metric="pressure"),
        ],
    )

    now = await ask(client, "/observations/latest", entity=[pump, other])
    then = await ask(client, "/observations/latest", entity=[pump, other], as_of="2026-02-05T09:59:59Z")
    at = await ask(client, "/observations/latest", as_of="2026-02-05T10:00:00Z")

    assert [(each["entity"], each["metric"], each["value"]) for each in now["items"]] == [
        (pump, "temperature", 2),
        (other, "pressure", 3),
    ]
    assert [(each["value"], each["unit"]) for each in then["items"]] == [(1, "°C")]
    assert [each["value"] for each in at["items"]] == [2]


async def test_a_day_is_that_of_the_zone_through_the_change_of_clocks(client: httpx.AsyncClient, pump: str) -> None:
    start = datetime(2026, 10, 23, 22, tzinfo=UTC)  # midnight in Berlin, two days before clocks are put back
    await send(client, [row(pump, (start + timedelta(hours=n)).isoformat(), n) for n in range(24 + 25 + 24)])

    given = {
        "entity": pump,
        "bucket": "P1D",
        "from_": "2026-10-24",
        "until": "2026-10-27",
    }
    berlin = await ask(client, "/observations/buckets", tz="Europe/Berlin", aggregate="count", **given)
    kolkata = await ask(client, "/observations/buckets", tz="Asia/Kolkata", aggregate="sum", **given)

    assert berlin["times"] == ["2026-10-24T00:00:00+02:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"]
    assert berlin["series"][0]["values"] == [24, 25, 24]
    assert (berlin["made_of"], kolkata["made_of"]) == ("hours", "raw")
    # In Kolkata a day begins at 18:30 UTC: 22:00 to 18:00 UTC are the first 21 hours of the 24th, their own day.
    assert kolkata["times"][0] == "2026-10-24T00:00:00+05:30"
    assert kolkata["series"][0]["values"][0] == sum(range(21))
    assert sum(kolkata["series"][0]["counts"]) == 24 + 25 + 24 - 4  # to its midnight: 18:30 UTC


_OF: dict[str, Callable[[list[float]], float]] = {
    "avg": lambda of: sum(of) / len(of),
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
    "first": lambda of: of[0],
    "last": lambda of: of[-1],
}


@pytest.mark.parametrize("aggregate", list(_OF))
async def test_buckets_of_hours_are_those_of_raw_rows(client: httpx.AsyncClient, pump: str, aggregate: str) -> None:
    start = datetime(2026, 1, 31, 20, tzinfo=UTC)
    sent = [row(pump, (start + timedelta(minutes=17 * n)).isoformat(), (n * 7919) % 101) for n in range(60)]
    await send(client, sent)

    given = {"entity": pump, "aggregate": aggregate, "from_": "2026-01-31T20:00:00Z", "until": "2026-02-01T14:00:00Z"}
    of_hours = await ask(client, "/observations/buckets", bucket="PT2H", tz="UTC", **given)
    expected = []
    for n in range(9):
        first = start + timedelta(hours=2 * n)
        values = [
            each["value"]
            for each in sent
            if first <= datetime.fromisoformat(each["observed_at"]) < first + timedelta(hours=2)
        ]
        expected.append(_OF[aggregate](values) if values else None)

    assert of_hours["made_of"] == "hours"
    assert of_hours["series"][0]["values"] == expected
    raw = await ask(client, "/observations/buckets", bucket="PT30M", **given)
    assert raw["made_of"] == "raw"
    assert sum(raw["series"][0]["counts"]) == sum(of_hours["series"][0]["counts"]) == 60


async def test_gaps_are_null_left_out_or_filled(client: httpx.AsyncClient, pump: str) -> None:
    await send(client, [row(pump, "01-05 10:30:00", 1), row(pump, "01-05 13:30:00", 7)])
    given = {"entity": pump, "from_": "2026-01-05T09:00:00Z", "until": "2026-01-05T15:00:00Z"}

    found = {
        fill: (await ask(client, "/observations/buckets", fill=fill, **given))["series"][0]["values"]
        for fill in ("null", "none", "previous", "linear")
    }

    assert found == {
        "null": [None, 1, None, None, 7, None],
        "none": [1, 7],
        "previous": [None, 1, 1, 1, 7, 7],
        "linear": [None, 1, 3, 5, 7, None],
    }


@pytest.mark.parametrize("route", ["buckets", "moving_average"])
async def test_a_time_that_is_not_said_goes_as_far_as_there_are_observations(
    client: httpx.AsyncClient, pump: str, route: str
) -> None:
    await send(client, [row(pump, "01-05 10:00:00", 1), row(pump, "01-07 00:00:00", 3)])

    open_ = await ask(client, f"/observations/{route}", entity=pump, bucket="P1D")
    begun = await ask(client, f"/observations/{route}", entity=pump, bucket="P1D", from_="2026-01-06T00:00:00Z")
    late = await ask(client, f"/observations/{route}", entity=pump, bucket="P1D", from_="2026-01-09T00:00:00Z")

    assert [at[:10] for at in open_["times"]] == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert [at[:10] for at in begun["times"]] == ["2026-01-06", "2026-01-07"]
    assert [at[:10] for at in late["times"]] == ["2026-01-09"]


async def test_a_late_row_is_in_the_buckets_at_once(client: httpx.AsyncClient, pump: str) -> None:
    given = {"entity": pump, "bucket": "P1D", "from_": "2026-01-05T00:00:00Z", "until": "2026-01-06T00:00:00Z"}
    await send(client, [row(pump, "01-05 10:00:00", 1), row(pump, "01-05 10:30:00", 3)])
    before = await ask(client, "/observations/buckets", **given)
    await send(client, [row(pump, "01-05 10:10:00", 8), row(pump, "01-05 10:30:00", 6)])
    after = await ask(client, "/observations/buckets", **given)
    gone = await client.post(
        f"{A}/observations/delete",
        json={"entity": pump, "from": "2026-01-05T10:10:00Z", "until": "2026-01-06T00:00:00Z"},
    )
    last = await ask(client, "/observations/buckets", **given)

    assert gone.json() == {"dry_run": False, "deleted": 2, "series": 1}
    assert [each["series"][0]["values"] for each in (before, after, last)] == [[2], [5], [1]]


async def test_rates_are_changes_by_time_and_counters_begin_anew(client: httpx.AsyncClient, pump: str) -> None:
    await send(
        client,
        [row(pump, "01-31 23:00:00", 10), row(pump, "02-01 01:00:00", 30), row(pump, "02-01 01:30:00", 5)],
    )

    plain = await ask(client, "/observations/rate", entity=pump)
    counter = await ask(
        client, "/observations/rate", entity=pump, counter="true", per="m", from_="2026-02-01T00:00:00Z"
    )
    paged = await ask(client, "/observations/rate", entity=pump, limit=1)
    rest = await ask(client, "/observations/rate", entity=pump, cursor=paged["next_cursor"])

    assert [each["rate"] for each in plain["items"]] == [None, 10, -50]
    assert [each["rate"] for each in counter["items"]] == pytest.approx([10 / 60, 5 / 30])
    assert [each["rate"] for each in paged["items"] + rest["items"]] == [None, 10, -50]


async def test_a_moving_average_begins_with_what_was_before(client: httpx.AsyncClient, pump: str) -> None:
    sent = [row(pump, f"01-0{day} 12:00:00", day) for day in (1, 2, 3, 4)] + [row(pump, "01-04 13:00:00", 10)]
    await send(client, sent)

    found = await ask(
        client,
        "/observations/moving_average",
        entity=pump,
        window=2,
        from_="2026-01-03T00:00:00Z",
        until="2026-01-07T00:00:00Z",
    )

    assert found["times"][0] == "2026-01-03T00:00:00Z"
    assert found["series"][0]["values"] == pytest.approx([2.5, 17 / 3, 7, None])


async def test_series_are_listed_with_their_span(client: httpx.AsyncClient, owner: Sessions, pump: str) -> None:
    other = await make_entity(owner, f"z-{pump}")
    await send(
        client,
        [
            row(pump, "01-05 10:00:00", 1, unit="°C"),
            row(pump, "02-05 10:00:00", 1),
            row(other, "01-05 10:00:00", 1, source="b"),
        ],
    )

    all_of, one = await ask(client, "/series"), await ask(client, "/series", limit=1)
    rest = await ask(client, "/series", cursor=one["next_cursor"])
    by_source = await ask(client, "/series", source="b", metric=["temperature", "x"])

    of_pump, of_other = sorted(all_of["items"], key=lambda each: each["source"], reverse=True)
    assert (of_pump["entity"], of_other["entity"]) == (pump, other)
    assert (of_pump["unit"], of_pump["first_at"], of_pump["last_at"]) == (
        "°C",
        "2026-01-05T10:00:00Z",
        "2026-02-05T10:00:00Z",
    )
    assert one["items"] + rest["items"] == all_of["items"]
    assert [each["entity"] for each in by_source["items"]] == [other]


@pytest.mark.parametrize(
    ("path", "given", "status", "code"),
    [
        ("/observations", {"entity": "nobody"}, 404, "entity.not_found"),
        ("/series", {"entity": "nobody"}, 404, "entity.not_found"),
        ("/observations", {"from": "2026-02-01", "until": "2026-01-01"}, 422, "observations.bad_span"),
        ("/observations", {"from": "tomorrow"}, 422, "request.bad_time"),
        ("/observations", {"cursor": "x"}, 422, "request.invalid"),
        ("/observations/buckets", {"bucket": "1h"}, 422, "observations.bad_bucket"),
        ("/observations/buckets", {"tz": "Mars"}, 422, "observations.bad_time_zone"),
        ("/observations/moving_average", {"window": "1001"}, 422, "request.invalid"),
        ("/observations/moving_average", {"window": "0"}, 422, "request.invalid"),
        ("/observations/moving_average", {"window": "1000", "bucket": "PT99999H"}, 422, "observations.bad_bucket"),
        ("/observations/buckets", {"tz": "right/UTC"}, 422, "observations.bad_time_zone"),
    ],
)
async def test_what_cannot_be_answered_is_told(
    client: httpx.AsyncClient, pump: str, path: str, given: dict[str, str], status: int, code: str
) -> None:
    await client.post(
        f"{A}/observations", json=[{"entity": pump, "metric": "m", "observed_at": "2026-01-05T10:00:00Z", "value": 1}]
    )

    answer = await client.get(f"{A}{path}", params=given)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_series_of_a_deleted_entity_are_not_told(client: httpx.AsyncClient, owner: Sessions, pump: str) -> None:
    await send(client, [row(pump, "01-05 10:00:00", 1)])
    async with transaction(owner) as session:
        await session.execute(text("update entities set deleted_at = now() where key = :key"), {"key": pump})

    assert (await ask(client, "/series"))["items"] == []
    assert (await ask(client, "/observations"))["items"] == []
    assert (await send(client, [row(pump, "01-05 11:00:00", 1)]))["errors"][0]["code"] == "observation.unknown_entity"


async def test_evidence_is_told_to_those_who_may_see_its_document(
    client: httpx.AsyncClient, owner: Sessions, pump: str, collection: str
) -> None:
    sent = await client.post(
        f"{A}/documents", files={"file": ("a.txt", b"It was 21.5.")}, data={"collection": collection}
    )
    async with transaction(owner) as session:
        version_id = await session.scalar(
            text("select id from versions where document_id = :id"), {"id": UUID(sent.json()["document"]["id"])}
        )
    evidence = {"version_id": str(version_id), "start": 7, "end": 11, "quote_sha256": "ab" * 32}
    await send(client, [row(pump, "01-05 10:00:00", 21.5, evidence=evidence, attributes={"by": "Ada"})])
    theirs = (await client.get(f"{A}/collections/{collection}")).json()["id"]
    mine = (await client.post(f"{A}/collections", json={"name": f"{collection}-2"})).json()["id"]

    told = {}
    for name, only in (("whole", None), ("theirs", [UUID(theirs)]), ("mine", [UUID(mine)])):
        key = bearer(await make_key(owner, scopes=["read"], collection_ids=only))
        answer = await client.get(f"{A}/observations/latest", headers=key)
        told[name] = answer.json()["items"][0]

    assert told["whole"]["evidence"] == told["theirs"]["evidence"] == evidence
    assert told["mine"]["evidence"] is None
    assert told["mine"]["attributes"] == {"by": "Ada"}


# --- how PostgreSQL goes there ---


@pytest.fixture
async def plans(sessions: Sessions, principal: Principal, owner: Sessions) -> Callable[..., Awaitable[str]]:
    """The plans of what is asked within, as a caller of the workspace, with a year of two series there."""
    entities = [await make_entity(owner), await make_entity(owner)]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    await add(
        sessions,
        principal,
        [row(each, (start + timedelta(hours=6 * n)).isoformat(), n) for n in range(1400) for each in entities],
    )
    async with transaction(owner) as session:
        await session.execute(text("analyze observations, observation_hours, series, entities"))

    async def explained(ask_: Callable[[Any], Awaitable[Any]]) -> str:
        async with transaction(sessions.within(Reach(principal.workspace_id))) as session:
            connection = (await session.connection()).sync_connection
            assert connection is not None
            heard: list[Any] = []
            listener = lambda _c, statement, several, one, _o: heard.append((statement, one or (several or [{}])[0]))  # noqa: E731
            event.listen(connection, "before_execute", listener)
            await ask_(session)
            event.remove(connection, "before_execute", listener)
            said = []
            for statement, parameters in heard:
                bound = [each for each in statement._bindparams.values() if each.key in parameters]
                query = text(f"explain (analyze, costs off, timing off, summary off, buffers off) {statement.text}")
                said += list(await session.scalars(query.bindparams(*bound), parameters))
            return "\n".join(said)

    return explained


MAY = Span(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))


async def test_only_the_months_asked_for_are_opened(plans: Any, principal: Principal) -> None:
    async def one_month(session: Any) -> None:
        await reading.table(
            session, principal, Choice(), MAY, bucket="P1D", zone=ZoneInfo("UTC"), aggregates=["avg"], fill="null"
        )
        await reading.table(
            session, principal, Choice(), MAY, bucket="PT30M", zone=ZoneInfo("UTC"), aggregates=["avg"], fill="null"
        )
        await reading.page_raw(session, principal, Choice(), MAY, after=None, newest_first=False, limit=10)

    plan = await plans(one_month)

    assert "observation_hours_2026_05" in plan
    assert "observations_2026_05" in plan
    for month in ("2026_04", "2026_06", "2026_01"):
        assert month not in plan


async def test_a_page_reads_a_page_of_each_series_by_its_key(plans: Any, principal: Principal) -> None:
    whole = Span(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC))

    plan = await plans(
        lambda session: reading.page_raw(session, principal, Choice(), whole, after=None, newest_first=True, limit=5)
    )

    assert "Index Scan" in plan
    assert "Seq Scan on observations" not in plan
    assert "never executed" in plan  # months that are not needed to fill the page


async def test_the_latest_is_one_step_into_an_index(plans: Any) -> None:
    async def latest(session: Any) -> None:
        ids = list(await session.scalars(text("select id from series")))
        await selects.latest(session, ids, None)
        await selects.latest(session, ids, datetime(2026, 5, 5, tzinfo=UTC))

    plan = await plans(latest)

    assert "Seq Scan on observations" not in plan
    assert "Index Scan Backward" in plan
