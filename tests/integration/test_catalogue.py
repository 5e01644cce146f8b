"""The catalogue over HTTP: changesets all or nothing, versions for good, what there was at any time, who may."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.integration.catalogues import ALL, CITY, CORE, NAME, NO2, STATION, A, change, fill, whole
from tests.keys import bearer, make_key, make_workspace

from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.core.reach import EVERYTHING
from drystone.stack import ports

ROOT = Path(__file__).parent.parent.parent


def _with(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**content, **changes}


def _no2(**schema: Any) -> dict[str, Any]:
    return _with(NO2, schema_definition={"type": "number", "unit": "µg/m³", **schema})


async def test_what_is_put_is_shown_as_it_was_written(client: httpx.AsyncClient) -> None:
    made = await client.put(f"{A}/entities/no2", json=NO2, params={"message": "as the directive has it"})
    shown = await client.get(made.headers["location"])
    by_id = await client.get(f"{A}/entities/{made.json()['id']}")

    assert made.status_code == 201
    assert shown.json() == by_id.json() == made.json()
    assert {name: shown.json()[name] for name in NO2} == NO2
    assert (shown.json()["number"], shown.json()["revision"], shown.json()["parents"]) == (1, 1, [])
    assert shown.headers["etag"] == made.headers["etag"]


async def test_the_same_again_makes_no_version(client: httpx.AsyncClient) -> None:
    first = await client.put(f"{A}/entities/no2", json=NO2)
    written_otherwise = _with(NO2, schema_definition={"minimum": 0.0, "unit": "µg/m³", "type": "number"})
    second = await client.put(f"{A}/entities/no2", json=written_otherwise)

    assert second.status_code == 200
    assert second.json() == first.json()
    assert (await client.get(f"{A}/catalogue")).json()["revision"] == 1


async def test_a_changeset_in_any_order_is_one_revision(client: httpx.AsyncClient) -> None:
    answer = await change(client, *ALL, message="first")
    overview = (await client.get(f"{A}/catalogue")).json()

    assert answer.json()["revision"] == overview["revision"] == 1
    assert {each["what"] for each in answer.json()["changes"]} == {"created"}
    assert (overview["entities"], overview["modules"], overview["profiles"]) == (3, 2, 1)
    assert overview["message"] == "first"


async def test_a_dry_run_says_what_would_be_and_does_nothing(client: httpx.AsyncClient) -> None:
    await fill(client)
    before = await whole(client)
    changes = [{"kind": "entity", "key": "no2", "content": _no2()}, {"kind": "entity", "key": "o3", "content": NAME}]

    trial = (await change(client, *changes, bump_modules=True, dry_run=True)).json()

    assert await whole(client) == before
    assert (trial["revision"], trial["dry_run"]) == (1, True)
    no2, o3, air = trial["changes"]
    assert (no2["what"], no2["step"], no2["number"]) == ("changed", "minor", 2)
    assert (o3["what"], o3["id"]) == ("created", None)
    assert (air["key"], air["version"], air["is_implied"]) == ("air", "1.1.0", True)
    assert air["reasons"] == ["no2: minimum is not said, and was 0"]
    done = (await change(client, *changes, bump_modules=True)).json()
    assert [{**each, "id": 0} for each in done["changes"]] == [{**each, "id": 0} for each in trial["changes"]]


async def test_of_a_changeset_with_problems_nothing_is_done(client: httpx.AsyncClient) -> None:
    await fill(client)
    before = await whole(client)
    wrong = _with(STATION, schema_definition={"required": ["name", "nme"], "properties": {"no2": {}}})

    answer = await change(
        client,
        {"kind": "entity", "key": "o3", "content": NAME},
        {"kind": "entity", "key": "station", "content": wrong},
        {"kind": "entity", "key": "a b", "content": NAME},
    )
    second = await change(client, {"kind": "entity", "key": "station", "content": wrong})

    assert (answer.status_code, answer.json()["code"]) == (422, "entity.bad_key")
    (told,) = second.json()["errors"]
    assert told["pointer"] == "/changes/0/content/schema_definition/required/1"
    assert (told["code"], told["kind"], told["key"]) == ("entity.unknown", "entity", "station")
    assert "'nme'" in told["detail"]
    assert told["hint"]
    assert await whole(client) == before


async def test_a_member_takes_its_module_along_only_where_that_is_asked_for(client: httpx.AsyncClient) -> None:
    await fill(client)
    refused = await client.put(f"{A}/entities/no2", json=_no2())
    done = await client.put(f"{A}/entities/no2", json=_no2(), params={"bump_modules": "true"})

    assert (refused.status_code, refused.json()["code"]) == (409, "module.not_bumped")
    assert "bump_modules=true" in refused.json()["hint"]
    assert done.status_code == 200
    assert (await client.get(f"{A}/modules/air")).json()["version"] == "1.1.0"
    assert (await client.get(f"{A}/modules/core")).json()["version"] == "1.0.0"


async def test_who_sends_an_old_tag_is_refused_and_nothing_is_lost(client: httpx.AsyncClient) -> None:
    first = await client.put(f"{A}/entities/no2", json=NO2)
    tag = {"If-Match": first.headers["etag"]}
    mine = await client.put(f"{A}/entities/no2", json=_with(NO2, label="mine"), headers=tag)
    theirs = await client.put(f"{A}/entities/no2", json=_with(NO2, label="theirs"), headers=tag)
    gone = await client.delete(f"{A}/entities/no2", headers=tag)
    new = await client.put(f"{A}/entities/no2", json=NO2, headers={"If-None-Match": "*"})

    assert mine.status_code == 200
    assert [each.status_code for each in (theirs, gone, new)] == [412, 412, 412]
    assert theirs.headers["etag"] == mine.headers["etag"]
    assert (await client.get(f"{A}/entities/no2")).json()["label"] == "mine"


async def test_a_changeset_may_name_the_revisions_it_knows(client: httpx.AsyncClient) -> None:
    await fill(client)
    item = {"kind": "entity", "key": "o3", "content": NAME}

    taken = await change(client, {**item, "key": "no2", "revision": 0, "content": NO2})
    stale = await change(client, {**item, "key": "no2", "revision": 7, "content": NO2})
    whole_stale = await change(client, item, headers={"If-Match": '"0"'})
    right = await change(client, {**item, "revision": 0}, headers={"If-Match": '"1"'})

    assert [each.status_code for each in (taken, stale, whole_stale, right)] == [412, 412, 412, 200]
    assert stale.json()["errors"][0]["pointer"] == "/changes/0/revision"


async def test_two_writers_at_once_come_one_after_the_other(client: httpx.AsyncClient) -> None:
    await fill(client)
    tag = {"If-Match": (await client.get(f"{A}/entities/name")).headers["etag"]}

    labels = [f"label {number}" for number in range(8)]
    answers = await asyncio.gather(
        *(
            client.put(
                f"{A}/entities/name", json=_with(NAME, label=label), params={"bump_modules": "true"}, headers=tag
            )
            for label in labels
        )
    )
    free = await asyncio.gather(
        *(change(client, {"kind": "entity", "key": f"p{number}", "content": NAME}) for number in range(8))
    )

    assert sorted(each.status_code for each in answers) == [200] + [412] * 7
    assert {each.status_code for each in free} == {200}
    assert sorted(each.json()["revision"] for each in free) == list(range(3, 11))
    revisions = (await client.get(f"{A}/catalogue/revisions")).json()["items"]
    assert [each["revision"] for each in revisions] == list(range(10, 0, -1))
    times = [each["at"] for each in revisions]
    assert times == sorted(times, reverse=True)


async def test_of_two_changes_that_are_wrong_only_together_one_is_refused(client: httpx.AsyncClient) -> None:
    """One deletes what the other begins to refer to: neither could see it without waiting for the other."""
    await change(client, {"kind": "entity", "key": "o3", "content": NAME})
    for number in range(5):
        await client.put(f"{A}/entities/o3", json=NAME)
        refers = {"type": "category", "label": "x", "schema_definition": {"required": ["o3"]}}
        answers = await asyncio.gather(
            client.delete(f"{A}/entities/o3"), client.put(f"{A}/entities/c{number}", json=refers)
        )

        assert sorted(each.is_success for each in answers) == [False, True]
        await client.delete(f"{A}/entities/c{number}")


async def test_what_others_refer_to_is_not_deleted(client: httpx.AsyncClient) -> None:
    await fill(client)

    refused = await client.delete(f"{A}/entities/no2")
    references = (await client.get(f"{A}/entities/no2/references")).json()

    assert (refused.status_code, refused.json()["code"]) == (409, "entity.in_use")
    assert {(each["kind"], each["key"]) for each in refused.json()["errors"]} == {
        ("entity", "station"),
        ("module", "air"),
    }
    assert [(each["kind"], each["key"], each["role"]) for each in references["referred_by"]] == [
        ("entity", "station", "optional"),
        ("module", "air", "member"),
    ]
    outward = (await client.get(f"{A}/modules/air/references")).json()
    assert [(each["key"], each["role"]) for each in outward["refers_to"]] == [
        ("no2", "member"), ("station", "member"), ("core", "dependency"),
    ]  # fmt: skip
    assert [(each["kind"], each["key"]) for each in outward["referred_by"]] == [("profile", "city")]


async def test_what_was_deleted_comes_back_as_it_was(client: httpx.AsyncClient) -> None:
    await client.put(f"{A}/entities/no2", json=NO2)
    before = (await client.put(f"{A}/entities/no2", json=_with(NO2, label="second"))).json()

    assert (await client.delete(f"{A}/entities/no2", params={"message": "a mistake"})).status_code == 204
    gone = await client.get(f"{A}/entities/no2")
    listed = (await client.get(f"{A}/entities", params={"deleted": "true"})).json()["items"]
    versions = (await client.get(f"{A}/entities/no2/versions")).json()["items"]
    restored = await client.post(f"{A}/entities/no2/restore")
    again = await client.post(f"{A}/entities/no2/restore")

    assert (gone.status_code, gone.json()["hint"]) == (404, "POST /api/v1/entities/no2/restore brings it back")
    assert [each["id"] for each in listed] == [before["id"]]
    assert [(each["number"], each["label"]) for each in versions] == [(2, "second"), (1, "Nitrogen dioxide")]
    changing = {"revision", "updated_at"}
    assert {k: v for k, v in restored.json().items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
    assert (again.status_code, again.json()["code"]) == (409, "entity.key_taken")
    history = (await client.get(f"{A}/entities/no2/history")).json()["items"]
    assert [(each["action"], each["number"], each["message"]) for each in history] == [
        ("restore", 2, ""), ("delete", None, "a mistake"), ("put", 2, ""), ("put", 1, ""),
    ]  # fmt: skip


async def test_a_key_that_was_taken_meanwhile_is_a_conflict(client: httpx.AsyncClient) -> None:
    first = (await client.put(f"{A}/entities/no2", json=NO2)).json()
    await client.delete(f"{A}/entities/no2")
    second = await client.put(f"{A}/entities/no2", json=_with(NO2, type="category", schema_definition={}))

    refused = await client.post(f"{A}/entities/{first['id']}/restore")
    await client.delete(f"{A}/entities/no2")
    restored = await client.post(f"{A}/entities/{first['id']}/restore")

    assert second.status_code == 201
    assert second.json()["id"] != first["id"]
    assert (refused.status_code, refused.json()["code"]) == (409, "entity.key_taken")
    assert restored.json()["id"] == first["id"]


async def test_a_module_that_comes_back_pins_what_its_entities_are_now(client: httpx.AsyncClient) -> None:
    await fill(client)
    gone = [
        {"kind": "profile", "key": "city", "action": "delete"},
        {"kind": "module", "key": "air", "action": "delete"},
    ]
    assert (await change(client, *gone)).status_code == 200
    await client.put(f"{A}/entities/no2", json=_no2())

    restored = (await client.post(f"{A}/modules/air/restore")).json()

    assert (restored["version"], restored["number"]) == ("1.1.0", 2)
    members = (await client.get(f"{A}/entities", params={"module": "air"})).json()["items"]
    assert [(each["key"], each["number"]) for each in members] == [("no2", 2), ("station", 1)]


async def test_what_there_was_at_a_time_is_told_whole(client: httpx.AsyncClient) -> None:
    seen = []
    steps: list[list[dict[str, Any]]] = [
        ALL,
        [
            {"kind": "entity", "key": "no2", "content": _no2(maximum=9000)},
            {"kind": "entity", "key": "o3", "content": NAME},
        ],
        [{"kind": "profile", "key": "city", "content": _with(CITY, modules={"air": "*"})}],
        [{"kind": "entity", "key": "o3", "action": "delete"}],
        [{"kind": "entity", "key": "o3", "action": "restore"}],
    ]
    steps[1].append({"kind": "profile", "key": "city", "content": _with(CITY, modules={"air": "^2"})})
    for step in steps:
        answer = await change(client, *step, bump_modules=True)
        assert answer.status_code == 200, answer.text
        at = (await client.get(f"{A}/catalogue")).json()["changed_at"]
        seen.append((at, await whole(client)))

    for at, then in seen:
        assert await whole(client, as_of=at) == then
    assert len({str(then) for _, then in seen}) == 4, "only the restoring is as it was once"
    assert await whole(client, as_of="3650d") == {}
    at = seen[0][0]
    members = (await client.get(f"{A}/entities", params={"module": "air", "as_of": at})).json()["items"]
    assert [(each["key"], each["number"], each["revision"]) for each in members] == [("no2", 1, 1), ("station", 1, 1)]
    assert (await client.get(f"{A}/modules/air", params={"as_of": at})).json()["version"] == "1.0.0"
    assert (await client.get(f"{A}/entities/o3", params={"as_of": at})).status_code == 404
    assert (await client.get(f"{A}/entities/o3", params={"as_of": seen[3][0]})).status_code == 404


async def test_versions_are_for_good(client: httpx.AsyncClient, owner: Sessions, sessions: Sessions) -> None:
    await fill(client)
    first = (await client.get(f"{A}/entities/no2/versions/1")).json()
    await client.put(f"{A}/entities/no2", json=_no2(), params={"bump_modules": "true"})

    kept = ("number", "label", "schema_definition", "published_at", "published_by")
    again = (await client.get(f"{A}/entities/no2/versions/1")).json()
    assert {name: again[name] for name in kept} == {name: first[name] for name in kept}
    tables = ["entity_versions", "module_versions", "module_members", "profile_versions", "catalogue_changes"]
    for table in [*tables, "catalogue_revisions"]:
        for statement in (f"delete from {table}", f"update {table} set workspace_id = workspace_id"):
            with pytest.raises(DBAPIError, match="permission denied"):
                await _run(sessions, statement)


async def _run(sessions: Sessions, statement: str) -> None:
    async with transaction(sessions.within(EVERYTHING)) as session:
        await session.execute(text(statement))


async def test_each_change_is_in_the_audit_and_told(client: httpx.AsyncClient, owner: Sessions) -> None:
    await fill(client)
    await client.put(f"{A}/entities/no2", json=_no2(), params={"bump_modules": "true"})

    rows = (await client.get(f"{A}/audit", params={"action": "entity.*", "subject_kind": "entity"})).json()["items"]
    by_key = [(row["action"], row["details"]["key"], row["details"]["number"]) for row in rows]
    assert by_key[0] == ("entity.publish", "no2", 2)
    first = next(row for row in rows[1:] if row["details"]["key"] == "no2")
    assert rows[0]["before_sha256"] == first["after_sha256"]
    assert first["before_sha256"] is None
    async with transaction(owner) as session:
        told = (await session.execute(text("select kind, data from events order by id"))).all()
    assert ("module.published", {"key": "air", "number": 2, "revision": 2, "version": "1.1.0", "step": "minor"}) in told
    assert len(told) == len(ALL) + 2


async def test_a_repeated_request_is_answered_as_the_first_time(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "once"}
    item = {"kind": "entity", "key": "o3", "content": NAME, "revision": 0}

    first, second = await change(client, item, headers=key), await change(client, item, headers=key)

    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"


async def test_lists_are_found_by_type_word_and_page(client: httpx.AsyncClient) -> None:
    await fill(client)

    async def keys(**query: Any) -> list[str]:
        answer = await client.get(f"{A}/entities", params=query)
        assert answer.status_code == 200, answer.text
        return [each["key"] for each in answer.json()["items"]]

    assert await keys(type="property") == ["name", "no2"]
    assert await keys(q="stickstoff") == ["no2"]
    assert await keys(q="station") == ["station"]
    assert await keys(q="100%") == []
    assert await keys(module="core") == ["name"]
    unknown = await client.get(f"{A}/entities", params={"module": "none"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "module.not_found")
    both = await client.get(f"{A}/entities", params={"deleted": "true", "as_of": "1d"})
    assert (both.status_code, both.json()["code"]) == (422, "catalogue.deleted_then")
    page = (await client.get(f"{A}/entities", params={"limit": 2})).json()
    assert await keys(cursor=page["next_cursor"]) == ["station"]
    assert [each["key"] for each in (await client.get(f"{A}/modules")).json()["items"]] == ["air", "core"]
    assert [each["key"] for each in (await client.get(f"{A}/profiles", params={"q": "cit"})).json()["items"]] == [
        "city"
    ]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (_with(NO2, lable="x"), "/lable"),
        (_with(NO2, aliases={"german": ["x"]}), "/aliases/german"),
        (_with(NO2, schema_definition={"a": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}), "/schema_definition"),
        (_with(NO2, schema_definition={"type": "number", "minimun": 0}), "/schema_definition/minimun"),
        (_with(NO2, schema_definition={"type": "number", "maximum": 10**400}), "/schema_definition/maximum"),
        (_with(NO2, schema_definition={"type": "string", "title": "a\u0000"}), "/schema_definition/title"),
        (_with(NO2, parents=["none"]), "/parents/0"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_body_is_told_with_its_place(
    client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    answer = await client.put(f"{A}/entities/no2", json=body)

    assert answer.status_code == 422, answer.text
    assert [each["pointer"].startswith(pointer) for each in answer.json()["errors"]] == [True]


async def test_another_workspace_has_a_catalogue_of_its_own(client: httpx.AsyncClient, owner: Sessions) -> None:
    await fill(client)
    theirs = bearer(await make_key(owner, workspace_id=await make_workspace(owner)))

    assert (await client.get(f"{A}/entities", headers=theirs)).json()["items"] == []
    answer = await change(client, *ALL, headers=theirs)
    assert answer.json()["revision"] == 1
    ours = {each["id"] for each in (await client.get(f"{A}/entities")).json()["items"]}
    assert ours.isdisjoint({each["id"] for each in answer.json()["changes"]})


async def test_a_confined_key_reads_it_and_does_not_change_it(client: httpx.AsyncClient, owner: Sessions) -> None:
    await fill(client)
    confined = bearer(await make_key(owner, collection_ids=[]))

    assert len((await client.get(f"{A}/entities", headers=confined)).json()["items"]) == 3
    refused = await change(client, {"kind": "entity", "key": "o3", "content": NAME}, headers=confined, dry_run=True)
    assert (refused.status_code, refused.json()["code"]) == (403, "access.confined")


async def test_a_web_process_that_is_killed_half_way_leaves_nothing(
    client: httpx.AsyncClient, environment: dict[str, str], tmp_path: Path
) -> None:
    await fill(client)
    before = await whole(client), (await client.get(f"{A}/catalogue")).json()
    port = ports.find((0,))
    given = {**os.environ, **environment, "DRYSTONE_DATA_DIR": str(tmp_path), "DRYSTONE_ROOT": str(ROOT)}
    given |= {"DRYSTONE_CRASH_POINTS": str(tmp_path), "API_PORT": str(port)}
    crash_points.order(tmp_path, "mid_catalogue_change", "kill")
    command = [sys.executable, "-m", "uvicorn", "--factory", "drystone.web:create_app", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        web = subprocess.Popen(command, cwd=ROOT, env=given, stdout=log, stderr=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=client.headers, timeout=30) as other:
            await _until_it_listens(other, web)
            with pytest.raises(httpx.TransportError):
                await change(other, {"kind": "entity", "key": "no2", "content": _no2()}, bump_modules=True)
        assert web.wait(30) < 0
    finally:
        web.kill()
        web.wait()

    assert crash_points.reached(tmp_path, "mid_catalogue_change")
    assert (await whole(client), (await client.get(f"{A}/catalogue")).json()) == before
    done = await change(client, {"kind": "entity", "key": "no2", "content": _no2()}, bump_modules=True)
    assert done.json()["revision"] == 2


async def _until_it_listens(client: httpx.AsyncClient, web: subprocess.Popen[bytes]) -> None:
    while web.poll() is None:
        try:
            await client.get("/health/live")
        except httpx.TransportError:
            await asyncio.sleep(0.1)
        else:
            return
    pytest.fail("web has ended")


async def test_thousands_are_put_at_once(client: httpx.AsyncClient) -> None:
    count = 1500
    changes: list[dict[str, Any]] = [
        {"kind": "entity", "key": f"p{number}", "content": NAME} for number in range(count)
    ]
    changes.append({"kind": "module", "key": "many", "content": _with(CORE, entities=[f"p{n}" for n in range(count)])})

    made = await change(client, *changes)
    again = await change(client, *changes)

    assert made.status_code == 200, made.text
    assert {each["what"] for each in again.json()["changes"]} == {"unchanged"}
    assert (await client.get(f"{A}/modules/many")).json()["entities"] == sorted(f"p{n}" for n in range(count))


async def test_it_is_drawn_as_a_whole_or_below_a_profile_as_it_is_or_was(client: httpx.AsyncClient) -> None:
    await fill(client)
    between = (await client.get(f"{A}/catalogue/revisions")).json()["items"][0]["at"]
    await change(client, {"kind": "profile", "key": "town", "content": {"label": "Town", "modules": {"core": "*"}}})
    path = f"{A}/catalogue/graph"

    drawn = await client.get(path, params={"entities": True})
    modules = await client.get(path, params={"format": "mermaid"})
    then = await client.get(path, params={"format": "mermaid", "as_of": between})
    town = await client.get(path, params={"format": "mermaid", "profile": "town", "entities": True})
    nobody = await client.get(path, params={"profile": "nobody"})

    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/svg+xml")
    assert drawn.text.count("<g>") == 7
    assert modules.headers["content-type"] == "text/plain; charset=utf-8"
    assert [modules.text.count("Town"), then.text.count("Town")] == [1, 0]
    assert sorted(re.findall(r"[(\[]+\"([^\"]+)", town.text)) == ["Core 1.0.0", "Name", "Town"]
    assert (nobody.status_code, nobody.json()["code"]) == (404, "profile.not_found")
