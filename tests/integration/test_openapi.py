"""The HTTP API against its own OpenAPI: Schemathesis asks every route what it allows and what it does not.

A web process as the Procfile starts it, on the test's servers, over sockets. Nothing may be answered that is not
documented: no status, no content type, no body; nothing wrong may be taken, and nothing right be refused.

Of a stream one event is read, then it is left. Long waits cannot happen: nobody asks for one, since a header `Prefer` is
free text. Uploads are forms and bare bodies of random bytes, beside those of tests/integration/test_receiving.py. Nobody works
on jobs meanwhile: webhooks have made-up addresses, and are removed before a worker takes what is left.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import text
from tests.keys import make_key

from drystone import invariants
from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings
from drystone.invariants import Limits
from drystone.resources import Resources

ROOT = Path(__file__).parent.parent.parent
A = "/api/v1"
SEED = 20261122


@pytest.fixture
def web(environment: dict[str, str]) -> Iterator[psutil.Popen]:
    command = [sys.executable, "-m", "uvicorn", "--factory", "drystone.web:create_app", "--port"]
    with psutil.Popen(
        [*command, environment["API_PORT"], "--log-level", "warning", "--http", "drystone.http.connections:Protocol"],
        cwd=ROOT,
        env={**os.environ, **environment},
    ) as process:
        yield process
        process.terminate()


@pytest.fixture
async def http(web: psutil.Popen, settings: Settings, sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {settings.api.key.get_secret_value()}"}
    url = f"http://127.0.0.1:{settings.api.port}"
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        async with asyncio.timeout(150):
            while not await _is_up(client):
                await asyncio.sleep(0.1)
        yield client


async def _is_up(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/live")).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
async def there(http: httpx.AsyncClient, work: Any, owner: Sessions) -> dict[str, list[Any]]:
    """One of everything, by the name of the parameter that takes it: what is asked for by chance alone is never there."""
    batch = (await http.post(f"{A}/batches", json={"name": "all"})).json()["id"]
    ids, jobs = [], []
    for number, name in enumerate(["a.txt", "b.md", "broken.pdf", "doomed.txt"]):
        body = b"%PDF-1.7 no more" if name.endswith("pdf") else f"Words of number {number}.".encode()
        into = "doomed" if name.startswith("doomed") else "papers"
        sent = await http.post(
            f"{A}/documents", files={"file": (name, body)}, data={"collection": into, "batch": batch}
        )
        ids.append(sent.json()["document"]["id"])
        jobs.append(sent.json()["job_id"])
    hook = (await http.post(f"{A}/webhooks", json={"url": "http://127.0.0.1:9/hook", "collection": "papers"})).json()
    test = (await http.post(f"{A}/webhooks/{hook['id']}/test")).json()
    upload = {"name": "c.txt", "size_bytes": 3, "sha256": "0" * 64, "collection": "papers"}
    upload_id = (await http.post(f"{A}/uploads", json=upload)).json()["id"]
    scrub = (await http.post(f"{A}/scrubs", json={"sample": 1})).json()["id"]
    change = {"kind": "entity", "key": "proposed", "content": {"type": "category", "label": "x"}}
    drafts = [
        (await http.post(f"{A}/drafts", json={"title": title, "changes": [change]})).json()
        for title in ("of a link", "a", "b")
    ]
    async with transaction(owner) as session:
        await session.execute(text("update webhooks set disabled_at = now()"))
    await work()
    return {
        "collection": ["papers"],
        "document_id": ids[:-1],
        "number": [1],
        "batch_id": [batch],
        "job_id": jobs,
        "webhook_id": [hook["id"]],
        "delivery_id": [test["id"]],
        "upload_id": [upload_id],
        "scrub_id": [scrub],
        "draft_id": [each["id"] for each in drafts[1:]],
        "key": ["proposed"],
        "link": [drafts[0]["token"]],
        "prefix": [(await make_key(owner)).partition(".")[0] for _ in range(3)],
        # What is asked to be deleted is not what everything else is asked about.
        "doomed_collection": ["doomed"],
        "doomed_document_id": ids[-1:],
        "doomed_prefix": [(await make_key(owner)).partition(".")[0]],
    }


def _write_config(folder: Path, there: dict[str, list[Any]], *, examples: int) -> Path:
    lines = ["max-stream-events = 1", "continue-on-failure = true", 'hooks = "tests.fuzzing"']
    lines += ["[phases.stateful.generation]", f"max-examples = {5 * examples}"]
    lines += ["[headers]", 'Authorization = "Bearer ${KEY}"']
    lines += ["[generation]", f"max-examples = {examples}", 'database = "none"']
    # Replaced by the check in tests/fuzzing.py: most of what is valid is refused for what no schema says.
    lines += ["[checks.positive_data_acceptance]", "enabled = false"]
    for name, values in there.items():
        if name == "link":
            continue  # shown by tests/fuzzing.py
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps(values)}"]
    lines += ["[parameters]"]
    lines += [_bound(name, name) for name in there if name != "link" and not name.startswith("doomed")]
    lines += ["[[operations]]", 'include-method = "DELETE"', "[operations.parameters]"]
    lines += [_bound(name.removeprefix("doomed_"), name) for name in there if name.startswith("doomed")]
    # Whatever is no link of a draft is answered alike, none at all too.
    lines += ["[[operations]]", 'include-path-regex = "^/api/v1/draft($|/)"']
    lines += ["[operations.checks.missing_required_header]", "enabled = false"]  # it asks for 401
    path = folder / "schemathesis.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _bound(parameter: str, dictionary: str) -> str:
    return f'"path.{parameter}" = {{ dictionary = "{dictionary}", probability = 0.7 }}'


async def test_everything_answered_is_documented(
    http: httpx.AsyncClient,
    resources: Resources,
    owner: Sessions,
    work: Any,
    there: dict[str, list[Any]],
    settings: Settings,
    tmp_path: Path,
    pytestconfig: pytest.Config,
) -> None:
    seconds = pytestconfig.getoption("--fuzz-seconds")
    config = _write_config(tmp_path, there, examples=200 if seconds else 4)
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run", "--no-color"]
    command += ["--max-time", str(seconds)] if seconds else ["--seed", str(SEED), "--generation-deterministic"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "KEY": settings.api.key.get_secret_value()}
    env["DRAFT"] = there["link"][0]

    with (tmp_path / "told.log").open("w") as told:
        run = subprocess.run(
            [*command, "--workers", "2", f"{http.base_url}/openapi.json"],
            check=False,
            cwd=tmp_path,
            env=env,
            stdout=told,
            stderr=told,
        )

    is_clean = run.returncode == 0
    assert is_clean, (tmp_path / "told.log").read_text()[-20_000:]
    async with transaction(owner) as session:
        await session.execute(text("delete from webhooks"))
    await work()
    verdict = await invariants.check(resources.sessions, resources.objects, Limits(lease_s=30, orphan_s=3600))
    assert verdict.holds, verdict.violations


async def test_the_description_is_one_to_write_clients_from(client: httpx.AsyncClient) -> None:
    spec = (await client.get("/openapi.json")).json()
    operations = [each for methods in spec["paths"].values() for each in methods.values()]
    parameters = [parameter for each in operations for parameter in each.get("parameters", [])]
    errors = [answer for each in operations for status, answer in each["responses"].items() if status >= "400"]

    assert len({each["operationId"] for each in operations}) == len(operations)
    assert {tag for each in operations for tag in each["tags"]} == {tag["name"] for tag in spec["tags"]}
    assert [each for each in parameters if {"type": "null"} in each["schema"].get("anyOf", [])] == []
    assert [
        each for each in errors if "application/problem+json" not in each["content"] and "Health" not in str(each)
    ] == []
    assert all("X-Request-ID" in answer["headers"] for each in operations for answer in each["responses"].values())
    secured = [set(each["responses"]) for each in operations if "security" in each]
    assert all(statuses >= {"401", "403", "422", "429", "503", "507"} for statuses in secured)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/documents/delete", "POST"),
        ("GET", "/jobs/retry", "POST"),
        ("PUT", "/collections", "GET, POST"),
        ("PUT", "/documents/0199c0de-0000-7000-8000-000000000000", "DELETE, GET, PATCH"),
        ("POST", "/drafts/0199c0de-0000-7000-8000-000000000000", "DELETE, GET, PATCH, PUT"),
        ("TRACE", "/draft", "GET, PATCH, PUT"),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_told_which_it_has(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, A + path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/documents/delete", {"collection": "papers", "dry_run": "no"}),
        ("/jobs/cancel", {"all": 1}),
        ("/search", {"query": "a", "limit": "5"}),
        ("/search", {"query": "a", "limit": True}),
        ("/keys", {"name": "a", "scopes": ["read"], "bytes_per_day": False}),
    ],
)
async def test_a_string_is_no_number_and_a_number_no_boolean(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    answer = await client.post(A + path, json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "request.invalid")
