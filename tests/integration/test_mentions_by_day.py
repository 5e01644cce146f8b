"""The metric `mentions`: how often documents of a day mention an entity, asked for like anything else that is observed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from tests.integration.catalogues import A
from tests.integration.test_mentions import NO2, OZONE, name
from tests.integration.uploads import Work, count, put, send
from tests.keys import bearer, make_key
from tests.observing import row

from drystone.core.db import Sessions, transaction

FIFTH, SIXTH, EIGHTH = "2026-03-05T00:00:00Z", "2026-03-06T00:00:00Z", "2026-03-08T00:00:00Z"
WEEK = {"from": "2026-03-04", "until": "2026-03-09"}


async def ask(client: httpx.AsyncClient, path: str, headers: dict[str, str] | None = None, /, **given: Any) -> Any:
    query = {name.rstrip("_"): value for name, value in given.items()}
    answer = await client.get(f"{A}/{path}", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def paper(client: httpx.AsyncClient, collection: str, words: str, day: str | None = None, **more: Any) -> str:
    attributes = {} if day is None else {"published_at": day}
    sent = await send(client, collection, words.encode(), attributes=json.dumps(attributes), **more)
    found: str = sent.json()["document"]["id"]
    return found


@pytest.fixture
async def ids(client: httpx.AsyncClient, work: Work, collection: str) -> list[str]:
    """Four papers: on the fifth NO2 three times in two and ozone once, on the sixth and the eighth NO2 once."""
    await name(client, "no2", NO2)
    await name(client, "ozone", OZONE)
    found = [
        await paper(client, collection, "NO2 and nitrogen dioxide in cities.", "2026-03-05"),
        await paper(client, collection, "NO2 again; ozone, too.", "2026-03-05T23:30:00+01:00"),
        await paper(client, collection, "NO2 in the country.", "2026-03-06"),
        await paper(client, collection, "No more NO2.", "2026-03-08"),
    ]
    await work()
    return found


async def days(client: httpx.AsyncClient, entity: str = "no2", **given: Any) -> list[tuple[str, float]]:
    page = await ask(client, "observations", entity=entity, metric="mentions", **given)
    return [(each["observed_at"], each["value"]) for each in page["items"]]


async def test_days_are_told_as_observations_with_how_many_documents_they_are_of(
    client: httpx.AsyncClient, ids: Sequence[str]
) -> None:
    page = await ask(client, "observations", entity="no2", metric="mentions")

    assert [(each["observed_at"], each["value"], each["attributes"]) for each in page["items"]] == [
        (FIFTH, 3, {"documents": 2, "passages": 2}),
        (SIXTH, 1, {"documents": 1, "passages": 1}),
        (EIGHTH, 1, {"documents": 1, "passages": 1}),
    ]
    first = page["items"][0]
    assert (first["series_id"], first["entity"], first["source"], first["unit"]) == (None, "no2", "documents", None)
    assert await days(client, from_="2026-03-05T00:00:01Z", until="2026-03-08") == [(SIXTH, 1)]
    assert await days(client, order="newest", limit=1) == [(EIGHTH, 1)]
    assert await days(client, source="default") == []


async def test_the_documents_of_a_day_are_listed_by_their_passages(
    client: httpx.AsyncClient, ids: Sequence[str]
) -> None:
    page = await ask(client, "entities/no2/passages", from_="2026-03-05", until="2026-03-06")
    later = await ask(client, "entities/no2/passages", from_="2026-03-05T00:00:01Z")

    assert {item["document"]["id"] for item in page["items"]} == set(ids[:2])
    assert {item["document"]["id"] for item in later["items"]} == set(ids[2:])


async def test_what_stands_in_no_attribute_is_dated_by_the_day_the_document_was_made(
    client: httpx.AsyncClient, work: Work, collection: str, owner: Sessions
) -> None:
    await name(client, "no2", NO2)
    odd = ["2026-02-31", "2026-3-5", "soon", "0000-01-01", "2026-03-051", ""]
    made = [await paper(client, collection, f"NO2, {each}", each) for each in odd]
    made.append(await paper(client, collection, "NO2, nothing said"))
    sent = await send(client, collection, b"NO2, a number", attributes=json.dumps({"published_at": 2026}))
    made.append(sent.json()["document"]["id"])
    async with transaction(owner) as session:
        await session.execute(text("update documents set created_at = '2026-01-01 23:30:00-05'"))
    await work()

    assert await days(client) == [("2026-01-02T00:00:00Z", len(made))]
    assert {(await ask(client, f"documents/{each}"))["dated_on"] for each in made} == {"2026-01-02"}


async def test_the_leap_day_is_a_day(client: httpx.AsyncClient, collection: str) -> None:
    document_id = await paper(client, collection, "x", "2024-02-29 about noon")

    assert (await ask(client, f"documents/{document_id}"))["dated_on"] == "2024-02-29"


async def test_days_follow_documents_and_names(client: httpx.AsyncClient, ids: Sequence[str], work: Work) -> None:
    await put(client, ids[0], b"Nothing of it.")
    await client.patch(f"{A}/documents/{ids[2]}", json={"attributes": {"published_at": "2026-03-08"}})
    await work()
    assert await days(client) == [(FIFTH, 1), (EIGHTH, 2)]

    await client.delete(f"{A}/documents/{ids[1]}")  # told of no more, before a worker has looked
    assert await days(client) == [(EIGHTH, 2)]

    await name(client, "no2", NO2 | {"label": "Country", "aliases": {}})
    await work()
    assert await days(client) == [(EIGHTH, 1)]

    assert (await client.delete(f"{A}/entities/no2")).status_code == 204
    assert (await ask(client, "observations", metric="mentions"))["items"] == []
    assert (await client.post(f"{A}/entities/no2/restore")).status_code == 200
    await work()
    assert await days(client) == [(EIGHTH, 1)]


async def test_a_key_confined_to_collections_is_told_of_its_own_documents_alone(
    client: httpx.AsyncClient, ids: Sequence[str], work: Work, collection: str, owner: Sessions
) -> None:
    """By every way: neither a day nor a count nor that there is a series."""
    await paper(client, f"{collection}-b", "NO2 elsewhere.", "2026-03-05")
    await work()
    other = UUID((await ask(client, f"collections/{collection}-b"))["id"])
    keys = {
        "whole": bearer(await make_key(owner, scopes=["read"])),
        "other": bearer(await make_key(owner, scopes=["read"], collection_ids=[other])),
    }
    metric = {"metric": "mentions"}

    told = {}
    for who, key in keys.items():
        raw = await ask(client, "observations", key, **metric)
        latest = await ask(client, "observations/latest", key, **metric)
        buckets = await ask(client, "observations/buckets", key, bucket="P1W", aggregate="sum", **metric, **WEEK)
        rates = await ask(client, "observations/rate", key, **metric)
        series = await ask(client, "series", key, **metric)
        told[who] = (
            [(each["entity"], each["value"]) for each in raw["items"]],
            [(each["entity"], each["observed_at"], each["value"]) for each in latest["items"]],
            [(each["entity"], sum(filter(None, each["values"]))) for each in buckets["series"]],
            [each["entity"] for each in rates["items"]],
            [(each["entity"], each["first_at"], each["last_at"]) for each in series["items"]],
        )

    assert told["other"] == (
        [("no2", 1)],
        [("no2", FIFTH, 1)],
        [("no2", 1)],
        ["no2"],
        [("no2", FIFTH, FIFTH)],
    )
    assert told["whole"] == (
        told["whole"][0],
        [("no2", EIGHTH, 1), ("ozone", FIFTH, 1)],
        [("no2", 6), ("ozone", 1)],
        [each for each, _ in told["whole"][0]],
        [("no2", FIFTH, EIGHTH), ("ozone", FIFTH, FIFTH)],
    )
    assert sorted(told["whole"][0]) == [("no2", 1), ("no2", 1), ("no2", 4), ("ozone", 1)]


async def test_the_newest_day_is_that_of_now_or_of_a_date(client: httpx.AsyncClient, ids: Sequence[str]) -> None:
    async def newest(**given: Any) -> list[tuple[str, str, float]]:
        found = (await ask(client, "observations/latest", metric="mentions", **given))["items"]
        return [(each["entity"], each["observed_at"], each["value"]) for each in found]

    assert await newest() == [("no2", EIGHTH, 1), ("ozone", FIFTH, 1)]
    assert await newest(as_of=FIFTH) == [("no2", FIFTH, 3), ("ozone", FIFTH, 1)]
    assert await newest(as_of="2026-03-04T23:59:59Z") == []
    assert await newest(as_of="9999-12-31T23:59:59.999999Z") == await newest()
    assert await newest(as_of="0001-01-01T00:00:00Z") == []


async def test_buckets_stand_beside_those_of_other_metrics(client: httpx.AsyncClient, ids: Sequence[str]) -> None:
    sent = [row("no2", "03-05 10:00:00", 20), row("no2", "03-05 11:00:00", 22), row("no2", "03-06 10:00:00", 5)]
    assert (await client.post(f"{A}/observations", json=sent)).json()["inserted"] == 3

    table = await ask(
        client, "observations/buckets", entity="no2", metric=["temperature", "mentions"], bucket="P1D", **WEEK
    )

    assert table["made_of"] == "hours"
    assert {each["metric"]: each["values"] for each in table["series"]} == {
        "mentions": [None, 3, 1, None, 1],
        "temperature": [None, 21, 5, None, None],
    }
    assert {each["metric"]: each["counts"] for each in table["series"]}["mentions"] == [0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("aggregate", "of_week"),
    [("avg", 5 / 3), ("sum", 5), ("min", 1), ("max", 3), ("count", 3), ("first", 3), ("last", 1)],
)
async def test_a_bucket_is_what_its_days_amount_to(
    client: httpx.AsyncClient, ids: Sequence[str], aggregate: str, of_week: float
) -> None:
    table = await ask(
        client,
        "observations/buckets",
        entity="no2",
        metric="mentions",
        bucket="P1W",
        aggregate=aggregate,
        fill="none",
        **WEEK,
    )

    assert (table["made_of"], table["times"]) == ("mentions", ["2026-03-02T00:00:00Z"])
    assert table["series"][0]["values"] == pytest.approx([of_week])


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Pacific/Auckland"])
async def test_a_day_is_the_same_in_every_zone(client: httpx.AsyncClient, ids: Sequence[str], zone: str) -> None:
    given = {"entity": "no2", "metric": "mentions", "tz": zone, **WEEK}

    table = await ask(client, "observations/buckets", bucket="P1D", **given)
    hours = await ask(client, "observations/buckets", bucket="PT6H", fill="none", **given)

    assert [each[:10] for each in table["times"]] == [f"2026-03-0{n}" for n in (4, 5, 6, 7, 8)]
    assert table["series"][0]["values"] == [None, 3, 1, None, 1]
    assert [each[:19] for each in hours["times"]] == [f"2026-03-0{n}T00:00:00" for n in (5, 6, 8)]


async def test_days_without_mentions_are_left_out_of_averages_or_count_as_nothing_said(
    client: httpx.AsyncClient, ids: Sequence[str]
) -> None:
    given = {"entity": "no2", "metric": "mentions", "bucket": "P1D", **WEEK}

    of_days = await ask(client, "observations/moving_average", window=2, **given)
    of_all = await ask(client, "observations/moving_average", window=2, fill="zero", **given)
    zeros = await ask(client, "observations/buckets", fill="zero", **given)

    assert of_days["series"][0]["values"] == [None, 3, 2, 1, 1]
    assert of_all["series"][0]["values"] == [0, 1.5, 2, 0.5, 0.5]
    assert zeros["series"][0]["values"] == [0, 3, 1, 0, 1]


async def test_rates_are_changes_since_the_day_before(client: httpx.AsyncClient, ids: Sequence[str]) -> None:
    found = await ask(client, "observations/rate", entity="no2", metric="mentions", per="d")
    later = await ask(client, "observations/rate", entity="no2", metric="mentions", per="d", from_="2026-03-06")

    assert [each["rate"] for each in found["items"]] == [None, -2, 0]
    assert later["items"] == found["items"][1:]


@pytest.mark.parametrize("order", ["oldest", "newest"])
async def test_pages_go_on_where_the_one_before_ended(
    client: httpx.AsyncClient, ids: Sequence[str], order: str
) -> None:
    sent = [row("no2", f"03-0{day} 00:00:00", day) for day in (5, 6, 7)]
    await client.post(f"{A}/observations", json=sent)
    given = {"metric": ["mentions", "temperature"], "order": order}

    whole = (await ask(client, "observations", **given))["items"]
    found, cursor = [], None
    while True:
        page = await ask(client, "observations", limit=1, **given, **({"cursor": cursor} if cursor else {}))
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break

    assert found == whole
    assert len(found) == 4 + 3
    assert [each["observed_at"] for each in found] == sorted(
        (each["observed_at"] for each in found), reverse=order == "newest"
    )


async def test_series_of_mentions_are_listed_where_they_are_named(
    client: httpx.AsyncClient, ids: Sequence[str], work: Work
) -> None:
    await client.post(f"{A}/observations", json=[row("no2", "03-05 10:00:00", 20)])
    await name(client, "soot", {"type": "property", "label": "Soot"})
    await work()

    assert [each["metric"] for each in (await ask(client, "series"))["items"]] == ["temperature"]
    assert [each["metric"] for each in (await ask(client, "observations"))["items"]] == ["temperature"]
    given = {"metric": ["temperature", "mentions"]}
    whole = (await ask(client, "series", **given))["items"]
    assert [(each["entity"], each["metric"], each["id"] is None) for each in whole] == [
        ("no2", "temperature", False),
        ("no2", "mentions", True),
        ("ozone", "mentions", True),
    ]
    found, cursor = [], None
    while True:
        page = await ask(client, "series", limit=1, **given, **({"cursor": cursor} if cursor else {}))
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert found == whole
    of_soot = await ask(client, "series", entity="soot", metric="mentions")
    assert of_soot["items"] == []


async def test_nobody_writes_mentions_nor_deletes_them(
    client: httpx.AsyncClient, ids: Sequence[str], sessions: Sessions
) -> None:
    rows = [row("no2", "03-05 10:00:00", 1) | {"metric": "mentions"}, row("no2", "03-05 10:00:00", 1)]

    told = (await client.post(f"{A}/observations", json=rows)).json()
    body = {"entity": "no2", "metric": "mentions", "from": "2026-03-01", "until": "2026-04-01"}
    refused = await client.post(f"{A}/observations/delete", json=body)
    deleted = await client.post(f"{A}/observations/delete", json=body | {"metric": "temperature"})

    assert (told["inserted"], [(each["row"], each["code"]) for each in told["errors"]]) == (
        1,
        [(1, "observation.reserved_metric")],
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "observation.reserved_metric")
    assert deleted.json() == {"dry_run": False, "deleted": 1, "series": 1}
    assert await count(sessions, "select count(*) from series where metric = 'mentions'") == 0
    assert len(await days(client)) == 3
