"""A small client of the HTTP API: what the benchmarks do goes over the wire, as anybody's would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import httpx

from benchmarks.corpus import Document
from drystone.core.settings import Settings

UPLOADS_AT_ONCE = 8


class Api:
    """Calls one running stack with its first key."""

    def __init__(self, settings: Settings) -> None:
        self._http = httpx.AsyncClient(
            base_url=f"http://{settings.api.host}:{settings.api.port}/api/v1",
            headers={"Authorization": f"Bearer {settings.api.key.get_secret_value()}"},
            timeout=60,
            trust_env=False,  # a proxy of the shell does not lead to this machine's own ports
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def send(self, name: str, body: bytes, collection: str) -> None:
        """Upload a file as it is."""
        response = await self._http.post("/documents", data={"collection": collection}, files={"file": (name, body)})
        response.raise_for_status()

    async def upload(self, document: Document, collection: str) -> None:
        fields = {"collection": collection, "external_id": document.id, "title": document.title}
        response = await self._http.post(
            "/documents",
            data={name: value for name, value in fields.items() if value},
            files={"file": (f"{document.id}.txt", document.text.encode(), "text/plain")},
        )
        response.raise_for_status()

    async def upload_all(self, documents: Iterable[Document], collection: str) -> None:
        """Upload a few at a time, as a script that wants to be done would."""
        waiting = iter(documents)

        async def work() -> None:
            for document in waiting:
                await self.upload(document, collection)

        async with asyncio.TaskGroup() as group:
            for _ in range(UPLOADS_AT_ONCE):
                group.create_task(work())

    async def wait_until_done(self, collection: str, count: int, *, timeout_s: float = 3600) -> dict[str, Any]:
        """The collection as it is when none of its `count` documents is pending. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = await self.collection(collection)
            states = found["documents"]
            if states["pending"] == 0 and states["ready"] + states["failed"] >= count:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"{collection} is not done after {timeout_s} s: {states}")
            # Seldom while much is left: asking costs what is measured.
            await asyncio.sleep(min(2.0, max(0.1, 0.02 * states["pending"])))

    async def collection(self, name: str) -> dict[str, Any]:
        return await self._answer("GET", f"/collections/{name}")

    async def delete_collection(self, name: str) -> None:
        response = await self._http.delete(f"/collections/{name}")
        if response.status_code != 404:
            response.raise_for_status()

    async def delete_external(self, external_id: str, collection: str) -> None:
        """Delete the document that goes by this id, if there is one."""
        found = await self._answer("GET", f"/documents?collection={collection}&external_id={external_id}")
        for item in found["items"]:
            (await self._http.delete(f"/documents/{item['id']}")).raise_for_status()

    async def jobs(self, state: str) -> list[dict[str, Any]]:
        return list((await self._answer("GET", f"/jobs?state={state}"))["items"])

    async def failures(self, collection: str) -> list[dict[str, Any]]:
        found = await self._answer("GET", f"/documents?collection={collection}&state=failed&limit=100")
        return list(found["items"])

    async def search(self, collection: str, query: str, mode: str, limit: int) -> dict[str, Any]:
        return await self.ask(query=query, collection=collection, mode=mode, limit=limit)

    async def answer(self, **body: Any) -> dict[str, Any]:
        """An answer in sentences."""
        return await self._answer("POST", "/ask", json=body)

    async def ask(self, **body: Any) -> dict[str, Any]:
        """Search with any fields of a request."""
        return await self._answer("POST", "/search", json=body)

    async def _answer(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        response = await self._http.request(method, path, **arguments)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found


async def ingest(api: Api, documents: list[Document], collection: str) -> tuple[float, dict[str, Any]]:
    """Upload all and wait until none is pending: the seconds from the first request, and the collection then."""
    await api.delete_collection(collection)
    began = time.monotonic()
    await api.upload_all(documents, collection)
    done = await api.wait_until_done(collection, len(documents))
    return time.monotonic() - began, done
