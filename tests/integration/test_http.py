"""The HTTP edge: keys on every route, problems in one form, health, and an OpenAPI that says what is so."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.keys import bearer, make_key, make_workspace

from drystone.api.edge import BY_LINK
from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings

OPEN_ROUTES = {"/health", "/health/live", "/health/ready"}


async def _routes(client: httpx.AsyncClient) -> list[tuple[str, str]]:
    paths = (await client.get("/openapi.json")).json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def _filled(path: str) -> str:
    path = path.replace("{collection}", "none").replace("{number}", "1")
    return re.sub(r"\{\w+_id\}", str(uuid4()), path)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer dsk_local.wrong-secret-wrong-secret-wrong-secret"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
async def test_every_route_but_health_needs_a_key(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    routes = [(method, path) for method, path in await _routes(client) if not BY_LINK.holds(path)]
    assert len(routes) >= 16
    for method, path in routes:
        request = client.build_request(method, _filled(path))
        del request.headers["authorization"]
        request.headers.update(headers)
        answer = await client.send(request)

        if path in OPEN_ROUTES:
            assert answer.status_code in (200, 503), path
        else:
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.json()["type"].startswith("urn:drystone:problem:access.key_")
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_expired_and_a_revoked_key_look_like_an_unknown_one(
    client: httpx.AsyncClient, owner: Sessions
) -> None:
    answers = []
    for column in ("expires_at", "revoked_at"):
        token = await make_key(owner)
        async with transaction(owner) as session:
            await session.execute(
                text(f"update api_keys set {column} = now() - interval '1 s' where prefix = :prefix"),
                {"prefix": token.split(".")[0]},
            )
        answers.append(await client.get("/api/v1/collections", headers=bearer(token)))

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(401, "access.key_unknown")] * 2


async def test_a_key_that_may_only_read_cannot_write(client: httpx.AsyncClient, owner: Sessions) -> None:
    headers = bearer(await make_key(owner, scopes=("read",)))

    read = await client.get("/api/v1/collections", headers=headers)
    written = [
        await client.post("/api/v1/collections", json={"name": "x"}, headers=headers),
        await client.post("/api/v1/documents", files={"file": ("a.txt", b"x")}, headers=headers),
        await client.delete("/api/v1/collections/x", headers=headers),
        await client.delete(f"/api/v1/documents/{uuid4()}", headers=headers),
    ]

    assert read.status_code == 200
    assert [(a.status_code, a.json()["code"]) for a in written] == [(403, "access.scope_missing")] * 4


async def test_another_workspace_sees_nothing(client: httpx.AsyncClient, owner: Sessions, collection: str) -> None:
    sent = await client.post("/api/v1/documents", files={"file": ("a.txt", b"x")}, data={"collection": collection})
    headers = bearer(await make_key(owner, workspace_id=await make_workspace(owner)))

    answers = {
        "document": await client.get(sent.headers["location"], headers=headers),
        "content": await client.get(sent.headers["location"] + "/content", headers=headers),
        "delete": await client.delete(sent.headers["location"], headers=headers),
        "job": await client.get(f"/api/v1/jobs/{sent.json()['job_id']}", headers=headers),
        "collection": await client.get(f"/api/v1/collections/{collection}", headers=headers),
    }
    lists = [
        (await client.get(path, headers=headers)).json()["items"]
        for path in ("/api/v1/documents", "/api/v1/jobs", "/api/v1/collections")
    ]

    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 404)
    assert lists == [[], [], []]


async def test_health_names_every_dependency(client: httpx.AsyncClient) -> None:
    live = await client.get("/health/live")
    ready = (await client.get("/health/ready")).json()

    assert live.json() == {"status": "ok"}
    assert [check["name"] for check in ready["checks"]] == ["postgres", "redis", "objects", "model", "worker"]


async def test_a_request_id_is_kept_when_sane_and_made_otherwise(client: httpx.AsyncClient) -> None:
    kept = await client.get("/health/live", headers={"X-Request-ID": "abc-123"})
    made = await client.get("/health/live", headers={"X-Request-ID": "no spaces allowed"})
    problem = await client.get("/api/v1/collections/none", headers={"X-Request-ID": "abc-123"})

    assert kept.headers["x-request-id"] == "abc-123"
    assert len(made.headers["x-request-id"]) == 32
    assert problem.json()["request_id"] == "abc-123"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "request.no_such_path"),
        ("PUT", "/api/v1/search", 405, "request.method_not_allowed"),
        ("GET", "/api/v1/documents/not-a-uuid", 422, "request.invalid"),
        ("GET", "/api/v1/documents?limit=0", 422, "request.invalid"),
        ("GET", "/api/v1/documents?state=lost", 422, "request.invalid"),
        ("GET", "/api/v1/documents?cursor=x", 422, "request.invalid"),
        ("GET", "/api/v1/jobs?state=lost", 422, "request.invalid"),
    ],
)
async def test_problems_have_one_form(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)

    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:drystone:problem:{code}"
    assert problem["detail"]
    assert problem["hint"]
    if status == 422:
        assert problem["errors"][0]["pointer"]


async def test_a_misspelt_parameter_is_refused_on_every_route(client: httpx.AsyncClient) -> None:
    routes = [
        (method, path) for method, path in await _routes(client) if path.startswith("/api/") and not BY_LINK.holds(path)
    ]
    params = {"colection": "ver"}
    answers = [await client.request(method, _filled(path), params=params) for method, path in routes]

    assert len(routes) > 40
    assert {(a.status_code, a.json()["code"]) for a in answers} == {(422, "request.unknown_parameter")}
    assert {a.json()["errors"][0]["pointer"] for a in answers} == {"/colection"}
    of_documents = answers[routes.index(("get", "/api/v1/documents"))].json()
    assert of_documents["hint"] == "known: archive, collection, cursor, external_id, filter, fits, limit, schema, state"
    without_key = await client.get("/api/v1/documents?colection=ver", headers={"Authorization": ""})
    assert without_key.status_code == 401, "who may not ask is told that first"


@pytest.mark.parametrize(
    ("query", "fields", "code", "pointer"),
    [
        ("", {"colection": "x"}, "request.unknown_field", "/colection"),
        ("", {"a/b~": "x"}, "request.unknown_field", "/a~1b~0"),
        ("?collection=x", {}, "request.not_in_query", "/collection"),
        ("?name=a.txt", {}, "request.not_in_query", "/name"),
        ("?name=a.txt&colection=x", None, "request.unknown_parameter", "/colection"),
    ],
)
async def test_a_misspelt_field_of_an_upload_is_refused(
    client: httpx.AsyncClient, query: str, fields: dict[str, str] | None, code: str, pointer: str
) -> None:
    path = f"/api/v1/documents{query}"
    if fields is None:
        answer = await client.post(path, content=b"words")
    else:
        answer = await client.post(path, files={"file": ("a.txt", b"words")}, data=fields)

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["errors"][0]["pointer"]) == (422, code, pointer)
    assert problem["hint"]
    assert (await client.get("/api/v1/documents")).json()["items"] == []


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"'])
async def test_a_body_that_is_no_object_is_a_problem_not_a_fault(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/api/v1/search", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["code"] == "request.invalid"
    assert answer.json()["errors"][0]["pointer"] == "", "the whole body"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"{", "line 1, column 2"),
        (b"\xff\xfe", "line 1, column 1"),
        (b'{\n "query": "x"\n "limit": 3}', "line 3, column 2"),
    ],
)
async def test_broken_json_is_told_with_its_place(client: httpx.AsyncClient, body: bytes, where: str) -> None:
    answer = await client.post("/api/v1/search", content=body, headers={"content-type": "application/json"})

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "request.not_json")
    assert problem["detail"].startswith("The body is not valid JSON: ")
    assert problem["detail"].endswith(f", {where}.")
    assert problem["hint"]


@pytest.mark.parametrize(
    ("sent_as", "told"),
    [("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"), ("", "something without a type")],
)
async def test_json_that_is_not_said_to_be_json_is_told_which_header_is_missing(
    client: httpx.AsyncClient, sent_as: str, told: str
) -> None:
    headers = {"Content-Type": sent_as} if sent_as else {}

    answer = await client.post("/api/v1/search", content=b'{"query": "bees"}', headers=headers)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "request.not_sent_as_json")
    assert problem["detail"] == f"The body was sent as {told}, and only JSON is taken here."
    assert "-H 'Content-Type: application/json'" in problem["hint"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"query": "x", "limit": ' + b"1" * 5000 + b"}", "it holds a number of more than 4,300 digits"),
        (b'{"query": "\xff"}', "byte 12 is no UTF-8"),
        (b"[" * 100_000, "it is nested too deep"),
    ],
    ids=["digits", "bytes", "depth"],
)
async def test_json_that_cannot_be_read_is_told_with_the_cause(
    client: httpx.AsyncClient, body: bytes, why: str
) -> None:
    answer = await client.post("/api/v1/search", content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (422, "request.unreadable_json")
    assert answer.json()["detail"] == f"The body cannot be read as JSON: {why}."


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("POST", "search", {}, "/query"),
        ("POST", "search", {"query": " "}, "/query"),
        ("POST", "search", {"query": "x", "filter": {"type": "eq", "key": "a"}}, "/filter/value"),
        (
            "POST",
            "search",
            {"query": "x", "filter": {"type": "and", "filters": [{"type": "eq", "key": 1, "value": 2}]}},
            "/filter/filters/0/key",
        ),
        ("POST", "collections", {"name": "a b"}, "/name"),
        ("GET", "documents?limit=0", None, "/limit"),
        ("GET", "documents/nothing", None, "/document_id"),
        ("GET", "jobs?older_than=x", None, "/older_than"),
    ],
)
async def test_every_pointer_is_a_json_pointer(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None, pointer: str
) -> None:
    answer = await client.request(method, f"/api/v1/{path}", json=body)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_collections_are_made_listed_and_refused_twice(client: httpx.AsyncClient, collection: str) -> None:
    made = await client.post("/api/v1/collections", json={"name": collection, "description": "d", "language": "german"})
    again = await client.post("/api/v1/collections", json={"name": collection})
    listed = (await client.get("/api/v1/collections")).json()["items"]
    by_id = await client.get(f"/api/v1/collections/{made.json()['id']}")

    assert (made.status_code, made.headers["location"]) == (201, f"/api/v1/collections/{collection}")
    assert made.json()["documents"] == {"pending": 0, "ready": 0, "failed": 0}
    assert (again.status_code, again.json()["code"]) == (409, "collection.exists")
    assert [item["name"] for item in listed] == [collection]
    assert by_id.json() == made.json()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "a b"}, "collection.bad_name"),
        ({"name": "../x"}, "collection.bad_name"),
        ({"name": str(uuid4())}, "collection.bad_name"),
        ({"name": "x", "language": "klingon"}, "collection.unknown_language"),
        ({"name": "x", "extra": 1}, "request.invalid"),
        ({}, "request.invalid"),
    ],
)
async def test_a_wrong_collection_is_told_what_is_wrong(
    client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    answer = await client.post("/api/v1/collections", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("too_much", [2**31, 2**63, 10**30])
async def test_a_number_that_cannot_be_stored_is_refused_with_its_range(
    client: httpx.AsyncClient, settings: Settings, too_much: int
) -> None:
    batch = (await client.post("/api/v1/batches")).headers["location"]
    limits = f"/api/v1/keys/{settings.api.key.get_secret_value().split('.')[0]}/limits"
    largest = await client.put(limits, json={"documents_per_day": 2**31 - 1, "bytes_per_day": 2**53 - 1})
    reset = await client.put(limits, json={"documents_per_day": None, "bytes_per_day": None})

    answers = [
        await client.post("/api/v1/batches", json={"expected": too_much}),
        await client.patch(batch, json={"expected": too_much}),
        await client.put(limits, json={"documents_per_day": too_much}),
        await client.put(limits, json={"bytes_per_day": max(too_much, 2**53)}),
        await client.get("/api/v1/jobs", params={"min_attempt": too_much}),
    ]

    assert (largest.status_code, reset.status_code) == (200, 200)
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "request.invalid")] * 5
    assert all("less than or equal to" in answer.json()["errors"][0]["detail"] for answer in answers)


async def test_every_integer_that_a_route_takes_has_a_range(client: httpx.AsyncClient) -> None:
    spec = (await client.get("/openapi.json")).json()
    routes = [route for methods in spec["paths"].values() for route in methods.values()]
    taken = [parameter["schema"] for route in routes for parameter in route.get("parameters", [])]
    taken += [route["requestBody"] for route in routes if "requestBody" in route]

    integers = [schema for each in taken for schema in _integers(each, spec["components"]["schemas"])]

    assert len(integers) >= 10
    assert [schema for schema in integers if "maximum" not in schema] == []


def _integers(schema: Any, named: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of integers within a schema; but for a filter's values, which are compared as JSON."""
    if isinstance(schema, list):
        return [found for each in schema for found in _integers(each, named)]
    if not isinstance(schema, dict):
        return []
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return [] if name in ("Comparison", "Compound") else _integers(named[name], named)
    if schema.get("type") == "integer":
        return [schema]
    return [found for each in schema.values() for found in _integers(each, named)]


async def test_openapi_has_a_summary_a_tag_and_problems_for_every_route(client: httpx.AsyncClient) -> None:
    spec = (await client.get("/openapi.json")).json()

    ids = []
    for path, methods in spec["paths"].items():
        for method, route in methods.items():
            assert route["summary"], (method, path)
            assert len(route["tags"]) == 1, (method, path)
            ids.append(route["operationId"])
            if path not in OPEN_ROUTES:
                assert "application/problem+json" in route["responses"]["401"]["content"], (method, path)
    assert len(ids) == len(set(ids))
    assert "Problem" in spec["components"]["schemas"]
    assert "HTTPValidationError" not in spec["components"]["schemas"]
    assert spec["components"]["schemas"]["SearchRequest"]["examples"]


async def test_openapi_describes_every_field_of_a_hit(client: httpx.AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    hit = {name: schemas[name]["properties"] for name in ("Hit", "HitDocument", "Scores", "Ranks")}
    bare = [
        (name, field)
        for name, properties in hit.items()
        for field, schema in properties.items()
        if not schema.get("description") and "$ref" not in schema
    ]

    assert bare == []


@pytest.mark.parametrize("wrong", ["\0", "\ud800"])
async def test_what_is_no_text_is_refused_wherever_it_comes_in(client: httpx.AsyncClient, wrong: str) -> None:
    escaped = json.dumps(wrong)
    bodies = [
        f'{{"query": {escaped}}}',
        f'{{"query": "x", "collection": {escaped}}}',
        f'{{"query": "x", "filter": {{"type": "eq", "key": {escaped}, "value": 1}}}}',
        f'{{"query": "x", "filter": {{"type": "eq", "key": "a", "value": {escaped}}}}}',
    ]
    kind = {"Content-Type": "application/json"}

    answers = [await client.post("/api/v1/search", content=body, headers=kind) for body in bodies]
    answers += [
        await client.post("/api/v1/collections", content=f'{{"name": "a", "{name}": {escaped}}}', headers=kind)
        for name in ("description", "language")
    ]
    if wrong == "\0":
        answers += [
            await client.get("/api/v1/documents?collection=%00"),
            await client.get("/api/v1/documents?external_id=%00"),
            await client.get("/api/v1/collections/%00"),
            await client.delete("/api/v1/collections/%00"),
        ]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(422, "request.invalid")] * len(answers)


@pytest.mark.parametrize(
    "attributes",
    [
        '{"a": 1e400}',
        '{"a": NaN}',
        '{"a": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"a": "\\u0000"}',
        "[1]",
        '{"a": ' + "[" * 20 + "]" * 20 + "}",
        '{"a": ' + "[" * 300 + "]" * 300 + "}",
        '{"a": ' + "[" * 30000 + "]" * 30000 + "}",
    ],
    ids=lambda value: value[:16],
)
async def test_attributes_that_could_not_be_given_back_are_refused(
    client: httpx.AsyncClient, collection: str, attributes: str
) -> None:
    sent = await client.post(
        "/api/v1/documents", files={"file": ("a.txt", b"x")}, data={"collection": collection, "attributes": attributes}
    )

    assert sent.status_code == 422
    assert sent.json()["code"] in ("document.attributes_not_json", "document.attributes_too_deep")
    assert (await client.get(f"/api/v1/collections/{collection}")).status_code == 404  # nothing was begun


@pytest.mark.parametrize("charset", ["punycode", "unicode_escape", "undefined", "utf-16"])
async def test_a_form_in_another_charset_is_refused(client: httpx.AsyncClient, charset: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\n\\ud800\r\n--b--\r\n'

    answer = await client.post(
        "/api/v1/documents",
        content=body,
        headers={"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"},
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "request.bad_multipart")


@pytest.mark.parametrize(
    "path", ["/health/live", "/api/v1/collections", "/api/v1/documents/none", "/openapi.json", "/no"]
)
async def test_no_answer_is_shown_or_run_as_a_page(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; sandbox"


async def test_the_page_of_routes_is_one(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")

    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    described = (await client.get("/openapi.json")).json()
    for path, methods in described["paths"].items():
        assert f"<code>{path}</code>" in page.text
        for each in methods.values():
            assert f'id="{each["operationId"]}"' in page.text
    for link in set(re.findall(r'href="#([^"]+)"', page.text)):
        assert f'id="{link}"' in page.text
