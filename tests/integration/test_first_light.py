"""Upload, work, search: the whole line through the HTTP API and a worker process, on real servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx

from drystone.core.db import Sessions


async def test_an_uploaded_document_is_found_with_its_exact_quote(
    client: httpx.AsyncClient, work: Callable[[], Awaitable[None]], sessions: Sessions, collection: str
) -> None:
    text = "# Walls\n\nA dry stone wall stands without mortar.\n\n# Bread\n\nDough rises because yeast makes gas."
    sent = await client.post(
        "/api/v1/documents", files={"file": ("walls.txt", text.encode())}, data={"collection": collection}
    )
    assert sent.status_code == 202, sent.text
    await work()

    document = (await client.get(sent.headers["location"])).json()
    found = await client.post("/api/v1/search", json={"query": "which wall needs no mortar?", "collection": collection})
    body = (await client.get(f"/api/v1/documents/{document['id']}/text")).text

    assert document["state"] == "ready", document
    hit = found.json()["hits"][0]
    assert "without mortar" in hit["quote"]
    assert body[hit["start"] : hit["end"]] == hit["quote"]
