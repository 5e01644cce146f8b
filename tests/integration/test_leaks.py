"""What others do changes nothing of what a caller is told: counts, scores, order, errors and answers to guesses.

The same requests are asked before and after others have brought in the same and other content, in another workspace and in
another collection, and have taken some of it away again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.keys import bearer, make_key, make_workspace

from drystone.access.service import default_workspace
from drystone.core.db import Sessions, transaction

A = "/api/v1"
TEXTS = {
    "heron": "The heron stands in the reeds and waits for fish. Herons nest in trees beside the lake.",
    "owl": "The owl hunts mice at night. Owls see in the dark.",
    "wall": "A dry stone wall stands without mortar. The weight of its stones holds it.",
}
# How long it took, which request it was, and what was done of late by the clock.
VOLATILE = {"took_ms", "stages", "request_id", "jobs_per_s", "resets_in_s"}


async def _add(client: httpx.AsyncClient, headers: Mapping[str, str], collection: str, texts: Mapping[str, str]) -> Any:
    sent = {}
    for external_id, body in texts.items():
        answer = await client.post(
            f"{A}/documents",
            headers=headers,
            files={"file": ("a.txt", body.encode())},
            data={"collection": collection, "external_id": external_id, "attributes": '{"kind": "bird"}'},
        )
        assert answer.status_code == 202, answer.text
        sent[external_id] = answer.json()["document"]["id"]
    return sent


def _searches(collection: str, document_id: str, guessed: list[str]) -> list[tuple[str, str, Any]]:
    every: list[dict[str, Any]] = [
        {"query": "heron in the reeds", "explain": True, "highlight": True, "neighbours": 2},
        {"query": "stones of a wall", "mode": "lexical", "explain": True},
        {"query": "stones of a wall", "mode": "dense", "explain": True, "limit": 50},
        {"query": "owl", "filter": {"type": "eq", "key": "kind", "value": "bird"}, "explain": True},
        {"query": "owl", "filter": {"type": "eq", "key": "kind", "value": 7}},
        {"queries": ["heron", "night"], "collapse": "copies", "diversity": 0.5},
        {"like": {"document_id": document_id}, "explain": True},
        *({"like": {"document_id": each}} for each in guessed),
    ]
    return [("post", "/search", each | {"collection": collection}) for each in every]


def _reads(collection: str, document_id: str, guessed: list[str]) -> list[tuple[str, str, Any]]:
    documents = ["", "/text", "/content", "/versions", "/events"]
    kinds = [f"documents/{{}}{each}" for each in documents]
    kinds += ["jobs/{}", "batches/{}", "batches/{}/events", "collections/{}", "collections/{}/events", "webhooks/{}"]
    kinds += ["entities/{}", "modules/{}/history", "profiles/{}/references", "entities/{}/versions/1"]
    kinds += ["drafts/{}", "drafts/{}/diff"]
    return [
        ("get", "/collections", None),
        ("get", f"/collections/{collection}", None),
        ("get", f"/documents?collection={collection}", None),
        ("get", f"/documents/{document_id}", None),
        ("get", "/jobs", None),
        ("get", "/jobs/stats", None),
        ("get", "/usage", None),
        ("get", "/catalogue", None),
        ("get", "/entities", None),
        ("get", "/modules?q=a", None),
        ("get", "/drafts", None),
        *(("get", "/" + kind.format(each), None) for kind in kinds for each in guessed),
        *(("delete", f"/documents/{each}", None) for each in guessed),
        ("post", "/documents/delete", {"ids": guessed}),
        ("post", "/documents/delete", {"collection": collection, "filter": _NOBODY, "dry_run": True}),
    ]


_HERON = {"type": "category", "label": "Heron", "aliases": {"la": ["Ardea"]}}
_NOBODY = {"type": "eq", "key": "kind", "value": "nobody's"}


def _asked(document_id: str, guessed: list[str]) -> list[tuple[str, str, Any]]:
    return [*_searches("mine", document_id, guessed), *_reads("mine", document_id, guessed)]


async def _told(client: httpx.AsyncClient, headers: Mapping[str, str], asked: list[tuple[str, str, Any]]) -> list[Any]:
    told = []
    for method, path, body in asked:
        given = {} if body is None else {"json": body}
        answer = await client.request(method, f"{A}{path}", headers=headers, **given)
        said = answer.json() if answer.content and "json" in answer.headers["content-type"] else answer.text
        told.append((method, path, json.dumps(body), answer.status_code, _steady(said)))
    return told


def _steady(said: Any) -> Any:
    if isinstance(said, dict):
        return {name: _steady(value) for name, value in said.items() if name not in VOLATILE}
    return [_steady(each) for each in said] if isinstance(said, list) else said


@pytest.mark.parametrize("others", ["another workspace", "another collection"])
async def test_what_others_do_changes_nothing_of_what_is_told(
    client: httpx.AsyncClient, work: Any, owner: Sessions, others: str
) -> None:
    async with transaction(owner) as session:
        home = await default_workspace(session)
    theirs = await make_workspace(owner) if others == "another workspace" else home
    collection = "mine" if others == "another workspace" else "theirs"
    first = await client.post(f"{A}/collections", json={"name": "mine"})
    ours = bearer(await make_key(owner, collection_ids=[UUID(first.json()["id"])]))
    foreign = bearer(await make_key(owner, workspace_id=theirs))
    mine = await _add(client, ours, "mine", TEXTS)
    await work()

    # Ids that are nobody's, and later those that are: the same must be said of both.
    guesses = [str(uuid4()) for _ in range(4)]
    before = await _told(client, ours, _asked(mine["heron"], guesses))

    other = TEXTS | {"goes": "Reeds and herons and stones, owls and mice.", "stays": "A heron on a wall at night."}
    others_ids = await _add(client, foreign, collection, other)
    batch = (await client.post(f"{A}/batches", headers=foreign, json={"name": "b"})).json()["id"]
    job = (await client.get(f"{A}/jobs", headers=foreign)).json()["items"][0]["id"]
    entity = None
    if theirs != home:  # of one workspace all keys read the same catalogue
        await client.put(f"{A}/entities/heron", headers=foreign, json=_HERON)
        entity = (await client.post(f"{A}/drafts", headers=foreign, json={"title": "heron"})).json()["id"]
    found = (await client.get(f"{A}/collections/{collection}", headers=foreign)).json()["id"]
    await work()
    assert (await client.delete(f"{A}/documents/{others_ids['goes']}", headers=foreign)).status_code == 204
    await work()
    real = [others_ids["stays"], batch, job, entity or found]
    after = await _told(client, ours, _asked(mine["heron"], real))

    masked = json.loads(_masked(after, dict(zip(real, guesses, strict=True))))
    for was, is_ in zip(json.loads(json.dumps(before)), masked, strict=True):
        assert is_ == was
    assert len(before) > 60


def _masked(told: list[Any], names: Mapping[str, str]) -> str:
    said = json.dumps(told)
    for real, guessed in names.items():
        said = said.replace(real, guessed)
    return said


async def test_the_same_bytes_are_new_to_each_workspace(client: httpx.AsyncClient, work: Any, owner: Sessions) -> None:
    """That somebody has this very file already must not be told by what an upload of it is answered."""
    body = b"A secret report that two workspaces have."
    answers = []
    for workspace_id in (await make_workspace(owner), await make_workspace(owner)):
        headers = bearer(await make_key(owner, workspace_id=workspace_id))
        sent = await client.post(f"{A}/documents", headers=headers, files={"file": ("a.txt", body)})
        announced = await client.post(
            f"{A}/uploads",
            headers=headers,
            json={"name": "a.txt", "size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()},
        )
        await work()
        view = await client.get(f"{A}/documents/{sent.json()['document']['id']}", headers=headers)
        answers.append((sent.status_code, sorted(sent.json()), announced.status_code, view.json()["state"]))

    assert answers[0] == answers[1]
    assert answers[0][0] == 202
