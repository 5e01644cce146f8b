"""`drystone verify`: does everything really work, from a vector in SQL to a passage found through HTTP?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import UUID, uuid4

import typer

if TYPE_CHECKING:
    from drystone.checks import Finding
    from drystone.core.settings import Settings
    from drystone.resources import Resources

_WAIT_S = 60.0
_WORKER_WAIT_S = 5.0


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check the running stack end to end, one line a check; exit code 1 if one fails.

    Writes a blob and a document of its own and removes them again; its jobs stay in the ledger.
    """
    from drystone.core.settings import load
    from drystone.stack import root

    findings = asyncio.run(_all(load(root.find())))
    is_ok = all(finding.ok for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": is_ok, "checks": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            mark = typer.style("ok  ", fg="green") if finding.ok else typer.style("FAIL", fg="red")
            typer.echo(f"{mark}  {finding.name:<12} {finding.detail}  ({finding.took_ms:.0f} ms)")
    if not is_ok:
        typer.echo('hint: "drystone doctor" looks for the cause; "drystone logs" tells more', err=True)
        raise typer.Exit(1)


async def _all(settings: Settings) -> list[Finding]:
    from drystone import checks
    from drystone.core import logging
    from drystone.resources import open_resources

    logging.configure("ERROR", "console")

    async with open_resources(settings, name="verify") as resources:
        each: dict[str, Callable[[Resources], Awaitable[str]]] = {
            "postgres": checks.postgres,
            "schema": checks.schema_at,
            "redis": checks.append_only,
            "objects": checks.blob_round_trip,
            "model": checks.model,
            "worker": _worker,
            "job": checks.job_round_trip,
            "search": _search_round_trip,
        }
        if resources.qdrant is not None:
            each["qdrant"] = checks.qdrant
        return [await checks.run(name, check, resources, timeout_s=_WAIT_S) for name, check in each.items()]


async def _worker(resources: Resources) -> str:
    """As checks.worker, but a worker has a moment to say again that it lives, when Redis has just started anew."""
    from drystone import checks
    from drystone.core.errors import Unavailable

    until = time.monotonic() + _WORKER_WAIT_S
    while True:
        try:
            return await checks.worker(resources)
        except Unavailable:
            if time.monotonic() > until:
                raise
        await asyncio.sleep(0.2)


async def _search_round_trip(resources: Resources) -> str:
    """Upload a document through HTTP, wait until it is ready, find it, delete it."""
    import httpx

    from drystone.core.errors import Unavailable

    api = resources.settings.api
    collection, word = f"verify-{uuid4().hex[:12]}", f"zyx{uuid4().hex[:8]}"
    async with httpx.AsyncClient(
        base_url=f"http://{api.host}:{api.port}/api/v1",
        headers={"Authorization": f"Bearer {api.key.get_secret_value()}"},
        timeout=10,
    ) as client:
        try:
            files = {"file": ("verify.txt", f"A dry stone wall stands without mortar. {word}".encode(), "text/plain")}
            sent = await client.post("/documents", files=files, data={"collection": collection})
            sent.raise_for_status()
            document_id = UUID(sent.json()["document"]["id"])
            started = time.perf_counter()
            while (document := (await client.get(f"/documents/{document_id}")).json())["state"] == "pending":
                await asyncio.sleep(0.05)
            ready_ms = (time.perf_counter() - started) * 1000
            if document["state"] != "ready":
                raise Unavailable("verify.ingest", f"The document failed: {document['error']['message']}")
            body = {"query": f"walls {word}", "collection": collection}
            found = (await client.post("/search", json=body)).raise_for_status().json()
            if [hit["document"]["id"] for hit in found["hits"]] != [str(document_id)]:
                raise Unavailable("verify.search", "The search did not find the document just uploaded.")
            return f"uploaded, ready after {ready_ms:.0f} ms, found in {found['took_ms']:.0f} ms"
        except httpx.HTTPStatusError as exc:
            status = f"{exc.response.status_code} {exc.response.reason_phrase}"
            raise Unavailable("verify.http", f"{exc.request.method} {exc.request.url} was answered {status}.") from exc
        except httpx.HTTPError as exc:
            raise Unavailable("verify.http", f"The API at {client.base_url} does not answer: {exc}.") from exc
        finally:
            with contextlib.suppress(httpx.HTTPError):
                await client.delete(f"/collections/{collection}")
