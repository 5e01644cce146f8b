"""Whatever is asked of these routes, none fails: Schemathesis asks what their functions allow, and what they do not.

The description is made for this test alone (ADR 0044), so that only one thing is looked at: no answer is a fault of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI

from drystone.openai.edge import EDGE
from drystone.openai.routes import ROUTERS

ROOT = Path(__file__).parents[3]
SEED = 20261123


def _description() -> dict[str, Any]:
    app, edge = FastAPI(), APIRouter(prefix=EDGE.mount)
    for router in ROUTERS:
        edge.include_router(router)
    app.include_router(edge)
    return app.openapi()


async def _there(client: httpx.AsyncClient) -> dict[str, str]:
    """One of everything, by the name of the parameter that takes it."""
    at = EDGE.mount
    file = await client.post(f"{at}/files", files={"file": ("a.txt", b"Words.")}, data={"purpose": "assistants"})
    store = await client.post(f"{at}/vector_stores", json={"name": "s", "file_ids": [file.json()["id"]]})
    batches = f"{at}/vector_stores/{store.json()['id']}/file_batches"
    batch = await client.post(batches, json={"file_ids": [file.json()["id"]]})
    announced = {"filename": "a.txt", "bytes": 3, "mime_type": "text/plain", "purpose": "assistants"}
    upload = await client.post(f"{at}/uploads", json=announced)
    made = {"file_id": file, "vector_store_id": store, "file_batch_id": batch, "part_upload_id": upload}
    return {name: answer.json()["id"] for name, answer in made.items()}


async def test_nothing_that_is_asked_is_a_fault_of_ours(
    base_url: str, key: str, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    there = await _there(client)
    description = tmp_path / "openapi.json"
    description.write_text(json.dumps(_description()))
    lines = ["continue-on-failure = true", "[headers]", 'Authorization = "Bearer ${KEY}"']
    lines += ["[generation]", "max-examples = 10", 'database = "none"']
    for name, value in there.items():
        lines += [f"[dictionaries.{name}]", f"values = {json.dumps([value])}"]
    lines += ["[parameters]"]
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.7 }}' for name in there]
    config = tmp_path / "schemathesis.toml"
    config.write_text("\n".join(lines) + "\n")
    command = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run", "--no-color"]
    command += ["--seed", str(SEED), "--generation-deterministic", "--phases", "examples,coverage,fuzzing"]
    command += ["--checks", "not_a_server_error", "--exclude-method", "DELETE"]
    command += ["--url", base_url.removesuffix(EDGE.mount), str(description)]

    run = subprocess.run(
        command,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KEY": key},
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2000:]
