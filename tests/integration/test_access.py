"""Every route of every edge, asked by those who may not: without a key, with another's, with too few scopes.

A route that is new must say here what it needs and what outsiders are answered; one that is gone must go from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.keys import bearer, make_key, make_workspace

from drystone.adapters.embedding.model import MODEL_ID
from drystone.core.db import Sessions
from drystone.core.settings import Settings
from drystone.openai.edge import EDGE as OPENAI_EDGE
from drystone.web import create_app

# Nobody but those who may see the collection must ever be told this.
CANARY = "kingfisher"
NOBODY, READ, WRITE, ADMIN = "nobody", "read", "write", "admin"
# Nobody with any key: only whoever holds the link of a draft (tests/integration/test_draft_links.py).
LINK = "link"


@dataclass(frozen=True)
class Rule:
    """What a route needs, how it is asked, and what it answers outsiders.

    outsider: the status for a key of another collection, stranger: for a key of another workspace. Where that is a success,
    the answer must not tell anything of what the caller may not see. Words in braces are put in from the scene.
    """

    scope: str
    outsider: int = 404
    stranger: int = 404
    body: Any = None
    file: bool = False
    field: str = "file"
    form: Mapping[str, str] | None = None


def whole(scope: str, stranger: int = 404, body: Any = None) -> Rule:
    """Of what concerns the whole workspace: no key that is confined to collections may."""
    return Rule(scope, outsider=403, stranger=stranger, body=body)


def listing() -> Rule:
    """Of lists, which show outsiders what they may see: nothing of this."""
    return Rule(READ, outsider=200, stranger=200)


def of_workspace(stranger: int = 404) -> Rule:
    """Of the catalogue, which every key of the workspace may read, whatever collections it is confined to."""
    return Rule(READ, outsider=200, stranger=stranger)


A = "/api/v1"
OPENAI = "/openai/v1"
STORE = f"{OPENAI}/vector_stores/{{vector_store_id}}"
_ENTITY = {"type": "property", "label": "changed", "schema_definition": {"type": "string"}}
_ANNOUNCED = {"filename": "a.txt", "bytes": 3, "mime_type": "text/plain", "purpose": "assistants"}
RULES: dict[str, Rule] = {
    "get /health": Rule(NOBODY),
    "get /health/live": Rule(NOBODY),
    "get /health/ready": Rule(NOBODY),
    "get /metrics": whole(ADMIN, 200),
    f"post {A}/collections": whole(WRITE, 201, {"name": "{new}"}),
    f"get {A}/collections": listing(),
    f"get {A}/collections/{{collection}}": Rule(READ),
    f"patch {A}/collections/{{collection}}": Rule(WRITE, body={"description": "changed"}),
    f"delete {A}/collections/{{collection}}": Rule(WRITE),
    f"get {A}/collections/{{collection}}/events": Rule(READ),
    f"get {A}/collections/{{collection}}/embedding": Rule(READ),
    f"post {A}/collections/{{collection}}/embedding/start": Rule(ADMIN, body={}),
    f"post {A}/collections/{{collection}}/embedding/compare": Rule(READ, body={"queries": [CANARY]}),
    f"post {A}/collections/{{collection}}/embedding/switch": Rule(ADMIN),
    f"post {A}/collections/{{collection}}/embedding/rollback": Rule(ADMIN),
    f"post {A}/collections/{{collection}}/embedding/finish": Rule(ADMIN),
    f"post {A}/collections/{{collection}}/embedding/cancel": Rule(ADMIN),
    f"put {A}/collections/{{collection}}/passages": Rule(
        WRITE, body={"passages": [{"id": "a", "text": "Some words.", "vector": [1.0]}]}
    ),
    f"post {A}/collections/{{collection}}/passages/get": Rule(READ, body={"ids": ["a"]}),
    f"post {A}/collections/{{collection}}/passages/delete": Rule(WRITE, body={"ids": ["a"]}),
    f"post {A}/collections/{{collection}}/passages/search": Rule(READ, body={"vector": [1.0]}),
    f"post {A}/documents": Rule(WRITE, stranger=202, file=True),
    f"get {A}/documents": listing(),
    f"post {A}/documents/delete": Rule(WRITE, outsider=200, stranger=200, body={"ids": ["{document_id}"]}),
    f"get {A}/documents/{{document_id}}": Rule(READ),
    f"patch {A}/documents/{{document_id}}": Rule(WRITE, body={"title": "changed"}),
    f"delete {A}/documents/{{document_id}}": Rule(WRITE),
    f"put {A}/documents/{{document_id}}/content": Rule(WRITE, file=True),
    f"get {A}/documents/{{document_id}}/content": Rule(READ),
    f"get {A}/documents/{{document_id}}/text": Rule(READ),
    f"get {A}/documents/{{document_id}}/events": Rule(READ),
    f"get {A}/documents/{{document_id}}/versions": Rule(READ),
    f"get {A}/documents/{{document_id}}/versions/{{number}}": Rule(READ),
    f"get {A}/documents/{{document_id}}/versions/{{number}}/content": Rule(READ),
    f"get {A}/documents/{{document_id}}/versions/{{number}}/text": Rule(READ),
    f"post {A}/documents/{{document_id}}/versions/{{number}}/restore": Rule(WRITE),
    f"post {A}/uploads": Rule(
        WRITE, stranger=201, body={"name": "a.txt", "size_bytes": 1, "sha256": "0" * 64, "collection": "{name}"}
    ),
    f"post {A}/uploads/{{upload_id}}/complete": Rule(WRITE),
    f"post {A}/batches": Rule(WRITE, outsider=201, stranger=201, body={"name": "mine"}),
    f"get {A}/batches/{{batch_id}}": Rule(READ),
    f"patch {A}/batches/{{batch_id}}": Rule(WRITE, body={"expected": 5}),
    f"get {A}/batches/{{batch_id}}/events": Rule(READ),
    f"post {A}/observations": whole(WRITE, 200, []),
    f"get {A}/observations": listing(),
    f"post {A}/observations/delete": whole(WRITE, body={"entity": CANARY, "from": "2026-01-01", "until": "2026-02-01"}),
    f"get {A}/observations/latest": listing(),
    f"get {A}/observations/buckets": listing(),
    f"get {A}/observations/moving_average": listing(),
    f"get {A}/observations/rate": listing(),
    f"get {A}/series": listing(),
    f"post {A}/search": Rule(READ, body={"query": CANARY, "collection": "{collection}"}),
    f"post {A}/ask": Rule(READ, body={"question": CANARY, "collection": "{collection}"}),
    f"get {A}/catalogue": of_workspace(200),
    f"get {A}/catalogue/revisions": of_workspace(200),
    f"get {A}/catalogue/graph": of_workspace(200),
    f"post {A}/catalogue/changes": whole(
        WRITE, 200, {"changes": [{"kind": "entity", "key": "{new}", "content": _ENTITY}]}
    ),
    f"get {A}/catalogue/mentions": whole(READ, 200),
    f"get {A}/entities/{{entity}}/passages": of_workspace(),
    f"get {A}/entities/{{entity}}/overview": of_workspace(),
    f"get {A}/documents/{{document_id}}/entities": Rule(READ),
    f"get {A}/entities": of_workspace(200),
    f"get {A}/entities/{{entity}}": of_workspace(),
    f"put {A}/entities/{{entity}}": whole(WRITE, body=_ENTITY),
    f"delete {A}/entities/{{entity}}": whole(WRITE),
    f"post {A}/entities/{{entity}}/restore": whole(WRITE),
    f"get {A}/entities/{{entity}}/versions": of_workspace(),
    f"get {A}/entities/{{entity}}/versions/{{number}}": of_workspace(),
    f"get {A}/entities/{{entity}}/history": of_workspace(),
    f"get {A}/entities/{{entity}}/references": of_workspace(),
    f"get {A}/modules": of_workspace(200),
    f"get {A}/modules/{{module}}": of_workspace(),
    f"put {A}/modules/{{module}}": whole(WRITE, body={"label": "changed"}),
    f"delete {A}/modules/{{module}}": whole(WRITE),
    f"post {A}/modules/{{module}}/restore": whole(WRITE),
    f"get {A}/modules/{{module}}/versions": of_workspace(),
    f"get {A}/modules/{{module}}/versions/{{number}}": of_workspace(),
    f"get {A}/modules/{{module}}/history": of_workspace(),
    f"get {A}/modules/{{module}}/references": of_workspace(),
    f"get {A}/profiles": of_workspace(200),
    f"get {A}/profiles/{{profile}}": of_workspace(),
    f"put {A}/profiles/{{profile}}": whole(WRITE, body={"label": "changed"}),
    f"delete {A}/profiles/{{profile}}": whole(WRITE),
    f"post {A}/profiles/{{profile}}/restore": whole(WRITE),
    f"get {A}/profiles/{{profile}}/versions": of_workspace(),
    f"get {A}/profiles/{{profile}}/versions/{{number}}": of_workspace(),
    f"get {A}/profiles/{{profile}}/history": of_workspace(),
    f"get {A}/profiles/{{profile}}/references": of_workspace(),
    f"get {A}/profiles/{{profile}}/schema": of_workspace(),
    f"post {A}/drafts": whole(WRITE, 201, {"title": "mine"}),
    f"get {A}/drafts": of_workspace(200),
    f"get {A}/drafts/{{draft_id}}": of_workspace(),
    f"put {A}/drafts/{{draft_id}}": whole(WRITE, body={"title": "changed"}),
    f"patch {A}/drafts/{{draft_id}}": whole(WRITE, body={"title": "changed"}),
    f"delete {A}/drafts/{{draft_id}}": whole(WRITE),
    f"get {A}/drafts/{{draft_id}}/changes/{{kind}}/{{key}}": of_workspace(),
    f"put {A}/drafts/{{draft_id}}/changes/{{kind}}/{{key}}": whole(
        WRITE, body={"kind": "{kind}", "key": "{key}", "content": _ENTITY}
    ),
    f"delete {A}/drafts/{{draft_id}}/changes/{{kind}}/{{key}}": whole(WRITE),
    f"get {A}/drafts/{{draft_id}}/diff": of_workspace(),
    f"get {A}/drafts/{{draft_id}}/catalogue": of_workspace(),
    f"post {A}/drafts/{{draft_id}}/validate": whole(WRITE),
    f"post {A}/drafts/{{draft_id}}/rebase": whole(WRITE, body={}),
    f"post {A}/drafts/{{draft_id}}/submit": whole(WRITE),
    f"post {A}/drafts/{{draft_id}}/withdraw": whole(WRITE),
    f"post {A}/drafts/{{draft_id}}/approve": whole(WRITE, body={}),
    f"post {A}/drafts/{{draft_id}}/reject": whole(WRITE, body={"reason": "changed"}),
    f"post {A}/drafts/{{draft_id}}/merge": whole(WRITE),
    f"post {A}/drafts/{{draft_id}}/link": whole(WRITE, body={}),
    f"post {A}/drafts/{{draft_id}}/revoke": whole(WRITE),
    f"post {A}/drafts/{{draft_id}}/restore": whole(WRITE),
    f"get {A}/draft": Rule(LINK),
    f"put {A}/draft": Rule(LINK, body={"title": "changed"}),
    f"patch {A}/draft": Rule(LINK, body={"title": "changed"}),
    f"get {A}/draft/changes/{{kind}}/{{key}}": Rule(LINK),
    f"put {A}/draft/changes/{{kind}}/{{key}}": Rule(LINK, body={"kind": "{kind}", "key": "{key}", "content": _ENTITY}),
    f"delete {A}/draft/changes/{{kind}}/{{key}}": Rule(LINK),
    f"get {A}/draft/diff": Rule(LINK),
    f"get {A}/draft/catalogue": Rule(LINK),
    f"post {A}/draft/validate": Rule(LINK),
    f"post {A}/draft/rebase": Rule(LINK, body={}),
    f"post {A}/draft/submit": Rule(LINK),
    f"post {A}/draft/withdraw": Rule(LINK),
    f"get {A}/jobs": listing(),
    f"get {A}/jobs/stats": listing(),
    f"post {A}/jobs/retry": Rule(WRITE, outsider=200, stranger=200, body={"all": True}),
    f"post {A}/jobs/cancel": Rule(WRITE, outsider=200, stranger=200, body={"ids": ["{job_id}"]}),
    f"get {A}/jobs/{{job_id}}": Rule(READ),
    f"post {A}/jobs/{{job_id}}/retry": Rule(WRITE),
    f"post {A}/jobs/{{job_id}}/cancel": Rule(WRITE),
    f"post {A}/webhooks": Rule(ADMIN, body={"url": "https://example.org/hook", "collection": "{collection}"}),
    f"get {A}/webhooks": listing(),
    f"get {A}/webhooks/{{webhook_id}}": Rule(READ),
    f"patch {A}/webhooks/{{webhook_id}}": Rule(ADMIN, body={"enabled": False}),
    f"delete {A}/webhooks/{{webhook_id}}": Rule(ADMIN),
    f"post {A}/webhooks/{{webhook_id}}/rotate": Rule(ADMIN),
    f"post {A}/webhooks/{{webhook_id}}/test": Rule(ADMIN),
    f"get {A}/webhooks/{{webhook_id}}/deliveries": Rule(READ),
    f"post {A}/webhooks/{{webhook_id}}/redeliver": Rule(ADMIN),
    f"post {A}/webhooks/{{webhook_id}}/deliveries/{{delivery_id}}/redeliver": Rule(ADMIN),
    f"post {A}/keys": whole(ADMIN, 201, {"name": "another", "scopes": ["read"]}),
    f"get {A}/keys": whole(ADMIN, 200),
    f"get {A}/keys/{{prefix}}": whole(ADMIN),
    f"patch {A}/keys/{{prefix}}": whole(ADMIN, body={"name": "changed"}),
    f"delete {A}/keys/{{prefix}}": whole(ADMIN),
    f"put {A}/keys/{{prefix}}/limits": whole(ADMIN, body={"documents_per_day": 1}),
    f"post {A}/keys/{{prefix}}/rotate": whole(ADMIN),
    f"get {A}/audit": whole(ADMIN, 200),
    f"get {A}/usage": listing(),
    f"post {A}/scrubs": whole(ADMIN, 202, {"sample": 1}),
    f"get {A}/scrubs": whole(ADMIN, 200),
    f"get {A}/scrubs/{{scrub_id}}": whole(ADMIN),
    f"get {OPENAI}/models": of_workspace(200),
    f"get {OPENAI}/models/{{model}}": of_workspace(200),
    f"post {OPENAI}/embeddings": Rule(READ, outsider=200, stranger=200, body={"model": "{model}", "input": "a"}),
    f"post {OPENAI}/files": Rule(WRITE, outsider=200, stranger=200, file=True, form={"purpose": "assistants"}),
    f"get {OPENAI}/files": listing(),
    f"get {OPENAI}/files/{{file_id}}": Rule(READ),
    f"get {OPENAI}/files/{{file_id}}/content": Rule(READ),
    f"delete {OPENAI}/files/{{file_id}}": Rule(WRITE),
    f"post {OPENAI}/uploads": Rule(WRITE, outsider=200, stranger=200, body=_ANNOUNCED),
    f"post {OPENAI}/uploads/{{part_upload_id}}/parts": Rule(WRITE, file=True, field="data", form={}),
    f"post {OPENAI}/uploads/{{part_upload_id}}/complete": Rule(WRITE, body={"part_ids": ["{part_id}"]}),
    f"post {OPENAI}/uploads/{{part_upload_id}}/cancel": Rule(WRITE),
    f"post {OPENAI}/vector_stores": whole(WRITE, 200, {"name": "mine"}),
    f"get {OPENAI}/vector_stores": listing(),
    f"get {STORE}": Rule(READ),
    f"post {STORE}": Rule(WRITE, body={"name": "changed"}),
    f"delete {STORE}": Rule(WRITE),
    f"post {STORE}/search": Rule(READ, body={"query": CANARY}),
    f"post {STORE}/files": Rule(WRITE, body={"file_id": "{file_id}"}),
    f"get {STORE}/files": Rule(READ),
    f"get {STORE}/files/{{file_id}}": Rule(READ),
    f"post {STORE}/files/{{file_id}}": Rule(WRITE, body={"attributes": {"changed": True}}),
    f"delete {STORE}/files/{{file_id}}": Rule(WRITE),
    f"get {STORE}/files/{{file_id}}/content": Rule(READ),
    f"post {STORE}/file_batches": Rule(WRITE, body={"file_ids": ["{file_id}"]}),
    f"get {STORE}/file_batches/{{file_batch_id}}": Rule(READ),
    f"post {STORE}/file_batches/{{file_batch_id}}/cancel": Rule(WRITE),
    f"get {STORE}/file_batches/{{file_batch_id}}/files": Rule(READ),
}


@dataclass(frozen=True)
class Scene:
    """A collection with one of everything. values: what stands for the words in braces. secrets: what outsiders must not read."""

    client: httpx.AsyncClient
    values: Mapping[str, str]
    mine: UUID

    @property
    def secrets(self) -> list[str]:
        names = (
            "name",
            "collection",
            "document_id",
            "batch_id",
            "job_id",
            "webhook_id",
            "upload_id",
            "file_id",
            "vector_store_id",
            "file_batch_id",
            "prefix",
        )
        return [CANARY, *(self.values[name] for name in names)]

    async def ask(self, route: str, headers: Mapping[str, str]) -> httpx.Response:
        method, path = route.split(" ")
        rule = RULES[route]
        given: dict[str, Any] = {}
        if rule.body is not None:
            given["json"] = json.loads(self.filled(json.dumps(rule.body)))
        if rule.file:
            given["files"] = {rule.field: ("a.txt", b"Some other words.")}
            form = {} if "document_id" in path else {"collection": self.values["name"]}
            given["data"] = form if rule.form is None else rule.form
        request = self.client.build_request(method, self.filled(path), **given)
        del request.headers["authorization"]
        request.headers.update(headers)
        return await self.client.send(request)

    def filled(self, text: str) -> str:
        for name, value in self.values.items():
            text = text.replace("{" + name + "}", value)
        return text


@pytest.fixture
async def scene(client: httpx.AsyncClient, work: Any, owner: Sessions) -> Scene:
    name = f"theirs-{uuid4().hex[:8]}"
    batch = (await client.post(f"{A}/batches", json={"name": f"{CANARY}s"})).json()
    sent = await client.post(
        f"{A}/documents",
        files={"file": (f"{CANARY}.txt", f"The {CANARY} dives.".encode())},
        data={"collection": name, "batch": batch["id"], "external_id": f"{CANARY}-1"},
    )
    assert sent.status_code == 202, sent.text
    hook = (
        await client.post(f"{A}/webhooks", json={"url": f"https://example.org/{CANARY}", "collection": name})
    ).json()
    test = (await client.post(f"{A}/webhooks/{hook['id']}/test")).json()
    upload = await client.post(
        f"{A}/uploads", json={"name": f"{CANARY}.txt", "size_bytes": 3, "sha256": "0" * 64, "collection": name}
    )
    catalogue = {}
    for kind, path in (("entity", "entities"), ("module", "modules"), ("profile", "profiles")):
        content = _ENTITY if kind == "entity" else {"label": "x"}
        catalogue[kind] = (await client.put(f"{A}/{path}/k-{uuid4().hex[:8]}", json=content)).json()["id"]
    proposed = {"kind": "entity", "key": "proposed", "content": _ENTITY}
    draft = (await client.post(f"{A}/drafts", json={"title": "theirs", "changes": [proposed]})).json()
    kept = await client.post(
        f"{OPENAI}/files", files={"file": (f"{CANARY}.txt", CANARY.encode())}, data={"purpose": "assistants"}
    )
    theirs = (await client.get(f"{A}/collections/{name}")).json()
    store = f"vs_{UUID(theirs['id']).hex}"
    together = await client.post(f"{OPENAI}/vector_stores/{store}/file_batches", json={"file_ids": [kept.json()["id"]]})
    begun = (await client.post(f"{OPENAI}/uploads", json=_ANNOUNCED)).json()
    part = await client.post(f"{OPENAI}/uploads/{begun['id']}/parts", files={"data": ("a", b"abc")})
    await work()
    scrub = (await client.post(f"{A}/scrubs", json={"sample": 1})).json()
    mine = (await client.post(f"{A}/collections", json={"name": f"mine-{uuid4().hex[:8]}"})).json()
    values = {
        "new": f"new-{uuid4().hex[:8]}",
        "name": name,
        "collection": theirs["id"],
        "document_id": sent.json()["document"]["id"],
        "number": "1",
        "batch_id": batch["id"],
        "job_id": sent.json()["job_id"],
        "upload_id": upload.json()["id"],
        "webhook_id": hook["id"],
        "delivery_id": test["id"],
        "scrub_id": scrub["id"],
        **catalogue,
        "draft_id": draft["id"],
        "file_id": kept.json()["id"],
        "part_upload_id": begun["id"],
        "part_id": part.json()["id"],
        "vector_store_id": store,
        "file_batch_id": together.json()["id"],
        "model": MODEL_ID,
        "kind": "entity",
        "key": "proposed",
        "prefix": (await make_key(owner)).partition(".")[0],
    }
    return Scene(client, values, UUID(mine["id"]))


def with_keys() -> list[str]:
    return [route for route, rule in RULES.items() if rule.scope not in (NOBODY, LINK)]


async def test_every_route_says_here_what_it_needs(client: httpx.AsyncClient, settings: Settings) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    there = {f"{method} {path}" for path, methods in paths.items() for method in methods}
    routes = {(method.lower(), path.replace(":path", "")) for method, path in create_app(settings).state.paths.all()}
    there |= {f"{method} {path}" for method, path in routes if OPENAI_EDGE.holds(path)}

    assert there == set(RULES)


@pytest.mark.parametrize(
    "headers", [{}, bearer("nonsense"), bearer(f"dsk_local.{'wrong-secret' * 4}"), {"Authorization": "Basic dTpw"}]
)
async def test_without_a_key_that_is_known_nothing_is_told(scene: Scene, headers: dict[str, str]) -> None:
    answers = {route: await scene.ask(route, headers) for route in with_keys()}

    assert {route: answer.status_code for route, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert {answer.headers["www-authenticate"] for answer in answers.values()} == {"Bearer"}
    assert _told(scene, answers) == {}


async def test_where_a_link_is_asked_for_no_key_helps(scene: Scene, owner: Sessions) -> None:
    before = await _everything(scene)
    routes = [route for route, rule in RULES.items() if rule.scope == LINK]

    for headers in ({}, bearer("nonsense"), bearer(await make_key(owner))):
        answers = {route: await scene.ask(route, headers) for route in routes}
        assert {route: _said(answer) for route, answer in answers.items()} == dict.fromkeys(
            answers, (404, "draft.no_such_link")
        )
        assert _told(scene, answers) == {}
    assert await _everything(scene) == before


@pytest.mark.parametrize("scope", [READ, WRITE, ADMIN])
async def test_a_key_without_the_scope_is_refused(scene: Scene, owner: Sessions, scope: str) -> None:
    lesser: list[str] = {READ: [], WRITE: [READ], ADMIN: [READ, WRITE]}[scope]
    headers = bearer(await make_key(owner, scopes=lesser))
    routes = [route for route in with_keys() if RULES[route].scope == scope]

    answers = {route: await scene.ask(route, headers) for route in routes}

    assert {route: _said(answer) for route, answer in answers.items()} == dict.fromkeys(
        answers, (403, "access.scope_missing")
    )
    assert _told(scene, answers) == {}


async def test_a_key_of_another_collection_sees_and_changes_nothing(scene: Scene, owner: Sessions) -> None:
    before = await _everything(scene)
    headers = bearer(await make_key(owner, collection_ids=[scene.mine]))

    answers = {route: await scene.ask(route, headers) for route in with_keys()}

    assert {route: answer.status_code for route, answer in answers.items()} == {
        route: RULES[route].outsider for route in answers
    }
    assert _told(scene, answers) == {}
    assert await _everything(scene) == before


async def test_a_key_of_another_workspace_sees_and_changes_nothing(scene: Scene, owner: Sessions) -> None:
    before = await _everything(scene)
    headers = bearer(await make_key(owner, workspace_id=await make_workspace(owner)))

    answers = {route: await scene.ask(route, headers) for route in with_keys()}

    assert {route: answer.status_code for route, answer in answers.items()} == {
        route: RULES[route].stranger for route in answers
    }
    # What it names itself it may be told.
    own = {f"post {A}/documents", f"get {A}/documents", f"get {A}/collections", f"get {A}/jobs", f"get {A}/audit"}
    own |= {f"post {A}/uploads", f"get {OPENAI}/vector_stores"}
    assert _told(scene, {route: answer for route, answer in answers.items() if route not in own}) == {}
    assert await _everything(scene) == before


def _said(answer: httpx.Response) -> tuple[int, str | None]:
    told = answer.json() if answer.content else {}
    return answer.status_code, told.get("error", told).get("code")


def _told(scene: Scene, answers: Mapping[str, httpx.Response]) -> dict[str, list[str]]:
    """What each answer tells that it must not; a word of the request itself may come back in a refusal."""
    found = {}
    for route, answer in answers.items():
        asked = f"{answer.request.url} {answer.request.read().decode(errors='replace')}"
        said = f"{answer.text} {answer.headers}"
        found[route] = [secret for secret in scene.secrets if secret in said and secret not in asked]
    return {route: secrets for route, secrets in found.items() if secrets}


async def _everything(scene: Scene) -> dict[str, Any]:
    """What the rightful key is told of all there is, without what changes by being looked at."""
    paths = ["collections/{collection}", "documents/{document_id}", "documents/{document_id}/versions"]
    paths += ["batches/{batch_id}", "jobs/{job_id}", "webhooks/{webhook_id}", "keys/{prefix}", "scrubs/{scrub_id}"]
    paths += [
        "drafts/{draft_id}",
        "entities/{entity}/history",
        "modules/{module}/history",
        "profiles/{profile}/history",
    ]
    found = {}
    for path in paths:
        answer = await scene.client.get(f"{A}/{scene.filled(path)}")
        assert answer.status_code == 200, answer.text
        found[path] = answer.json()
    for path in ("files/{file_id}", "vector_stores/{vector_store_id}", "vector_stores/{vector_store_id}/files"):
        answer = await scene.client.get(f"{OPENAI}/{scene.filled(path)}")
        assert answer.status_code == 200, answer.text
        found[path] = answer.json()
    return found
