"""Drafts over HTTP: proposed with a key, edited by whoever holds the link, decided, merged whole or not at all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.integration.catalogues import NAME, NO2, STATION, A, change, fill, whole
from tests.keys import bearer, make_key, make_workspace

from drystone.catalogue import drafts
from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.stack import ports

ROOT = Path(__file__).parent.parent.parent
O3 = {"kind": "entity", "key": "o3", "action": "put", "content": {**NAME, "label": "Ozone"}}


def _put(key: str, content: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "entity", "key": key, "action": "put", "content": {**content, **more}}


def of_link(made: dict[str, Any]) -> dict[str, str]:
    """The headers of whoever holds the link of a draft."""
    return {"Authorization": f"Draft {made['token']}"}


async def start(client: httpx.AsyncClient, *changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Make a draft; its answer with the link."""
    answer = await client.post(f"{A}/drafts", json={"title": "a draft", "changes": list(changes), **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def do(client: httpx.AsyncClient, made: dict[str, Any], *verbs: str, **body: Any) -> httpx.Response:
    """Do one thing after the other to a draft, with a key."""
    for verb in verbs:
        given = body if verb in ("approve", "reject", "rebase", "link") else None
        known = await client.get(f"{A}/drafts/{made['id']}") if verb == "approve" else None
        headers = {"If-Match": known.headers["etag"]} if known else {}
        answer = await client.post(f"{A}/drafts/{made['id']}/{verb}", json=given, headers=headers)
        assert answer.is_success, answer.text
    return answer


async def approved(client: httpx.AsyncClient, *changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A draft that may be merged."""
    made = await start(client, *changes, **more)
    await do(client, made, "validate", "submit", "approve")
    return made


async def test_from_a_link_to_a_merge(client: httpx.AsyncClient) -> None:
    await fill(client)
    made = await start(client, message="ozone is measured, too")
    held = of_link(made)

    put = await client.put(f"{A}/draft/changes/entity/o3", json=O3, headers=held)
    early = await client.post(f"{A}/draft/submit", headers=held)
    valid = await client.post(f"{A}/draft/validate", headers=held)
    sent = await client.post(f"{A}/draft/submit", headers=held)
    frozen = await client.put(f"{A}/draft/changes/entity/o3", json=O3, headers=held)
    unmerged = await client.post(f"{A}/drafts/{made['id']}/merge")
    await do(client, made, "approve", reason="as discussed")
    merged = await do(client, made, "merge")
    again = await do(client, made, "merge")

    assert put.json()["revision"] == 2
    assert (early.status_code, early.json()["code"]) == (409, "draft.wrong_status")
    assert early.json()["detail"] == "The draft is open, and cannot be submitted."
    assert early.json()["hint"] == "it can be edited, validated, rebased"
    assert (valid.json()["status"], valid.json()["problems"]) == ("validated", [])
    assert [(each["key"], each["what"]) for each in valid.json()["changes"]] == [("o3", "created")]
    assert sent.json()["status"] == "submitted"
    assert (frozen.status_code, frozen.json()["code"]) == (409, "draft.wrong_status")
    assert unmerged.json()["hint"] == "it can be validated, withdrawn, approved, rejected, rebased"
    assert (merged.json()["status"], merged.json()["merged_revision"], merged.json()["reason"]) == ("merged", 2, "as discussed")  # fmt: skip
    assert again.json() == merged.json()
    assert (await client.get(f"{A}/entities/o3")).json()["label"] == "Ozone"
    newest = (await client.get(f"{A}/catalogue/revisions")).json()["items"][0]
    assert newest["message"] == "ozone is measured, too"


async def test_each_step_is_in_the_audit_and_told(client: httpx.AsyncClient, owner: Sessions) -> None:
    made = await start(client)
    held = of_link(made)
    await client.put(f"{A}/draft/changes/entity/o3", json=O3, headers=held)
    for verb in ("validate", "submit", "withdraw", "validate", "submit"):
        assert (await client.post(f"{A}/draft/{verb}", headers=held)).is_success
    await do(client, made, "approve", "link", "merge", "revoke")
    await client.delete(f"{A}/drafts/{made['id']}")
    await do(client, made, "restore")

    rows = (await client.get(f"{A}/audit", params={"action": "draft.*", "limit": 100})).json()["items"]
    by = f"draft:{made['token'].partition('.')[0]}"
    assert [(row["action"], row["actor"] == by) for row in rows[::-1]] == [
        ("draft.create", False), ("draft.edit", True), ("draft.validate", True), ("draft.submit", True), ("draft.withdraw", True),
        ("draft.validate", True), ("draft.submit", True), ("draft.approve", False), ("draft.link", False), ("draft.merge", False),
        ("draft.revoke", False), ("draft.delete", False), ("draft.restore", False),
    ]  # fmt: skip
    edited = rows[-2]
    assert edited["details"]["what"] == ["entity o3"]
    assert edited["before_sha256"] == rows[-1]["after_sha256"] != edited["after_sha256"]
    async with transaction(owner) as session:
        told = list(await session.scalars(text("select kind from events where kind like 'draft.%' order by id")))
    assert told == [
        "draft.created", "draft.submitted", "draft.withdrawn", "draft.submitted", "draft.approved", "draft.merged",
    ]  # fmt: skip


async def test_a_draft_with_problems_stays_open_and_says_where_they_are(client: httpx.AsyncClient) -> None:
    await fill(client)
    wrong = {**STATION, "schema_definition": {"required": ["name", "nme"]}}
    made = await start(client, O3, _put("station", wrong))

    told = (await do(client, made, "validate")).json()
    empty = (await do(client, await start(client), "validate")).json()

    (problem,) = told["problems"]
    assert told["status"] == "open"
    assert (problem["code"], problem["key"]) == ("entity.unknown", "station")
    assert problem["pointer"] == "/changes/1/content/schema_definition/required/1"
    assert [each["code"] for each in empty["problems"]] == ["draft.empty"]


async def test_an_edit_opens_what_was_validated_and_the_same_again_does_not(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    path = f"{A}/drafts/{made['id']}"
    await do(client, made, "validate")

    same = await client.put(f"{path}/changes/entity/o3", json=O3)
    unchanged = (await client.get(path)).json()
    await client.put(f"{path}/changes/entity/o3", json=_put("o3", NAME, label="another"))

    assert same.json()["revision"] == 1
    assert unchanged["status"] == "validated"
    assert (await client.get(path)).json()["status"] == "open"


async def test_only_what_was_looked_at_is_approved(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    held = of_link(made)
    await do(client, made, "validate", "submit")
    seen = (await client.get(f"{A}/drafts/{made['id']}/diff")).json()["revision"]

    assert (await client.post(f"{A}/draft/withdraw", headers=held)).is_success
    await client.put(f"{A}/draft/changes/entity/o3", json=_put("o3", NAME, label="swapped"), headers=held)
    for verb in ("validate", "submit"):
        assert (await client.post(f"{A}/draft/{verb}", headers=held)).is_success
    path = f"{A}/drafts/{made['id']}/approve"
    blind = [await client.post(path, json={}, headers=each) for each in ({}, {"If-Match": "*"})]
    late = await client.post(path, json={}, headers={"If-Match": f'"{seen}"'})
    status = (await client.get(f"{A}/drafts/{made['id']}")).json()["status"]
    now = (await client.get(f"{A}/drafts/{made['id']}/diff")).json()["revision"]
    right = await client.post(path, json={}, headers={"If-Match": f'"{now}"'})

    assert [(each.status_code, each.json()["code"]) for each in blind] == [(428, "request.precondition_required")] * 2
    assert (late.status_code, late.json()["code"]) == (412, "request.precondition_failed")
    assert (status, right.json()["status"]) == ("submitted", "approved")


async def test_a_rejected_draft_says_why_and_may_be_mended(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    held = of_link(made)
    await do(client, made, "validate", "submit")

    unfounded = await client.post(f"{A}/drafts/{made['id']}/reject", json={})
    await do(client, made, "reject", reason="the unit is missing")
    seen = (await client.get(f"{A}/draft", headers=held)).json()
    withdrawn = await client.post(f"{A}/draft/withdraw", headers=held)

    assert unfounded.status_code == 422
    assert (seen["status"], seen["reason"]) == ("rejected", "the unit is missing")
    assert (withdrawn.json()["status"], withdrawn.json()["reason"]) == ("open", None)


async def test_two_edit_one_draft_at_once_and_nothing_is_lost(client: httpx.AsyncClient) -> None:
    made = await start(client)
    held, path = of_link(made), f"{A}/drafts/{made['id']}"
    keys = [f"p{number}" for number in range(12)]

    answers = await asyncio.gather(
        *(client.put(f"{A}/draft/changes/entity/{key}", json=_put(key, NAME), headers=held) for key in keys[:6]),
        *(client.put(f"{path}/changes/entity/{key}", json=_put(key, NAME)) for key in keys[6:]),
    )

    assert {each.status_code for each in answers} == {200}
    seen = (await client.get(path)).json()
    assert [each["key"] for each in seen["changes"]] == sorted(keys)
    assert seen["revision"] == 13
    assert len({each["revision"] for each in seen["changes"]}) == 12


async def test_of_two_who_edit_the_same_one_is_told_that_it_has_changed(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    held, path = of_link(made), f"{A}/drafts/{made['id']}"
    of_draft = (await client.get(path)).headers["etag"]
    of_change = (await client.get(f"{A}/draft/changes/entity/o3", headers=held)).headers["etag"]

    of_one = await asyncio.gather(
        *(
            client.put(
                f"{A}/draft/changes/entity/o3",
                json=_put("o3", NAME, label=f"label {number}"),
                headers=held | {"If-Match": of_change},
            )
            for number in range(6)
        )
    )
    stale = await client.put(path, json={"title": "mine", "changes": []}, headers={"If-Match": of_draft})
    new = await client.put(f"{path}/changes/entity/o3", json=O3, headers={"If-None-Match": "*"})
    gone = await client.delete(f"{path}/changes/entity/o3", headers={"If-Match": of_change})

    assert sorted(each.status_code for each in of_one) == [200] + [412] * 5
    assert [each.status_code for each in (stale, new, gone)] == [412, 412, 412]
    won = next(each for each in of_one if each.status_code == 200).json()
    assert (await client.get(path)).json()["changes"] == [won]


async def test_whole_drafts_that_are_put_at_once_with_a_tag_are_put_once(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    path, tag = f"{A}/drafts/{made['id']}", (await client.get(f"{A}/drafts/{made['id']}")).headers["etag"]

    answers = await asyncio.gather(
        *(
            client.put(path, json={"title": f"t{number}", "changes": [O3]}, headers={"If-Match": tag})
            for number in range(6)
        )
    )

    assert sorted(each.status_code for each in answers) == [200] + [412] * 5


async def test_a_change_is_taken_out_again(client: httpx.AsyncClient) -> None:
    made = await start(client, O3, _put("p", NAME))
    path = f"{A}/drafts/{made['id']}/changes/entity"

    assert (await client.delete(f"{path}/o3")).status_code == 204
    again = await client.delete(f"{path}/o3")
    assert (again.status_code, again.json()["code"]) == (404, "draft.no_such_change")
    assert [each["key"] for each in (await client.get(f"{A}/drafts/{made['id']}")).json()["changes"]] == ["p"]


async def test_a_stale_draft_is_not_merged_and_says_both_sides(client: httpx.AsyncClient) -> None:
    await fill(client)
    made = await approved(client, _put("name", NAME, label="ours"), bump_modules=True)
    await change(client, _put("name", NAME, label="theirs", description="theirs"), bump_modules=True)
    before = await whole(client)

    answer = await client.post(f"{A}/drafts/{made['id']}/merge")

    assert (answer.status_code, answer.json()["code"]) == (409, "draft.stale")
    told = {each["pointer"]: each for each in answer.json()["errors"]}
    label = told["/changes/entity/name/label"]
    assert (label["code"], label["base"], label["ours"], label["theirs"]) == (
        "draft.conflict",
        "Name",
        "ours",
        "theirs",
    )
    other = told["/changes/entity/name/description"]
    assert (other["code"], other["base"], other["theirs"]) == ("draft.stale", "", "theirs")
    assert await whole(client) == before
    assert (await client.get(f"{A}/drafts/{made['id']}")).json()["status"] == "approved"


async def test_what_a_draft_does_not_touch_may_move_on(client: httpx.AsyncClient) -> None:
    await fill(client)
    made = await approved(client, O3)
    await change(client, _put("no2", NO2, label="theirs"), bump_modules=True)

    merged = (await do(client, made, "merge")).json()

    assert merged["merged_revision"] == 3
    assert (await client.get(f"{A}/entities/no2")).json()["label"] == "theirs"


async def test_the_rules_decide_over_what_there_is_by_then(client: httpx.AsyncClient) -> None:
    """What the draft refers to, and does not touch, is gone when it is merged."""
    await change(client, _put("o3", NAME))
    made = await approved(client, _put("c", {"type": "category", "label": "C", "schema_definition": {"required": ["o3"]}}))  # fmt: skip
    await client.delete(f"{A}/entities/o3")

    answer = await client.post(f"{A}/drafts/{made['id']}/merge")

    assert (answer.status_code, answer.json()["code"]) == (422, "entity.unknown")
    assert (await client.get(f"{A}/entities")).json()["items"] == []
    assert (await client.get(f"{A}/drafts/{made['id']}")).json()["status"] == "approved"


async def test_a_rebase_brings_both_sides_together(client: httpx.AsyncClient) -> None:
    await fill(client)
    made = await approved(
        client,
        _put("name", NAME, label="ours", aliases={"de": ["Name"]}),
        _put("no2", NO2, label="both"),
        O3,
        bump_modules=True,
    )
    theirs = [_put("name", NAME, description="theirs", aliases={"de": ["Titel"]}), _put("no2", NO2, label="both")]
    await change(client, *theirs, bump_modules=True)

    diff = (await client.get(f"{A}/drafts/{made['id']}/diff")).json()
    rebased = (await do(client, made, "rebase")).json()
    again = (await do(client, made, "rebase")).json()
    await do(client, made, "validate", "submit", "approve", "merge")

    (name, no2, o3) = diff["changes"]
    assert {each["path"]: each["side"] for each in name["differences"]} == {
        "/label": "ours",
        "/description": "theirs",
        "/aliases/de": "merged",
    }
    assert [each["side"] for each in no2["differences"]] == ["same"]
    assert (o3["is_stale"], o3["differences"][0]["side"]) == (False, "ours")
    assert "base" not in o3["differences"][0]
    assert (rebased["dropped"], rebased["conflicts"]) == (["entity no2"], [])
    assert (rebased["draft"]["status"], rebased["draft"]["base_revision"]) == ("open", 2)
    assert again["draft"] == rebased["draft"]
    found = (await client.get(f"{A}/entities/name")).json()
    assert (found["label"], found["description"]) == ("ours", "theirs")
    assert found["aliases"] == {"de": ["Name", "Titel"]}


async def test_a_rebase_without_anything_upstream_keeps_what_was_decided(client: httpx.AsyncClient) -> None:
    await fill(client)
    made = await approved(client, O3)
    await change(client, _put("no2", NO2, label="theirs"), bump_modules=True)

    rebased = (await do(client, made, "rebase")).json()["draft"]

    assert (rebased["status"], rebased["base_revision"]) == ("approved", 2)
    assert rebased["changes"][0]["content"]["label"] == "Ozone"


@pytest.mark.parametrize("take", ["ours", "theirs"])
async def test_a_draft_in_which_a_conflict_was_decided_is_approved_anew(client: httpx.AsyncClient, take: str) -> None:
    await fill(client)
    made = await approved(client, _put("name", NAME, label="ours"), _put("o4", NAME), bump_modules=True)
    await change(client, _put("name", NAME, label="theirs"), bump_modules=True)

    left = (await do(client, made, "rebase")).json()["draft"]
    decided = (await do(client, made, "rebase", take=take)).json()["draft"]
    merged = await client.post(f"{A}/drafts/{made['id']}/merge")

    assert left["status"] == "approved"
    assert decided["status"] == "open"
    assert (merged.status_code, merged.json()["code"]) == (409, "draft.wrong_status")


async def test_a_rebase_asks_for_no_body(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)

    by_key = await client.post(f"{A}/drafts/{made['id']}/rebase")
    by_link = await client.post(f"{A}/draft/rebase", headers=of_link(made))

    assert (by_key.status_code, by_link.status_code) == (200, 200)


async def test_kind_and_key_of_a_change_are_those_of_its_path(client: httpx.AsyncClient) -> None:
    made = await start(client)
    path = f"{A}/drafts/{made['id']}/changes"

    entity = await client.put(f"{path}/entity/o3", json={"content": O3["content"]})
    module = await client.put(f"{path}/module/air", json={"kind": "module", "content": {"label": "Air"}})
    gone = await client.put(f"{path}/entity/no2", json={"action": "delete"})
    others = [
        await client.put(f"{path}/module/air", json={"content": O3["content"]}),
        await client.put(f"{path}/entity/o3", json={"content": {"type": "property"}}),
        await client.put(f"{path}/entity/o3", json={"key": "o2", "content": O3["content"]}),
        await client.put(f"{path}/entity/o3", json={"kind": "module", "content": O3["content"]}),
        await client.put(f"{path}/entity/o3", json={}),
        await client.put(f"{path}/entity/O3", json={"content": O3["content"]}),
    ]

    assert [each.status_code for each in (entity, module, gone)] == [200, 200, 200]
    assert (entity.json()["key"], module.json()["content"]["label"]) == ("o3", "Air")
    found = [(each.status_code, each.json()["code"], each.json()["errors"][0]["pointer"]) for each in others]
    assert found == [
        (422, "draft.wrong_content", "/content/type"),
        (422, "draft.wrong_content", "/content/label"),
        (422, "draft.another_key", "/key"),
        (422, "draft.another_key", "/kind"),
        (422, "draft.wrong_content", "/content"),
        (422, "entity.bad_key", "/key"),
    ]
    assert (
        others[0]
        .json()["errors"][0]["detail"]
        .endswith("there are: label, description, version, entities, dependencies")
    )


async def test_conflicts_are_left_until_somebody_chooses(client: httpx.AsyncClient) -> None:
    await fill(client)
    made = await start(client, _put("name", NAME, label="ours", description="ours"), _put("no2", NO2, label="ours"))
    theirs = [_put("name", NAME, label="theirs", description="theirs"), _put("no2", NO2, description="theirs")]
    await change(client, *theirs, bump_modules=True)
    path = f"{A}/draft/rebase"
    held = of_link(made)

    left = (await client.post(path, json={}, headers=held)).json()
    still = (await client.get(f"{A}/draft/diff", headers=held)).json()
    wrong = await client.post(path, json={"choices": [{"kind": "entity", "key": "no2", "take": "ours"}]}, headers=held)
    chosen = {"kind": "entity", "key": "name", "path": "/label", "take": "theirs"}
    settled = (await client.post(path, json={"take": "ours", "choices": [chosen]}, headers=held)).json()

    assert [(each["key"], {one["path"] for one in each["differences"]}) for each in left["conflicts"]] == [
        ("name", {"/label", "/description"})
    ]
    name, no2 = left["draft"]["changes"]
    assert (name["base_revision"], no2["base_revision"], no2["content"]["description"]) == (1, 2, "theirs")
    assert [each["is_stale"] for each in still["changes"]] == [True, False]
    assert (wrong.status_code, wrong.json()["code"]) == (422, "draft.no_such_conflict")
    assert settled["conflicts"] == []
    content = settled["draft"]["changes"][0]["content"]
    assert (content["label"], content["description"]) == ("theirs", "ours")


async def test_what_was_deleted_meanwhile_is_a_conflict(client: httpx.AsyncClient) -> None:
    await change(client, _put("o3", NAME), _put("p", NAME))
    changes = [_put("o3", NAME, label="ours"), {"kind": "entity", "key": "p", "action": "delete"}]
    made = await start(client, *changes)
    await change(client, {"kind": "entity", "key": "o3", "action": "delete"}, _put("p", NAME, label="theirs"))

    left = (await do(client, made, "rebase")).json()
    ours = (await do(client, made, "rebase", take="ours")).json()["draft"]["changes"]
    await do(client, made, "validate", "submit", "approve", "merge")

    assert [[one["side"] for one in each["differences"]] for each in left["conflicts"]] == [["conflict"], ["conflict"]]
    assert [(each["action"], each["base_revision"]) for each in ours] == [("put", 2), ("delete", 2)]
    assert [each["label"] for each in (await client.get(f"{A}/entities")).json()["items"]] == ["ours"]


async def test_a_restoring_brings_back_the_one_that_was_meant(client: httpx.AsyncClient) -> None:
    first = (await client.put(f"{A}/entities/o3", json={**NAME, "label": "first"})).json()
    await client.delete(f"{A}/entities/o3")
    made = await approved(client, {"kind": "entity", "key": "o3", "action": "restore"})
    await client.put(f"{A}/entities/o3", json={**NAME, "label": "second"})
    taken = await client.post(f"{A}/drafts/{made['id']}/merge")
    await client.delete(f"{A}/entities/o3")

    await do(client, made, "merge")

    assert (taken.status_code, taken.json()["code"]) == (409, "draft.stale")
    assert (await client.get(f"{A}/entities/o3")).json()["id"] == first["id"]


async def test_of_two_who_merge_at_once_one_does_and_both_are_told_so(client: httpx.AsyncClient) -> None:
    made = await approved(client, O3)

    answers = await asyncio.gather(*(client.post(f"{A}/drafts/{made['id']}/merge") for _ in range(6)))

    assert {each.status_code for each in answers} == {200}
    assert {each.json()["merged_revision"] for each in answers} == {1}
    assert (await client.get(f"{A}/catalogue")).json()["revision"] == 1
    rows = (await client.get(f"{A}/audit", params={"action": "draft.merge"})).json()["items"]
    assert len(rows) == 1


async def test_of_two_drafts_that_touch_the_same_the_second_is_stale(client: httpx.AsyncClient) -> None:
    made = [await approved(client, _put("o3", NAME, label=f"label {number}")) for number in range(4)]

    answers = await asyncio.gather(*(client.post(f"{A}/drafts/{each['id']}/merge") for each in made))

    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409]
    assert {each.json()["code"] for each in answers if not each.is_success} == {"draft.stale"}


async def test_a_merge_that_is_killed_half_way_leaves_nothing(
    client: httpx.AsyncClient, environment: dict[str, str], tmp_path: Path
) -> None:
    await fill(client)
    made = await approved(client, O3, _put("no2", NO2, label="ours"), bump_modules=True)
    path = f"{A}/drafts/{made['id']}"
    before = await whole(client), (await client.get(path)).json(), (await client.get(f"{A}/audit")).json()
    crash_points.order(tmp_path, "mid_catalogue_change", "kill")
    async with running(client, environment, tmp_path) as (other, web):
        with pytest.raises(httpx.TransportError):
            await other.post(f"{path}/merge")
        assert web.wait(30) < 0

    assert crash_points.reached(tmp_path, "mid_catalogue_change")
    assert (await whole(client), (await client.get(path)).json(), (await client.get(f"{A}/audit")).json()) == before
    assert (await do(client, made, "merge")).json()["merged_revision"] == 2
    assert (await client.get(f"{A}/entities/o3")).json()["label"] == "Ozone"


@asynccontextmanager
async def running(
    client: httpx.AsyncClient, environment: dict[str, str], folder: Path
) -> AsyncIterator[tuple[httpx.AsyncClient, subprocess.Popen[bytes]]]:
    """A web process of its own and a client of it. Its log and its crash points are in the folder."""
    port = ports.find((0,))
    given = {**os.environ, **environment, "DRYSTONE_DATA_DIR": str(folder), "DRYSTONE_ROOT": str(ROOT)}
    given |= {"DRYSTONE_CRASH_POINTS": str(folder), "API_PORT": str(port)}
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "drystone.web:create_app",
        "--port",
        str(port),
        "--no-access-log",
    ]
    with (folder / "web.log").open("wb") as log:
        web = subprocess.Popen(command, cwd=ROOT, env=given, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers=client.headers, timeout=30, trust_env=False) as other:
            await _until_it_listens(other, web)
            yield other, web
    finally:
        web.kill()
        web.wait()


async def _until_it_listens(client: httpx.AsyncClient, web: subprocess.Popen[bytes]) -> None:
    while web.poll() is None:
        try:
            await client.get("/health/live")
        except httpx.TransportError:
            await asyncio.sleep(0.1)
        else:
            return
    pytest.fail("web has ended")


async def test_drafts_are_listed_by_what_has_become_of_them(client: httpx.AsyncClient) -> None:
    merged, open_ = await approved(client, O3), await start(client)
    await do(client, merged, "merge")

    async def ids(**query: Any) -> list[str]:
        answer = await client.get(f"{A}/drafts", params=query)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["items"]]

    assert await ids() == [open_["id"], merged["id"]]
    assert await ids(status="merged") == [merged["id"]]
    first = (await client.get(f"{A}/drafts", params={"limit": 1})).json()
    assert await ids(cursor=first["next_cursor"]) == [merged["id"]]
    assert (first["items"][0]["change_count"], "changes" in first["items"][0]) == (0, False)
    assert "token" not in str(first)


async def test_a_deleted_draft_can_be_restored_and_has_no_link(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    path = f"{A}/drafts/{made['id']}"

    assert (await client.delete(path)).status_code == 204
    gone = await client.get(path)
    listed = (await client.get(f"{A}/drafts", params={"deleted": "true"})).json()["items"]
    held = await client.get(f"{A}/draft", headers=of_link(made))
    restored = (await do(client, made, "restore")).json()

    assert (gone.status_code, gone.json()["code"]) == (404, "draft.not_found")
    assert [each["id"] for each in listed] == [made["id"]]
    assert held.status_code == 404
    assert (restored["has_link"], restored["changes"]) == (False, made["changes"])
    assert (await client.get(f"{A}/draft", headers=of_link(made))).status_code == 404


async def _pass_time(owner: Sessions, made: dict[str, Any]) -> None:
    async with transaction(owner) as session:
        await session.execute(
            text("update drafts set expires_at = now() - interval '1 s' where id = :id"), {"id": made["id"]}
        )


async def test_a_draft_ends_with_time(client: httpx.AsyncClient, owner: Sessions) -> None:
    made, kept, rejected = await approved(client, O3), await start(client), await start(client, O3)
    await do(client, rejected, "validate", "submit")
    await do(client, rejected, "reject", reason="no")
    await _pass_time(owner, made)
    await _pass_time(owner, rejected)

    seen = (await client.get(f"{A}/drafts/{made['id']}")).json()
    listed = (await client.get(f"{A}/drafts", params={"status": "expired"})).json()["items"]
    refused = await client.post(f"{A}/drafts/{made['id']}/merge")
    async with transaction(owner) as session:
        counts = [await drafts.expire(session), await drafts.expire(session)]
        stored = (await session.scalars(text("select status from drafts order by id"))).all()
        told = await session.scalar(text("select count(*) from events where kind = 'draft.expired'"))

    assert (seen["status"], seen["has_link"]) == ("expired", False)
    assert [each["id"] for each in listed] == [made["id"]]
    assert (refused.status_code, refused.json()["code"]) == (409, "draft.wrong_status")
    assert refused.json()["hint"] == "nothing becomes of it any more: start another one"
    assert (counts, told) == ([1, 0], 1)
    assert stored == ["expired", "open", "rejected"]
    assert (await client.get(f"{A}/draft", headers=of_link(kept))).status_code == 200
    assert (await client.get(f"{A}/entities")).json()["items"] == []


@pytest.mark.parametrize("days", [-1, 400])
async def test_an_end_lies_in_the_future_and_within_a_year(client: httpx.AsyncClient, days: int) -> None:
    end = (datetime.now(UTC) + timedelta(days=days)).isoformat()

    answer = await client.post(f"{A}/drafts", json={"title": "a", "expires_at": end})

    assert (answer.status_code, answer.json()["code"]) == (422, "draft.bad_end")


async def test_a_repeated_request_makes_one_draft_and_tells_its_link_once(
    client: httpx.AsyncClient, owner: Sessions
) -> None:
    key = {"Idempotency-Key": "once"}
    first = await client.post(f"{A}/drafts", json={"title": "a"}, headers=key)
    second = await client.post(f"{A}/drafts", json={"title": "a"}, headers=key)

    assert second.headers["idempotent-replayed"] == "true"
    assert second.json() == first.json() | {"token": None, "link": None}
    async with transaction(owner) as session:
        kept = str((await session.execute(text("select * from idempotency_keys"))).all())
        kept += str((await session.execute(text("select * from drafts"))).all())
        kept += str((await session.execute(text("select * from audit"))).all())
        kept += str((await session.execute(text("select * from events"))).all())
    assert first.json()["token"].partition(".")[2] not in kept


@pytest.mark.parametrize(
    ("changes", "status", "code", "pointer"),
    [
        ([O3, O3], 422, "changeset.twice", "/changes/1"),
        ([O3, O3 | {"key": "../../docker-compose"}], 422, "entity.bad_key", "/changes/1/key"),
        ([{"kind": "module", "key": "/etc/x", "action": "delete"}], 422, "module.bad_key", "/changes/0/key"),
        ([O3 | {"key": "a\x1b[2J"}], 422, "entity.bad_key", "/changes/0/key"),
        ([O3 | {"key": "a\n"}], 422, "entity.bad_key", "/changes/0/key"),
        ([O3 | {"key": ".."}], 422, "entity.bad_key", "/changes/0/key"),
        ([{"kind": "entity", "key": "a"}], 422, "draft.wrong_content", "/changes/0/content"),
        ([O3 | {"action": "delete"}], 422, "draft.wrong_content", "/changes/0/content"),
        ([_put("a", NO2, schema_definition={"maximum": 10**400})], 422, "schema.invalid", "/changes/0/content/schema_definition/maximum"),
        ([_put("a", NAME, lable="x")], 422, "request.invalid", "/changes/0/content/lable"),
        ([O3 | {"revision": 1}], 422, "request.invalid", "/changes/0/revision"),
        ([O3 | {"key": "CO"}], 422, "entity.bad_key", "/changes/0/key"),
    ],
)  # fmt: skip
async def test_what_cannot_be_kept_is_refused_with_its_place(
    client: httpx.AsyncClient, changes: list[dict[str, Any]], status: int, code: str, pointer: str
) -> None:
    answer = await client.post(f"{A}/drafts", json={"title": "a", "changes": changes})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["errors"][0]["pointer"] == pointer


async def test_whoever_holds_a_link_names_no_files(client: httpx.AsyncClient) -> None:
    made = await start(client)
    key = "..%2F..%2Fdocker-compose"

    body = O3 | {"key": "../../docker-compose"}
    whole_ = await client.put(f"{A}/draft", json={"title": "a", "changes": [body]}, headers=of_link(made))
    one = await client.put(f"{A}/draft/changes/entity/{key}", json=body, headers=of_link(made))

    assert (whole_.status_code, whole_.json()["code"]) == (422, "entity.bad_key")
    assert one.status_code in (404, 405, 422)
    assert (await client.get(f"{A}/drafts/{made['id']}")).json()["changes"] == []


async def test_a_draft_changes_a_thousand(client: httpx.AsyncClient) -> None:
    count = drafts.MOST_CHANGES
    await change(client, *(_put(f"p{number}", NAME) for number in range(count)))
    made = await start(client, *(_put(f"p{number}", NAME, label="ours") for number in range(count)))
    await change(client, *(_put(f"p{number}", NAME, description="theirs") for number in range(0, count, 3)))

    stale = (await client.get(f"{A}/drafts/{made['id']}/diff")).json()
    rebased = (await do(client, made, "rebase")).json()
    await do(client, made, "validate", "submit", "approve", "merge")

    assert sum(each["is_stale"] for each in stale["changes"]) == -(-count // 3)
    assert len(rebased["draft"]["changes"]) == count
    found = (await client.get(f"{A}/entities/p3")).json()
    assert (found["label"], found["description"]) == ("ours", "theirs")


async def test_a_draft_has_a_largest_size(client: httpx.AsyncClient) -> None:
    made = await start(client)
    path = f"{A}/drafts/{made['id']}"
    large = [_put(f"p{number}", NAME, description="x" * 10_000) for number in range(120)]
    many = [{"kind": "entity", "key": f"p{number}", "action": "delete"} for number in range(drafts.MOST_CHANGES)]

    too_large = await client.put(path, json={"title": "a", "changes": large})
    full = await client.put(path, json={"title": "a", "changes": many})
    one_more = await client.put(f"{path}/changes/entity/o3", json=O3)
    slow = [_put(f"p{n}", NAME, schema_definition={"pattern": f"{n:03}" + "a" * 997}) for n in range(21)]
    to_compile = await client.put(path, json={"title": "a", "changes": slow})

    assert (too_large.status_code, too_large.json()["code"]) == (413, "draft.too_large")
    assert full.status_code == 200
    assert (one_more.status_code, one_more.json()["code"]) == (413, "draft.too_large")
    assert (to_compile.status_code, to_compile.json()["code"]) == (413, "draft.too_large")


async def test_who_waits_for_a_draft_keeps_nobody_from_another(client: httpx.AsyncClient, owner: Sessions) -> None:
    busy, other = await start(client, O3), await start(client, O3)
    async with transaction(owner) as session:
        await session.execute(text("select 1 from drafts where id = :id for update"), {"id": busy["id"]})
        waiting = [
            asyncio.create_task(client.patch(f"{A}/draft", json={"title": f"t{n}"}, headers=of_link(busy)))
            for n in range(40)
        ]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        of_other = await client.patch(f"{A}/draft", json={"title": "mine"}, headers=of_link(other))

    refused = next(iter(done)).result()
    statuses = [(await each).status_code for each in waiting]
    assert (refused.status_code, refused.json()["code"]) == (503, "server.busy")
    assert int(refused.headers["retry-after"]) > 0
    assert of_other.status_code == 200
    assert set(statuses) == {200, 503}
    assert statuses.count(503) >= 8  # a dozen wait for it at most, two of them with a connection


async def test_a_large_draft_is_read_and_edited_at_a_slow_pace_by_who_has_no_key(client: httpx.AsyncClient) -> None:
    many = [{"kind": "entity", "key": f"p{number}", "action": "delete"} for number in range(drafts.LARGE + 1)]
    large, small = await start(client, *many), await start(client, *many[1:])

    async def ask(made: dict[str, Any]) -> set[int]:
        answers = [await client.get(f"{A}/draft/changes/entity/p5", headers=of_link(made)) for _ in range(40)]
        return {each.status_code for each in answers}

    assert await ask(large) == {200, 429}
    assert await ask(small) == {200}


async def test_another_workspace_has_drafts_of_its_own(client: httpx.AsyncClient, owner: Sessions) -> None:
    made = await approved(client, O3)
    theirs = bearer(await make_key(owner, workspace_id=await make_workspace(owner)))

    answers = [
        await client.get(f"{A}/drafts/{made['id']}", headers=theirs),
        await client.get(f"{A}/drafts/{uuid4()}", headers=theirs),
        await client.post(f"{A}/drafts/{made['id']}/merge", headers=theirs),
    ]

    assert {each.status_code for each in answers} == {404}
    assert {each.json()["code"] for each in answers} == {"draft.not_found"}
    assert (await client.get(f"{A}/drafts", headers=theirs)).json()["items"] == []


async def test_only_a_key_that_writes_everywhere_decides(client: httpx.AsyncClient, owner: Sessions) -> None:
    made = await start(client, O3)
    await do(client, made, "validate", "submit")
    reads, confined = (
        bearer(await make_key(owner, scopes=["read"])),
        bearer(await make_key(owner, collection_ids=[])),
    )

    for headers in (reads, confined):
        assert (await client.get(f"{A}/drafts/{made['id']}", headers=headers)).status_code == 200
        for verb in ("approve", "reject", "merge", "link", "revoke", "withdraw", "validate"):
            body = {"approve": {"reason": "x"}, "reject": {"reason": "x"}, "link": {}}.get(verb)
            answer = await client.post(f"{A}/drafts/{made['id']}/{verb}", headers=headers, json=body)
            assert answer.status_code == 403, verb
    assert (await client.get(f"{A}/drafts/{made['id']}")).json()["status"] == "submitted"
