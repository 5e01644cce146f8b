"""Qdrant as a place for graphs of vectors: a graph is one of its collections, a point one chunk, by the chunk's id.

Imported only where VECTOR_STORE=qdrant: its client is an extra of the installation.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from drystone.adapters.network import is_loopback
from drystone.core.errors import Unavailable
from drystone.core.settings import VectorSettings

T = TypeVar("T")

# Build and search parameters of the graph. A question looks at no fewer than pgvector's does.
HNSW_M, HNSW_EF_CONSTRUCT, HNSW_EF = 16, 100, 400
# Qdrant refuses bodies of more than 32 MB; a number takes up to 22 bytes in JSON.
_NUMBERS_AT_ONCE = 1_000_000
# No chunk has it: identities begin with 1. Without a collection's id in its payload no question finds it.
_MARK_ID = 0


class Qdrant:
    """Graphs in a Qdrant. Every call takes `timeout_s` at most and raises Unavailable when there is no good answer.

    A graph carries a mark: whatever its feeder wrote there last, so that the feeder knows it again.
    """

    def __init__(self, client: AsyncQdrantClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def version(self) -> str:
        """What Qdrant says it is."""
        return (await self._ask(self._client.info())).version

    async def make(self, name: str, dimension: int, mark: str) -> None:
        """An empty graph, in the place of any of that name."""
        await self.drop(name)
        await self._ask(
            self._client.create_collection(
                name,
                vectors_config=models.VectorParams(
                    size=dimension,
                    distance=models.Distance.DOT,  # of vectors of length 1
                    datatype=models.Datatype.FLOAT16,
                ),
                hnsw_config=models.HnswConfigDiff(m=HNSW_M, ef_construct=HNSW_EF_CONSTRUCT),
            )
        )
        await self._ask(
            self._client.create_payload_index(
                name, "collection_id", models.UuidIndexParams(type=models.UuidIndexType.UUID, is_tenant=True)
            )
        )
        await self.put(name, [], [], np.empty((0, dimension), np.float32), mark)

    async def mark(self, name: str) -> str | None:
        """The mark of a graph; None where there is no such graph."""
        if not await self._ask(self._client.collection_exists(name)):
            return None
        found = await self._ask(self._client.retrieve(name, [_MARK_ID], with_payload=True))
        return str((found[0].payload or {}).get("mark")) if found else ""

    async def put(
        self, name: str, chunk_ids: Sequence[int], collection_ids: Sequence[UUID], vectors: np.ndarray, mark: str
    ) -> None:
        """Write vectors, and the mark after them. Done when they can be found; the same again changes nothing.

        vectors: float32 (len(chunk_ids), dim), length 1.
        """
        size = max(1, _NUMBERS_AT_ONCE // vectors.shape[1])
        for begin in range(0, len(chunk_ids), size):
            part = slice(begin, begin + size)
            payloads = [{"collection_id": str(collection_id)} for collection_id in collection_ids[part]]
            await self._write(name, list(chunk_ids[part]), vectors[part], payloads)
        await self._write(name, [_MARK_ID], np.eye(1, vectors.shape[1], dtype=np.float32), [{"mark": mark}])

    async def remove(self, name: str, chunk_ids: Sequence[int]) -> None:
        """Take these out; those that are not there do no harm."""
        await self._ask(self._client.delete(name, models.PointIdsList(points=list(chunk_ids)), wait=True))

    async def nearest(self, name: str, collection_ids: Sequence[UUID], vector: np.ndarray, count: int) -> np.ndarray:
        """int64: the ids of about the `count` nearest of these collections, nearest first. vector: float32 (dim,)."""
        found = await self._ask(
            self._client.query_points(
                name,
                query=vector.tolist(),
                query_filter=models.Filter(
                    must=[
                        models.FieldCondition(
                            key="collection_id", match=models.MatchAny(any=[str(each) for each in collection_ids])
                        )
                    ]
                ),
                search_params=models.SearchParams(hnsw_ef=max(HNSW_EF, count)),
                limit=count,
                with_payload=False,
            )
        )
        return np.array([point.id for point in found.points], np.int64)

    async def drop(self, name: str) -> None:
        """Remove a graph; none of that name does no harm."""
        await self._ask(self._client.delete_collection(name))

    async def aclose(self) -> None:
        await self._client.close()

    async def _write(self, name: str, ids: list[int], vectors: np.ndarray, payloads: list[dict[str, str]]) -> None:
        batch = models.Batch.model_construct(ids=[*ids], vectors=vectors.tolist(), payloads=payloads)
        await self._ask(self._client.upsert(name, batch, wait=True))

    async def _ask(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call
        except TimeoutError as exc:
            raise _unavailable("did not answer in time", exc) from exc
        except UnexpectedResponse as exc:
            raise _refused(exc.status_code or 0) from exc
        except QdrantException as exc:  # 429 with a Retry-After
            raise _refused(429) from exc
        except (ApiException, httpx.HTTPError, OSError) as exc:
            raise _unavailable("is away", exc) from exc
        except json.JSONDecodeError as exc:
            raise _unavailable("is something else: its answer is not JSON", exc) from exc
        except ValueError as exc:  # what the client's local mode says where a server says 404
            raise _refused(404) from exc


def open_qdrant(settings: VectorSettings, *, timeout_s: float) -> Qdrant:
    """The Qdrant of the settings; connections are made at first use."""
    client = AsyncQdrantClient(
        url=settings.qdrant_url,
        # As a header: given as a key, the client warns of http also on this machine.
        headers={"api-key": key} if (key := settings.qdrant_api_key.get_secret_value()) else None,
        timeout=int(timeout_s) + 1,
        check_compatibility=False,  # it asks from a thread of its own, and only to warn
        limits=httpx.Limits(max_keepalive_connections=8),
        trust_env=not is_loopback(urlsplit(settings.qdrant_url).hostname or ""),
    )
    return Qdrant(client, timeout_s=timeout_s)


def _unavailable(what: str, exc: Exception) -> Unavailable:
    return Unavailable(
        "qdrant.unavailable",
        f"Qdrant {what}.",
        hint="check QDRANT_URL and that the server behind it runs",
        cause=type(exc).__name__,
    )


def _refused(status: int) -> Unavailable:
    if status in (401, 403):
        return Unavailable("qdrant.denied", f"Qdrant refuses the key (HTTP {status}).", hint="check QDRANT_API_KEY")
    if status == 404:
        return Unavailable(
            "qdrant.no_graph", "Qdrant has no such graph.", hint="nothing: the worker fills it anew from PostgreSQL"
        )
    return Unavailable("qdrant.refused", f"Qdrant answered with HTTP {status}.", hint="its log tells why")
