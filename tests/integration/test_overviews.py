"""One answer about an entity at a moment: what was said, what was measured, which passages are the evidence."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.integration.catalogues import CITY, STATION, A, change, fill
from tests.integration.uploads import Work, send
from tests.keys import bearer, make_key

from drystone.core.db import Sessions


async def _overview(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"{A}/entities/station/overview", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _observe(client: httpx.AsyncClient, *rows: tuple[str, float]) -> None:
    said = [{"entity": "station", "metric": "no2", "observed_at": at, "value": v, "unit": "µg/m³"} for at, v in rows]
    answer = await client.post(f"{A}/observations", json=said)
    assert answer.json()["refused"] == 0, answer.text


async def test_what_was_said_then_what_was_measured_and_where_documents_speak_of_it(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    await fill(client)
    then = (await client.get(f"{A}/catalogue/revisions")).json()["items"][0]["at"]
    wider = STATION | {"label": "Monitoring station", "schema_definition": {"required": ["name"]}}
    changed = await change(client, {"kind": "entity", "key": "station", "content": wider}, bump_modules=True)
    assert changed.status_code == 409, "a name is gone: that is major, and the profile wants ^1.0"
    put = [{"kind": "entity", "key": "station", "content": wider}, {"kind": "profile", "key": "city", "content": CITY | {"modules": {"air": "*"}}}]  # fmt: skip
    assert (await change(client, *put, bump_modules=True)).status_code == 200
    day, night = then[:10], "2026-01-01"
    await _observe(client, (f"{night}T22:00:00Z", 9), (f"{night}T23:00:00Z", 10), (f"{day}T00:00:00Z", 20))
    await send(client, collection, b"The station was repaired.")
    await send(client, collection, b"Nobody was there.")
    await work()

    before = await _overview(client, at=then, profile="city")
    now = await _overview(client, profile="city")
    winter = await _overview(client, at=f"{night}T23:30:00", tz="Europe/Berlin", profile="city")

    assert (before["entity"]["label"], before["profile"]["number"]) == ("Station", 1)
    assert "no2" in before["profile"]["definition"]["$defs"]["station"]["properties"]
    assert (now["entity"]["label"], now["profile"]["number"]) == ("Monitoring station", 2)
    assert "no2" not in now["profile"]["definition"]["$defs"]["station"]["properties"]
    assert [(each["metric"], each["latest"]["value"]) for each in now["measured"]] == [("no2", 20.0)]
    (of_winter,) = winter["measured"]
    assert (winter["entity"], winter["profile"]) == (None, None)
    assert of_winter["latest"]["value"] == 9, "23:30 in Berlin is 22:30 in UTC"
    assert (of_winter["bucket_start"], of_winter["count"]) == ("2026-01-01T00:00:00+01:00", 1)
    assert (of_winter["min"], of_winter["avg"], of_winter["max"]) == (9, 9, 9)
    assert [each["quote"] for each in now["passages"]] == []
    assert [each["quote"] for each in (await _overview(client, passages=0))["passages"]] == []


async def test_names_are_of_now_and_a_confined_key_sees_its_passages_only(
    client: httpx.AsyncClient, collection: str, work: Work, owner: Sessions
) -> None:
    await fill(client)
    await send(client, collection, b"The station was repaired.")
    await send(client, f"{collection}-other", b"A station burned down.")
    await work()
    its_id = UUID((await client.get(f"{A}/collections/{collection}")).json()["id"])
    confined = bearer(await make_key(owner, collection_ids=[its_id]))

    all_, one = await _overview(client), await _overview(client, collection=collection)
    theirs = await client.get(f"{A}/entities/station/overview", headers=confined)

    assert sorted(each["quote"] for each in all_["passages"]) == ["A station burned down.", "The station was repaired."]
    assert [each["quote"] for each in one["passages"]] == ["The station was repaired."]
    assert [each["quote"] for each in theirs.json()["passages"]] == ["The station was repaired."]
    assert all_["measured"] == []


async def test_what_nobody_ever_had_is_a_mistake(client: httpx.AsyncClient) -> None:
    await fill(client)

    for path, query in (("nothing", {}), ("station", {"profile": "nobody"}), ("station", {"collection": "none"})):
        answer = await client.get(f"{A}/entities/{path}/overview", params=query)
        assert answer.status_code == 404, (path, query)


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"])
async def test_the_end_of_time_is_a_mistake(client: httpx.AsyncClient, at: str) -> None:
    await fill(client)

    answer = await client.get(f"{A}/entities/station/overview", params={"at": at})

    assert (answer.status_code, answer.json()["code"]) == (422, "observations.bad_span")
