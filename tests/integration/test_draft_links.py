"""The link of a draft: whoever holds it may edit this one draft, and see and do nothing else; whoever does not is told nothing."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.integration.catalogues import NAME, A, change, fill
from tests.integration.test_drafts import O3, do, of_link, running, start
from tests.keys import bearer, make_key, make_workspace

from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings
from drystone.web import create_app

ROUTES = [
    ("GET", "", None),
    ("PUT", "", {"title": "theirs", "changes": []}),
    ("PATCH", "", {"title": "theirs"}),
    ("GET", "/changes/entity/o3", None),
    ("PUT", "/changes/entity/o3", O3),
    ("DELETE", "/changes/entity/o3", None),
    ("GET", "/diff", None),
    ("GET", "/catalogue", None),
    ("POST", "/validate", None),
    ("POST", "/rebase", {}),
    ("POST", "/submit", None),
    ("POST", "/withdraw", None),
]


async def _ask(client: httpx.AsyncClient, route: tuple[str, str, Any], headers: dict[str, str]) -> httpx.Response:
    method, path, body = route
    request = client.build_request(method, f"{A}/draft{path}", json=body)
    del request.headers["authorization"]
    request.headers.update(headers)
    return await client.send(request)


def _told(answer: httpx.Response) -> tuple[Any, ...]:
    """All of an answer that could tell anything apart."""
    names = sorted(name for name in answer.headers if name not in ("x-request-id",))
    return answer.status_code, {**answer.json(), "request_id": ""}, [(name, answer.headers[name]) for name in names]


async def _ended(client: httpx.AsyncClient, owner: Sessions) -> dict[str, dict[str, str]]:
    """What is no link any more, or never was, by what became of it."""
    revoked, rotated, deleted, expired, right = [await start(client, O3) for _ in range(5)]
    await do(client, revoked, "revoke")
    await do(client, rotated, "link")
    await client.delete(f"{A}/drafts/{deleted['id']}")
    async with transaction(owner) as session:
        statement = text("update drafts set expires_at = now() - interval '1 s' where id = :id")
        await session.execute(statement, {"id": expired["id"]})
    prefix = right["token"].partition(".")[0]
    made_up = f"dsd_{secrets.token_hex(6)}.{secrets.token_urlsafe(32)}"
    return {
        "revoked": of_link(revoked),
        "rotated": of_link(rotated),
        "deleted": of_link(deleted),
        "expired": of_link(expired),
        "wrong secret": {"Authorization": f"Draft {prefix}.{secrets.token_urlsafe(32)}"},
        "made up": {"Authorization": f"Draft {made_up}"},
        "no secret": {"Authorization": f"Draft {prefix}"},
        "malformed": {"Authorization": "Draft ..\tdsd_."},
        "empty": {"Authorization": "Draft"},
        "a key": {"Authorization": client.headers["authorization"]},
        "the link as a key": {"Authorization": f"Bearer {right['token']}"},
        "nothing": {},
    }


async def test_all_that_is_no_link_is_answered_alike_on_every_route(client: httpx.AsyncClient, owner: Sessions) -> None:
    ended = await _ended(client, owner)

    for route in ROUTES:
        answers = {name: await _ask(client, route, headers) for name, headers in ended.items()}
        told = {name: _told(answer) for name, answer in answers.items()}
        assert {name: said for name, said in told.items() if said != told["made up"]} == {}
        assert (answers["made up"].status_code, answers["made up"].json()["code"]) == (404, "draft.no_such_link")


async def test_the_routes_asked_here_are_all_there_are(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    there = {
        (method.upper(), path.removeprefix(f"{A}/draft"))
        for path, methods in paths.items()
        if path == f"{A}/draft" or path.startswith(f"{A}/draft/")
        for method in methods
    }

    assert there == {(method, path.replace("entity/o3", "{kind}/{key}")) for method, path, _ in ROUTES}


async def test_a_link_is_no_key(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    paths = ["/drafts", f"/drafts/{made['id']}", "/entities", "/catalogue", "/collections", "/documents", "/audit"]

    for headers in (of_link(made), bearer(made["token"])):
        answers = [await client.get(f"{A}{path}", headers=headers) for path in paths]
        assert {each.status_code for each in answers} == {401}
    assert (await client.post(f"{A}/drafts/{made['id']}/merge", headers=of_link(made))).status_code == 401


async def test_a_link_leads_to_its_own_draft_only(client: httpx.AsyncClient) -> None:
    one, other = await start(client, O3), await start(client)

    await client.patch(f"{A}/draft", json={"title": "mine"}, headers=of_link(other))

    assert (await client.get(f"{A}/draft", headers=of_link(one))).json()["id"] == one["id"]
    titles = [(await client.get(f"{A}/drafts/{each['id']}")).json()["title"] for each in (one, other)]
    assert titles == ["a draft", "mine"]


async def test_a_holder_sees_the_catalogue_that_the_draft_rests_on_and_of_no_other_workspace(
    client: httpx.AsyncClient, owner: Sessions
) -> None:
    theirs = bearer(await make_key(owner, workspace_id=await make_workspace(owner)))
    await change(client, O3, headers=theirs)
    await fill(client)
    held = of_link(await start(client))
    await client.put(f"{A}/entities/later", json=NAME)

    first = (await client.get(f"{A}/draft/catalogue", headers=held, params={"limit": 2})).json()
    second = (await client.get(f"{A}/draft/catalogue", headers=held, params={"cursor": first["next_cursor"]})).json()
    modules = (await client.get(f"{A}/draft/catalogue", headers=held, params={"kind": "module", "q": "air"})).json()

    assert [each["key"] for each in first["items"] + second["items"]] == ["name", "no2", "station"]
    assert [(each["key"], each["label"], each["content"]["version"]) for each in modules["items"]] == [
        ("air", "Air quality", "1.0.0")
    ]
    assert set(first["items"][0]) == {"kind", "key", "type", "label", "content"}


async def test_a_holder_reads_nothing_that_was_deleted_and_nothing_once_it_is_merged(client: httpx.AsyncClient) -> None:
    await change(client, O3, {**O3, "key": "secret", "content": {**NAME, "label": "Confidential"}})
    await client.delete(f"{A}/entities/secret")
    made = await start(client)
    held = of_link(made)
    back = {"kind": "entity", "key": "secret", "action": "restore"}
    await client.put(f"{A}/draft/changes/entity/secret", json=back, headers=held)

    told = [await client.get(f"{A}/draft/diff", headers=held)]
    told += [await client.post(f"{A}/draft/{verb}", json=body, headers=held) for verb, body in (("rebase", {}), ("validate", None))]  # fmt: skip
    with_key = await client.get(f"{A}/drafts/{made['id']}/diff")
    await client.post(f"{A}/draft/submit", headers=held)
    await do(client, made, "approve", "merge")
    late = await client.get(f"{A}/draft/diff", headers=held)

    assert [each.status_code for each in told] == [200, 200, 200]
    assert not any("Confidential" in each.text for each in told)
    assert "Confidential" in with_key.text
    assert (await client.get(f"{A}/entities/secret")).json()["label"] == "Confidential"
    assert (late.status_code, late.json()["code"]) == (409, "draft.wrong_status")


async def test_every_answer_is_kept_nowhere_and_told_to_nobody(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    answers = [await _ask(client, route, headers) for route in ROUTES for headers in (of_link(made), {})]
    answers += [await client.get(f"{A}/drafts/{made['id']}"), await client.post(f"{A}/drafts", json={"title": "a"})]
    answers += [await client.post(f"{A}/drafts/{made['id']}/link", json={}), await client.get(f"{A}/draft/nowhere")]

    assert {each.headers["cache-control"] for each in answers} == {"no-store"}
    assert {each.headers["referrer-policy"] for each in answers} == {"no-referrer"}


async def test_what_is_merged_gets_no_other_link(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    await do(client, made, "validate", "submit", "approve", "merge")

    answer = await client.post(f"{A}/drafts/{made['id']}/link", json={})

    assert (answer.status_code, answer.json()["code"]) == (409, "draft.wrong_status")
    assert (await client.get(f"{A}/draft", headers=of_link(made))).json()["status"] == "merged"


async def test_a_new_link_ends_the_one_before_and_a_revoked_one_ends_at_once(client: httpx.AsyncClient) -> None:
    first = await start(client, O3)
    second = (await do(client, first, "link")).json()

    statuses = [(await client.get(f"{A}/draft", headers=of_link(each))).status_code for each in (first, second)]
    revoked = (await do(client, first, "revoke")).json()

    assert statuses == [404, 200]
    assert second["token"].partition(".")[0] != first["token"].partition(".")[0]
    assert second["link"] == f"/draft#{second['token']}"
    assert revoked["has_link"] is False
    assert (await client.get(f"{A}/draft", headers=of_link(second))).status_code == 404
    again = (await do(client, first, "link")).json()
    assert (await client.get(f"{A}/draft", headers=of_link(again))).status_code == 200


async def test_nothing_of_a_body_is_taken_from_who_holds_no_link(client: httpx.AsyncClient) -> None:
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(50):
            taken += 1
            yield b" " * (1 << 20)

    for headers in ({}, {"Authorization": "Draft dsd_a.b"}, {"Authorization": client.headers["authorization"]}):
        request = client.build_request("PUT", f"{A}/draft", content=body())
        del request.headers["authorization"]
        request.headers.update({"Content-Type": "application/json", **headers})
        answer = await client.send(request)
        assert (answer.status_code, answer.json()["code"]) == (404, "draft.no_such_link")
    assert taken == 0

    made = await start(client)
    large = await client.put(
        f"{A}/draft", content=body(), headers={"Content-Type": "application/json", **of_link(made)}
    )
    assert (large.status_code, taken) == (413, 9)


async def test_what_is_no_parameter_or_method_is_told_to_holders_only(client: httpx.AsyncClient) -> None:
    held = of_link(await start(client))

    unknown = await client.get(f"{A}/draft/catalogue", params={"colour": "red"}, headers=held)
    method = await client.put(f"{A}/draft/diff", headers=held)
    hidden = await client.get(f"{A}/draft/catalogue", params={"colour": "red"})

    assert (unknown.status_code, unknown.json()["code"]) == (422, "request.unknown_parameter")
    assert (method.status_code, method.headers["allow"]) == (405, "GET")
    assert hidden.json()["code"] == "draft.no_such_link"


@pytest.fixture
async def strict(settings: Settings, sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a web process that hears three wrong secrets of a link in a minute."""
    api = settings.api.model_copy(update={"wrong_keys_per_minute": 3})
    app = create_app(settings.model_copy(update={"api": api}))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=(f"10.9.{secrets.randbelow(256)}.{secrets.randbelow(256)}", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://drystone") as client:
            yield client


async def test_whoever_guesses_a_link_is_not_heard_even_when_right(
    client: httpx.AsyncClient, strict: httpx.AsyncClient
) -> None:
    guessed, known = await start(client), await start(client)
    prefix = guessed["token"].partition(".")[0]
    assert (await strict.get(f"{A}/draft", headers=of_link(known))).status_code == 200

    wrong = [await strict.get(f"{A}/draft", headers={"Authorization": f"Draft {prefix}.{uuid4()}"}) for _ in range(4)]
    right = await strict.get(f"{A}/draft", headers=of_link(guessed))

    assert [each.status_code for each in wrong] == [404, 404, 404, 429]
    assert (right.status_code, right.json()["code"]) == (429, "access.guessing")
    assert (await strict.get(f"{A}/draft", headers=of_link(known))).status_code == 200


async def test_what_takes_long_is_asked_for_less_often_by_who_has_no_key(client: httpx.AsyncClient) -> None:
    made = await start(client, O3)

    answers = [await client.get(f"{A}/draft/diff", headers=of_link(made)) for _ in range(40)]
    with_key = await client.get(f"{A}/drafts/{made['id']}/diff")

    late = [each for each in answers if each.status_code != 200]
    assert len(answers) - len(late) >= 20
    assert {(each.status_code, each.json()["code"]) for each in late} == {(429, "rate.exceeded")}
    assert int(late[0].headers["retry-after"]) > 0
    assert with_key.status_code == 200


async def test_a_token_is_in_no_log(client: httpx.AsyncClient, environment: dict[str, str], tmp_path: Path) -> None:
    """Of a web process as it is started: also where somebody puts a token into the path, or it is a wrong one."""
    made = await start(client, O3)
    secret = made["token"].partition(".")[2]
    async with running(client, environment | {"LOG_LEVEL": "INFO"}, tmp_path) as (other, _):
        for path in (
            "draft",
            f"draft/{made['token']}",
            f"drafts/{made['token']}",
            f"draft/changes/entity/{made['token']}",
        ):
            await other.get(f"{A}/{path}", headers=of_link(made))
        await do(client, made, "revoke")
        await other.get(f"{A}/draft", headers=of_link(made))

    said = (tmp_path / "web.log").read_text()
    assert f"draft:{made['token'].partition('.')[0]}" in said
    assert secret not in said
