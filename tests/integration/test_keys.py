"""API keys over HTTP: made once told, narrowed, rotated with overlap, revoked at once, written down in the audit."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.keys import bearer, make_key

from drystone.access import keys
from drystone.access import service as access
from drystone.access.service import Principal
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Denied
from drystone.core.settings import Settings
from drystone.http import requests, streams

KEYS = "/api/v1/keys"


async def make(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await client.post(KEYS, json={"name": "of a test", "scopes": ["read"]} | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def status(client: httpx.AsyncClient, key: str, path: str = "/api/v1/collections") -> int:
    return (await client.get(path, headers=bearer(key))).status_code


async def test_a_new_key_is_told_once_and_only_its_hash_is_kept(client: httpx.AsyncClient, owner: Sessions) -> None:
    answer = await client.post(KEYS, json={"name": "website", "scopes": ["write", "read"]})
    made = answer.json()
    prefix, _, secret = made["key"].partition(".")

    assert (made["prefix"], made["name"], made["scopes"]) == (prefix, "website", ["read", "write"])
    assert len(secret) == 43  # 256 bits
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == f"{KEYS}/{prefix}"
    assert await status(client, made["key"]) == 200
    shown = (await client.get(answer.headers["location"])).json()
    assert shown == {name: value for name, value in made.items() if name != "key"} | {
        "last_used_at": shown["last_used_at"]
    }
    async with transaction(owner) as session:
        kept = (await session.execute(text("select * from api_keys where prefix = :p"), {"p": prefix})).one()
        everything = (await session.execute(text("select api_keys::text, audit::text from api_keys, audit"))).all()
    assert kept.secret_sha256 == hashlib.sha256(secret.encode()).digest()
    assert not any(secret in str(row) for row in everything)


async def test_repeated_under_its_idempotency_key_the_same_key_is_told_without_its_secret(
    client: httpx.AsyncClient, owner: Sessions
) -> None:
    body, headers = {"name": "once", "scopes": ["read"]}, {"Idempotency-Key": uuid4().hex}
    first = (await client.post(KEYS, json=body, headers=headers)).json()

    again = (await client.post(KEYS, json=body, headers=headers)).json()

    assert again == first | {"key": None}
    async with transaction(owner) as session:
        remembered = await session.scalar(text("select string_agg(response_body::text, ' ') from idempotency_keys"))
    assert first["prefix"] in remembered
    assert first["key"].partition(".")[2] not in remembered


async def test_a_confined_key_sees_its_collections_only(client: httpx.AsyncClient) -> None:
    names = [f"k-{uuid4().hex[:8]}" for _ in range(3)]
    ids = [(await client.post("/api/v1/collections", json={"name": name})).json()["id"] for name in names]
    made = await make(client, collections=[names[0], ids[1], names[0]])

    seen = (await client.get("/api/v1/collections", headers=bearer(made["key"]))).json()["items"]

    assert made["collection_ids"] == ids[:2]
    assert sorted(each["name"] for each in seen) == sorted(names[:2])
    assert await status(client, made["key"], f"/api/v1/collections/{names[2]}") == 404
    refused = await client.post(KEYS, json={"name": "x", "scopes": ["read"], "collections": ["is-not-there"]})
    assert (refused.status_code, refused.json()["code"]) == (404, "collection.not_found")


async def test_a_deleted_collection_s_name_gives_its_key_nothing_of_the_next_one(client: httpx.AsyncClient) -> None:
    name = f"k-{uuid4().hex[:8]}"
    await client.post("/api/v1/collections", json={"name": name})
    made = await make(client, collections=[name])
    await client.delete(f"/api/v1/collections/{name}")

    await client.post("/api/v1/collections", json={"name": name})

    assert await status(client, made["key"], f"/api/v1/collections/{name}") == 404


async def test_a_key_ends_when_it_was_to(client: httpx.AsyncClient) -> None:
    made = await make(client, expires_at=(datetime.now(UTC) + timedelta(seconds=0.3)).isoformat())
    assert await status(client, made["key"]) == 200

    while await status(client, made["key"]) == 200:
        await asyncio.sleep(0.05)

    assert await status(client, made["key"]) == 401
    assert made["prefix"] not in [each["prefix"] for each in (await client.get(KEYS)).json()["items"]]
    ended = (await client.get(KEYS, params={"ended": "true"})).json()["items"]
    assert made["prefix"] in [each["prefix"] for each in ended]
    rotated = await client.post(f"{KEYS}/{made['prefix']}/rotate")
    assert (rotated.status_code, rotated.json()["code"]) == (409, "key.ended")


async def test_an_end_in_the_past_is_refused(client: httpx.AsyncClient) -> None:
    body = {"name": "late", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}

    refused = await client.post(KEYS, json=body)

    assert (refused.status_code, refused.json()["code"]) == (422, "key.expires_in_past")
    assert refused.json()["errors"][0]["pointer"] == "/expires_at"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "", "scopes": ["read"]},
        {"name": "x", "scopes": ["read"], "collections": []},
        {"name": "x", "scopes": ["read"], "expires_at": "2099-01-01T00:00:00"},
        {"name": "x", "scopes": ["read"], "secret": "mine"},
    ],
)
async def test_what_makes_no_key_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await client.post(KEYS, json=body)).status_code == 422


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "Must not be empty."),
        (" \u2003", "Must not be blank."),
        ("y" * 201, "Must have 200 characters at most, not 201."),
    ],
)
async def test_what_is_wrong_with_a_name_is_told(client: httpx.AsyncClient, name: str, told: str) -> None:
    answer = await client.post(KEYS, json={"name": name, "scopes": ["read"]})

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"pointer": "/name", "detail": told}]


async def test_after_a_rotation_both_secrets_are_right_until_the_overlap_ends(
    client: httpx.AsyncClient, owner: Sessions
) -> None:
    old = await make(client)
    new = (await client.post(f"{KEYS}/{old['prefix']}/rotate")).json()
    left = datetime.fromisoformat(new["previous_until"]) - datetime.now(UTC)

    assert new["prefix"] == old["prefix"]
    assert timedelta(hours=23, minutes=59) < left < timedelta(hours=24)
    assert [await status(client, each["key"]) for each in (old, new)] == [200, 200]
    async with transaction(owner) as session:
        await session.execute(text("update api_keys set previous_until = now() - interval '1 s'"))
    assert [await status(client, each["key"]) for each in (old, new)] == [401, 200]
    assert (await client.get(f"{KEYS}/{old['prefix']}")).json()["previous_until"] is None


async def test_a_rotation_without_overlap_ends_the_secret_at_once_and_so_does_the_next(
    client: httpx.AsyncClient,
) -> None:
    first = await make(client)
    path = f"{KEYS}/{first['prefix']}/rotate"
    second = (await client.post(path, json={"overlap_s": 60})).json()
    third = (await client.post(path, json={"overlap_s": 0})).json()

    assert [await status(client, each["key"]) for each in (first, second, third)] == [401, 401, 200]


async def test_a_revoked_key_is_refused_at_once_with_the_secret_before(client: httpx.AsyncClient) -> None:
    old = await make(client)
    new = (await client.post(f"{KEYS}/{old['prefix']}/rotate")).json()

    answers = [await client.delete(f"{KEYS}/{old['prefix']}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert [await status(client, each["key"]) for each in (old, new)] == [401, 401]
    assert (await client.get(f"{KEYS}/{old['prefix']}")).json()["revoked_at"] is not None


@pytest.mark.parametrize("change", ["revoke", "narrow"])
async def test_of_two_keys_that_end_each_other_one_is_left(
    client: httpx.AsyncClient, owner: Sessions, change: str
) -> None:
    for _ in range(5):
        pair = [await make_key(owner), await make_key(owner)]

        async def end(mine: str, other: str) -> int:
            path = f"{KEYS}/{other.partition('.')[0]}"
            if change == "revoke":
                return (await client.delete(path, headers=bearer(mine))).status_code
            return (await client.patch(path, json={"scopes": ["read"]}, headers=bearer(mine))).status_code

        ended = await asyncio.gather(end(*pair), end(*pair[::-1]))

        assert sorted(ended)[1] in (401, 403)
        assert sorted([await status(client, key, KEYS) for key in pair])[0] == 200


async def test_a_key_that_was_narrowed_is_not_told_what_it_was_answered_before(client: httpx.AsyncClient) -> None:
    name = f"k-{uuid4().hex[:8]}"
    made = await make(client, scopes=["admin"])
    headers = bearer(made["key"]) | {"Idempotency-Key": uuid4().hex}
    body = {"name": name}
    assert (await client.post("/api/v1/collections", json=body, headers=headers)).status_code == 201
    await client.patch(f"{KEYS}/{made['prefix']}", json={"scopes": ["write"]})

    again = await client.post("/api/v1/collections", json=body, headers=headers)

    assert (again.status_code, again.json()["code"]) == (422, "idempotency.key_reused")


async def test_a_webhook_s_secret_is_told_once_and_not_kept_for_a_repetition(
    client: httpx.AsyncClient, owner: Sessions
) -> None:
    body, headers = {"url": "https://example.org/hook"}, {"Idempotency-Key": uuid4().hex}
    first = (await client.post("/api/v1/webhooks", json=body, headers=headers)).json()

    again = (await client.post("/api/v1/webhooks", json=body, headers=headers)).json()

    assert again == first | {"secret": None}
    async with transaction(owner) as session:
        kept = await session.scalar(text("select string_agg(response_body::text, ' ') from idempotency_keys"))
    assert first["secret"] not in kept


async def test_an_end_beyond_the_last_year_is_refused(client: httpx.AsyncClient) -> None:
    body = {"name": "x", "scopes": ["read"], "expires_at": "9999-12-31T23:59:59-14:00"}

    assert (await client.post(KEYS, json=body)).status_code == 422


async def test_a_revoked_key_is_changed_no_more(client: httpx.AsyncClient) -> None:
    made = await make(client)
    path = f"{KEYS}/{made['prefix']}"
    await client.delete(path)

    answers = [
        await client.patch(path, json={"expires_at": "2099-01-01T00:00:00Z"}),
        await client.put(f"{path}/limits", json={"documents_per_day": 1}),
        await client.post(f"{path}/rotate"),
    ]

    assert [(each.status_code, each.json()["code"]) for each in answers] == [(409, "key.ended")] * 3


async def test_an_expired_key_goes_on_with_a_later_end(client: httpx.AsyncClient, owner: Sessions) -> None:
    made = await make(client)
    async with transaction(owner) as session:
        await session.execute(text("update api_keys set expires_at = now() where not is_from_settings"))
    assert await status(client, made["key"]) == 401

    await client.patch(f"{KEYS}/{made['prefix']}", json={"expires_at": "2099-01-01T00:00:00Z"})

    assert await status(client, made["key"]) == 200


@pytest.mark.parametrize(
    ("scope", "may"), [("read", [200, 403, 403]), ("write", [200, 201, 403]), ("admin", [200, 201, 200])]
)
async def test_each_scope_holds_those_before_it(client: httpx.AsyncClient, scope: str, may: list[int]) -> None:
    headers = bearer((await make(client, scopes=[scope]))["key"])

    answers = [
        await client.get("/api/v1/collections", headers=headers),
        await client.post("/api/v1/collections", json={"name": f"k-{uuid4().hex[:8]}"}, headers=headers),
        await client.get(KEYS, headers=headers),
    ]

    assert [answer.status_code for answer in answers] == may


async def test_a_whole_key_in_a_path_is_not_logged(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make(client)
    log = Mock()
    monkeypatch.setattr(requests, "log", log)

    await client.get(f"{KEYS}/{made['key']}")

    assert log.info.call_args.kwargs["path"] == f"{KEYS}/{made['prefix']}.***"


async def test_a_changed_key_may_what_it_says_now(client: httpx.AsyncClient) -> None:
    name = f"k-{uuid4().hex[:8]}"
    await client.post("/api/v1/collections", json={"name": name})
    made = await make(client, collections=[name])
    path = f"{KEYS}/{made['prefix']}"

    async def write() -> int:
        body = {"name": f"{name}-b"}
        return (await client.post("/api/v1/collections", json=body, headers=bearer(made["key"]))).status_code

    assert await write() == 403

    changed = (await client.patch(path, json={"scopes": ["read", "write"], "collections": None, "name": None})).json()

    assert (changed["scopes"], changed["collection_ids"], changed["name"]) == (["read", "write"], None, "of a test")
    assert await write() == 201


async def test_the_key_that_asks_cannot_take_its_own_rights(client: httpx.AsyncClient, owner: Sessions) -> None:
    token = await make_key(owner)
    path, headers = f"{KEYS}/{token.partition('.')[0]}", bearer(token)

    answers = [
        await client.delete(path, headers=headers),
        await client.patch(path, json={"scopes": ["read"]}, headers=headers),
        await client.patch(path, json={"expires_at": "2099-01-01T00:00:00Z"}, headers=headers),
    ]

    assert [(each.status_code, each.json()["code"]) for each in answers] == [(409, "key.own")] * 3
    assert (await client.post(f"{path}/rotate", headers=headers)).status_code == 200


async def test_the_key_of_env_is_changed_there_only(client: httpx.AsyncClient, settings: Settings) -> None:
    prefix = settings.api.key.get_secret_value().partition(".")[0]

    answers = [
        await client.delete(f"{KEYS}/{prefix}"),
        await client.patch(f"{KEYS}/{prefix}", json={"scopes": ["read"]}),
        await client.patch(f"{KEYS}/{prefix}", json={"expires_at": "2099-01-01T00:00:00Z"}),
        await client.post(f"{KEYS}/{prefix}/rotate"),
    ]

    assert [(each.status_code, each.json()["code"]) for each in answers] == [(409, "key.from_settings")] * 4
    assert (await client.patch(f"{KEYS}/{prefix}", json={"name": "first key"})).status_code == 200


async def test_a_page_of_keys_leads_to_the_next(client: httpx.AsyncClient) -> None:
    made = [(await make(client))["prefix"] for _ in range(3)]
    found, cursor = [], None
    while True:
        page = (await client.get(KEYS, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        found += [each["prefix"] for each in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break

    assert found[1:] == made  # after the first key


async def test_the_last_use_is_written_down_once_a_minute(client: httpx.AsyncClient, owner: Sessions) -> None:
    made = await make(client)
    assert made["last_used_at"] is None

    seen = []
    for past in ("0 s", "30 s", "2 min"):
        async with transaction(owner) as session:
            await session.execute(text(f"update api_keys set last_used_at = last_used_at - interval '{past}'"))
        await status(client, made["key"])
        async with transaction(owner) as session:
            row = await session.execute(
                text("select now() - last_used_at < interval '20 s' from api_keys where prefix = :p"),
                {"p": made["prefix"]},
            )
            seen.append(row.scalar_one())

    assert seen == [True, False, True]


async def test_every_change_of_a_key_is_in_the_audit(client: httpx.AsyncClient, owner: Sessions) -> None:
    made = await make(client)
    path = f"{KEYS}/{made['prefix']}"
    await client.patch(path, json={"name": "renamed"})
    await client.patch(path, json={})
    await client.put(f"{path}/limits", json={"documents_per_day": 3})
    await client.post(f"{path}/rotate")
    await client.delete(path)
    await client.delete(path)

    async with transaction(owner) as session:
        rows = (await session.execute(text("select action, details from audit order by id"))).all()

    assert [row.action for row in rows] == ["key.create", "key.change", "key.limit", "key.rotate", "key.revoke"]
    assert {row.details.pop("prefix") for row in rows} == {made["prefix"]}
    assert [row.details for row in rows] == [
        {
            "name": "of a test",
            "scopes": ["read"],
            "collection_ids": None,
            "expires_at": None,
            "documents_per_day": None,
            "bytes_per_day": None,
        },
        {"name": "renamed", "was": {"name": "of a test"}},
        {"documents_per_day": 3, "was": {"documents_per_day": None}},
        {"overlap_s": 86_400},
        {},
    ]


async def test_the_key_of_env_replaces_the_one_that_stood_there_before(
    client: httpx.AsyncClient, owner: Sessions, settings: Settings
) -> None:
    given = settings.api.key.get_secret_value()
    try:
        async with transaction(owner) as session:
            await access.ensure_key(session, f"dsk_next.{'a' * 43}", name="first key")

        assert await status(client, f"dsk_next.{'a' * 43}") == 200
        assert await status(client, given) == 401
        async with transaction(owner) as session:
            rows = await session.execute(text("select actor, action, details->>'prefix' from audit order by id"))
            assert [tuple(row) for row in rows] == [
                ("settings", "key.create", "dsk_next"),
                ("settings", "key.revoke", given.partition(".")[0]),
            ]
    finally:
        async with transaction(owner) as session:
            await session.execute(text("update api_keys set secret_sha256 = '\\x00' where is_from_settings"))
            await access.ensure_key(session, given, name="first key")
            await session.execute(text("delete from api_keys where prefix = 'dsk_next'"))
    assert await status(client, given) == 200


async def test_a_stream_ends_soon_after_its_key(
    client: httpx.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_KEY_ASKED_S", 0.0)
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.1)
    is_watched = asyncio.Event()
    ask = keys.is_valid

    async def asked(session: AsyncSession, caller: Principal) -> bool:
        is_watched.set()
        return await ask(session, caller)

    monkeypatch.setattr(keys, "is_valid", asked)
    name = f"k-{uuid4().hex[:8]}"
    await client.post("/api/v1/collections", json={"name": name})
    made = await make(client)
    path, headers = f"/api/v1/collections/{name}/events", bearer(made["key"])
    watching = asyncio.create_task(client.get(path, headers=headers, timeout=30))
    await asyncio.wait_for(is_watched.wait(), 10)

    await client.delete(f"{KEYS}/{made['prefix']}")
    answer = await asyncio.wait_for(watching, 10)

    assert answer.status_code == 200  # it had begun
    assert "event: snapshot" in answer.text
    assert (await client.get(path, headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        "scopes = '{read}'",
        "collection_ids = '{}'",
        "revoked_at = now()",
        "expires_at = now()",
        "secret_sha256 = '\\x00'",
    ],
)
async def test_a_key_with_other_rights_than_it_had_is_not_what_it_was(
    client: httpx.AsyncClient, owner: Sessions, changes: str
) -> None:
    token = await make_key(owner, scopes=("read", "write"))
    async with transaction(owner) as session:
        caller = await access.authenticate(session, token)
        assert await keys.is_valid(session, caller)

        await session.execute(text(f"update api_keys set {changes} where prefix = :p"), {"p": token.partition(".")[0]})

        assert not await keys.is_valid(session, caller)


async def test_only_an_admin_of_everything_may_ask_for_keys(sessions: Sessions, owner: Sessions) -> None:
    confined = await make_key(owner, collection_ids=[UUID(int=1)])
    async with transaction(sessions) as session:
        caller = await access.authenticate(session, confined)
        with pytest.raises(Denied, match="confined to some collections") as refused:
            await keys.page(session, caller, ended=False, after=None, limit=1)

    assert refused.value.code == "access.confined"


@pytest.mark.parametrize("change", ["revoke", "narrow", "rotate"])
async def test_an_upload_under_way_keeps_nothing_when_its_key_changes(
    client: httpx.AsyncClient, collection: str, change: str
) -> None:
    await client.post("/api/v1/collections", json={"name": collection})
    made = await make(client, scopes=["write"])
    path = f"{KEYS}/{made['prefix']}"

    async def body() -> AsyncIterator[bytes]:
        yield b"The first half"
        if change == "revoke":
            await client.delete(path)
        elif change == "narrow":
            await client.patch(path, json={"collections": [collection]})
        else:
            await client.post(f"{path}/rotate", json={"overlap_s": 0})
        yield b" and the second."

    answer = await client.post(
        "/api/v1/documents",
        params={"name": "a.txt", "collection": collection},
        content=body(),
        headers=bearer(made["key"]),
    )

    assert (answer.status_code, answer.json()["code"]) == (401, "upload.key_changed")
    assert (await client.get("/api/v1/documents", params={"collection": collection})).json()["items"] == []


async def test_a_new_version_under_way_is_refused_as_well(client: httpx.AsyncClient, collection: str) -> None:
    sent = await client.post("/api/v1/documents", files={"file": ("a.txt", b"One.")}, data={"collection": collection})
    made = await make(client, scopes=["write"])

    async def body() -> AsyncIterator[bytes]:
        yield b"Two"
        await client.delete(f"{KEYS}/{made['prefix']}")

    answer = await client.put(
        f"{sent.headers['location']}/content", params={"name": "a.txt"}, content=body(), headers=bearer(made["key"])
    )

    assert (answer.status_code, answer.json()["code"]) == (401, "upload.key_changed")
    assert (await client.get(sent.headers["location"])).json()["version"] == 1


async def test_a_narrowed_key_sees_of_its_batches_only_what_it_may_see_still(
    client: httpx.AsyncClient, collection: str
) -> None:
    other = f"{collection}-other"
    for name in (collection, other):
        await client.post("/api/v1/collections", json={"name": name})
    made = await make(client, scopes=["write"])
    as_it = bearer(made["key"])
    batch = (await client.post("/api/v1/batches", headers=as_it)).headers["location"]
    for name in (collection, other, other):
        await client.post(
            "/api/v1/documents",
            files={"file": ("a.txt", f"{batch} {name}".encode())},
            data={"collection": name, "external_id": str(uuid4()), "batch": batch.rpartition("/")[2]},
            headers=as_it,
        )
    before = (await client.get(batch, headers=as_it)).json()["documents"]["pending"]

    await client.patch(f"{KEYS}/{made['prefix']}", json={"collections": [collection]})

    assert before == 3
    assert (await client.get(batch, headers=as_it)).json()["documents"]["pending"] == 1
    changed = await client.patch(batch, json={"expected": 9}, headers=as_it)
    assert changed.json()["documents"]["pending"] == 1


async def test_a_confined_key_that_names_no_collection_is_told_which_it_may_see(
    client: httpx.AsyncClient, collection: str
) -> None:
    await client.post("/api/v1/collections", json={"name": collection})
    made = await make(client, scopes=["write"], collections=[collection])
    as_it = bearer(made["key"])

    answers = [
        await client.post("/api/v1/search", json={"query": "a"}, headers=as_it),
        await client.post("/api/v1/documents", files={"file": ("a.txt", b"Words.")}, headers=as_it),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "collection.not_found")] * 2
    assert {answer.json()["hint"] for answer in answers} == {
        f"name one that this key may see: {collection}; without a name it is default"
    }
