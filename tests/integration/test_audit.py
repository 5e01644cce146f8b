"""The audit over HTTP: every change with who and what, by pages and filters; nobody alters it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from tests.keys import bearer, make_key

import drystone
from drystone.access.service import ACTIONS
from drystone.core.db import Sessions, transaction

AUDIT = "/api/v1/audit"


async def read(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get(AUDIT, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


@pytest.fixture
async def document(client: httpx.AsyncClient, work: Any, collection: str) -> str:
    """A document that was uploaded, described and deleted, each by a request of its own name."""
    sent = await client.post(
        "/api/v1/documents",
        files={"file": ("a.txt", b"The heron.")},
        data={"collection": collection},
        headers={"X-Request-ID": "sent"},
    )
    await work()
    path = sent.headers["location"]
    await client.patch(path, json={"title": "Heron"}, headers={"X-Request-ID": "described"})
    await client.delete(path, headers={"X-Request-ID": "deleted"})
    return str(sent.json()["document"]["id"])


async def test_every_change_of_a_document_is_there_with_who_and_when(client: httpx.AsyncClient, document: str) -> None:
    found = await read(client, subject_id=document)

    assert [(row["action"], row["request_id"]) for row in found] == [
        ("document.delete", "deleted"),
        ("document.describe", "described"),
        ("document.create", "sent"),
    ]
    assert {row["actor"] for row in found} == {"key:dsk_local"}
    assert all(abs(datetime.fromisoformat(row["at"]) - datetime.now(UTC)) < timedelta(minutes=2) for row in found)
    assert found[-1]["after_sha256"] is not None


async def test_each_filter_leaves_out_what_it_does_not_name(
    client: httpx.AsyncClient, document: str, owner: Sessions
) -> None:
    other = await make_key(owner)
    await client.post("/api/v1/collections", json={"name": f"c-{uuid4().hex[:8]}"}, headers=bearer(other))

    async def actions(**query: Any) -> set[str]:
        return {row["action"] for row in await read(client, **query)}

    assert await actions(actor=f"key:{other.partition('.')[0]}") == {"collection.create"}
    assert await actions(actor=other.partition(".")[0]) == {"collection.create"}
    assert await actions(actor="key") == set()
    assert await actions(action="document.delete") == {"document.delete"}
    assert await actions(action="document.d*") == {"document.delete", "document.describe"}
    assert await actions(subject_kind="collection") == {"collection.create"}
    assert await actions(request_id="described") == {"document.describe"}
    assert await actions(older_than="1h") == set()
    assert await actions(newer_than="1h", action="document.delete") == {"document.delete"}
    assert await actions(newer_than=datetime.now(UTC).isoformat()) == set()


async def test_pages_lead_through_all_of_it_in_both_orders(client: httpx.AsyncClient, document: str) -> None:
    whole = [row["id"] for row in await read(client)]
    assert len(whole) >= 4
    for order, expected in (("newest", whole), ("oldest", whole[::-1])):
        found: list[int] = []
        query: dict[str, Any] = {"limit": 2, "order": order}
        while True:
            page = (await client.get(AUDIT, params=query)).json()
            found += [row["id"] for row in page["items"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]

        assert found == expected


@pytest.mark.parametrize(
    "query", [{"older_than": "soon"}, {"cursor": "x"}, {"order": "any"}, {"subject_id": "1"}, {"who": "x"}]
)
async def test_what_is_no_filter_is_refused(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await client.get(AUDIT, params=query)).status_code == 422


@pytest.mark.parametrize("statement", ["update audit set actor = 'nobody'", "delete from audit", "truncate audit"])
async def test_the_application_s_role_can_alter_none_of_it(sessions: Sessions, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with transaction(sessions) as session:
            await session.execute(text(statement))


@pytest.mark.parametrize("action", ["key.creat", "keys.*", "nothing", "*key", "document_d*", "key.create.*"])
async def test_an_action_that_never_happens_is_refused_with_those_that_do(
    client: httpx.AsyncClient, action: str
) -> None:
    answer = await client.get(AUDIT, params={"action": action})

    assert (answer.status_code, answer.json()["code"]) == (422, "audit.unknown_action")
    assert "key.create" in answer.json()["hint"]
    assert answer.json()["errors"][0]["pointer"] == "/action"


@pytest.mark.parametrize("action", [*ACTIONS, "key.*", "k*", "*"])
async def test_every_action_there_is_may_be_asked_for(client: httpx.AsyncClient, action: str) -> None:
    assert (await client.get(AUDIT, params={"action": action})).status_code == 200


def test_what_sql_writes_into_the_audit_is_among_the_actions() -> None:
    """What Python writes, mypy checks: `record` takes nothing else."""
    sources = [path.read_text() for path in Path(drystone.__file__).parent.rglob("*.py")]
    inserts = [part for source in sources for part in source.split("insert into audit")[1:]]
    written = {action for part in inserts for action in re.findall(r"'([a-z]+\.[a-z_]+)'", part.split("\n)")[0])}

    assert len(inserts) == 2
    assert written == {"document.delete"}
    assert written <= set(ACTIONS)
