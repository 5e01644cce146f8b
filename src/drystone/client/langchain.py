"""Drystone for LangChain: a vector store with embeddings of yours, and a retriever that asks Drystone's own search.

Needs langchain-core: the extra `langchain`. Nothing else imports this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary, finalize

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr

from drystone.client import AsyncClient, Client, Conflict, NotFound
from drystone.client.models import Hit, Passage, PassageHit, SearchAnswer

Filter = Mapping[str, Any]

# The most that a search by vector gives.
_MOST_HITS = 100


class _Clients:
    """The clients of one store or retriever: those that were given, else made when they are needed.

    An AsyncClient's connections belong to the event loop that they were made in, so each loop has its own.
    """

    def __init__(
        self, client: Client | None, async_client: AsyncClient | None, url: str | None, api_key: str | None
    ) -> None:
        self._client, self._async_client = client, async_client
        self._url, self._api_key = url, api_key
        self._made: Client | None = None
        self._made_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        """Without those that were made: another process makes its own."""
        return type(self), (self._client, self._async_client, self._url, self._api_key)

    @property
    def blocking(self) -> Client:
        if self._client is not None:
            return self._client
        if self._made is None:
            self._made = Client(self._url, self._api_key)
            finalize(self, self._made.close)  # nobody closes a retriever
        return self._made

    @property
    def awaiting(self) -> AsyncClient:
        if self._async_client is not None:
            return self._async_client
        loop = asyncio.get_running_loop()
        if loop not in self._made_by_loop:
            self._made_by_loop[loop] = AsyncClient(self._url, self._api_key)
        return self._made_by_loop[loop]

    def close(self) -> None:
        if self._made is not None:
            self._made.close()
            self._made = None

    async def aclose(self) -> None:
        """Close what was made, but for what belongs to other loops."""
        self.close()
        if (made := self._made_by_loop.pop(asyncio.get_running_loop(), None)) is not None:
            await made.aclose()


class DrystoneVectorStore(VectorStore):
    """A collection whose vectors an embedding of LangChain's makes; texts are put by id, and found at once.

    The collection is made by the first text that is added, with the dimension of its vector. Metadata are its attributes:
    what Drystone can filter by. filter: {"year": 1962}, all of which must hold, or a filter as docs/reference/search.md has it.
    Where no client is given, one is made: of url and api_key, else of DRYSTONE_URL and DRYSTONE_API_KEY.
    """

    def __init__(
        self,
        collection: str,
        embedding: Embeddings,
        *,
        url: str | None = None,
        api_key: str | None = None,
        client: Client | None = None,
        async_client: AsyncClient | None = None,
    ) -> None:
        self.collection = collection
        self._embedding = embedding
        self._clients = _Clients(client, async_client, url, api_key)

    @property
    def embeddings(self) -> Embeddings:
        return self._embedding

    def close(self) -> None:
        """End the connections of the client that was made here."""
        self._clients.close()

    async def aclose(self) -> None:
        """End the connections of the clients that were made here and in this event loop."""
        await self._clients.aclose()

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Put texts, each in place of the one that has its id; those without one get one. Gives the ids."""
        said = list(texts)
        return self.add_embeddings(said, self._embedding.embed_documents(said) if said else [], metadatas, ids=ids)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """The same, awaited."""
        said = list(texts)
        vectors = await self._embedding.aembed_documents(said) if said else []
        return await self.aadd_embeddings(said, vectors, metadatas, ids=ids)

    def add_embeddings(
        self,
        texts: Sequence[str],
        vectors: Sequence[Sequence[float]],
        metadatas: Sequence[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Put texts with vectors that were made before."""
        passages, client = _passages(texts, vectors, metadatas, ids), self._clients.blocking
        for some in _rounds(passages):
            try:
                client.passages.put(self.collection, some)
            except NotFound as exc:
                _only_no_collection(exc)
                try:
                    client.collections.create(self.collection, dimension=len(some[0]["vector"]))
                except Conflict as conflict:  # somebody else made it meanwhile
                    if conflict.code != "collection.exists":
                        raise
                client.passages.put(self.collection, some)
        return [each["id"] for each in passages]

    async def aadd_embeddings(
        self,
        texts: Sequence[str],
        vectors: Sequence[Sequence[float]],
        metadatas: Sequence[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """The same, awaited."""
        passages, client = _passages(texts, vectors, metadatas, ids), self._clients.awaiting
        for some in _rounds(passages):
            try:
                await client.passages.put(self.collection, some)
            except NotFound as exc:
                _only_no_collection(exc)
                try:
                    await client.collections.create(self.collection, dimension=len(some[0]["vector"]))
                except Conflict as conflict:
                    if conflict.code != "collection.exists":
                        raise
                await client.passages.put(self.collection, some)
        return [each["id"] for each in passages]

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete those of these ids, or, without ids, all. Raises Conflict where the collection is one of files."""
        client = self._clients.blocking
        try:
            if ids is None:
                client.passages.delete_all(self.collection)
            else:
                client.passages.delete(self.collection, ids)
        except NotFound as exc:
            _only_no_collection(exc)
        return True

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """The same, awaited."""
        client = self._clients.awaiting
        try:
            if ids is None:
                await client.passages.delete_all(self.collection)
            else:
                await client.passages.delete(self.collection, ids)
        except NotFound as exc:
            _only_no_collection(exc)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Those of these ids that are there, in this order."""
        try:
            found = self._clients.blocking.passages.get(self.collection, ids)
        except NotFound as exc:
            return _only_no_collection(exc)
        return [_document(each) for each in found]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The same, awaited."""
        try:
            found = await self._clients.awaiting.passages.get(self.collection, ids)
        except NotFound as exc:
            return _only_no_collection(exc)
        return [_document(each) for each in found]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The k texts whose vectors lie nearest to that of the query; filter: only among these."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The same, awaited."""
        return [document for document, _ in await self.asimilarity_search_with_score(query, k, **kwargs)]

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """The k texts whose vectors lie nearest to this one."""
        return [document for document, _ in self.similarity_search_with_score_by_vector(embedding, k, **kwargs)]

    async def asimilarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """The same, awaited."""
        found = await self.asimilarity_search_with_score_by_vector(embedding, k, **kwargs)
        return [document for document, _ in found]

    def similarity_search_with_score(
        self, query: str, k: int = 4, *, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """With each its cosine, -1 to 1: higher is nearer."""
        return self.similarity_search_with_score_by_vector(self._embedding.embed_query(query), k, filter=filter)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, *, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The same, awaited."""
        vector = await self._embedding.aembed_query(query)
        return await self.asimilarity_search_with_score_by_vector(vector, k, filter=filter)

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, *, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k texts whose vectors lie nearest to this one, with each its cosine."""
        return [(_document(hit), hit.score) for hit in self._nearest(embedding, k, filter)]

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, *, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The same, awaited."""
        return [(_document(hit), hit.score) for hit in await self._anearest(embedding, k, filter)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """k of the fetch_k nearest: near, and unlike each other. lambda_mult: 1 the nearest, 0 the most different."""
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """The same, awaited."""
        vector = await self._embedding.aembed_query(query)
        return await self.amax_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The same of a vector."""
        hits = self._nearest(embedding, min(max(fetch_k, k), _MOST_HITS), filter, with_vectors=True)
        return _unlike(embedding, hits, k, lambda_mult)

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The same, awaited."""
        hits = await self._anearest(embedding, min(max(fetch_k, k), _MOST_HITS), filter, with_vectors=True)
        return _unlike(embedding, hits, k, lambda_mult)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        collection: str = "langchain",
        **kwargs: Any,
    ) -> DrystoneVectorStore:
        """A store of this collection, with these texts added. kwargs: as the store is made with."""
        store = cls(collection, embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        collection: str = "langchain",
        **kwargs: Any,
    ) -> DrystoneVectorStore:
        """The same, awaited."""
        store = cls(collection, embedding, **kwargs)
        await store.aadd_texts(texts, metadatas, ids=ids)
        return store

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Cosines, -1 to 1, as LangChain's relevance, 0 to 1."""
        # Of vectors in half precision a cosine may be a little beyond 1.
        return lambda cosine: min(max((1.0 + cosine) / 2.0, 0.0), 1.0)

    def _nearest(
        self, vector: Sequence[float], k: int, filter: Filter | None, *, with_vectors: bool = False
    ) -> list[PassageHit]:
        passages = self._clients.blocking.passages
        try:
            return passages.search(
                self.collection, vector, limit=k, filter=as_filter(filter), with_vectors=with_vectors
            )
        except NotFound as exc:
            return _only_no_collection(exc)

    async def _anearest(
        self, vector: Sequence[float], k: int, filter: Filter | None, *, with_vectors: bool = False
    ) -> list[PassageHit]:
        passages = self._clients.awaiting.passages
        try:
            return await passages.search(
                self.collection, vector, limit=k, filter=as_filter(filter), with_vectors=with_vectors
            )
        except NotFound as exc:
            return _only_no_collection(exc)


class DrystoneRetriever(BaseRetriever):
    """Passages of Drystone's own search: words and meaning, of documents that Drystone has read itself.

        retriever = DrystoneRetriever(collection="papers", k=5)
        retriever.invoke("why do thin shells buckle", filter={"year": 1962})

    k (or limit, as a search calls it), filter, mode and what else a search takes (`options`, such as {"rerank": True,
    "max_per_document": 1}) may be given once, or with each question. A document's page_content is the quote; its metadata
    say which document and where. Pickled it is without clients: not one to which clients were given.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    collection: str | None = None
    collections: list[str] | None = None
    k: int = 10
    filter: dict[str, Any] | None = None
    mode: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    url: str | None = None
    api_key: SecretStr | None = None
    client: Client | None = Field(default=None, exclude=True)
    async_client: AsyncClient | None = Field(default=None, exclude=True)
    _clients: _Clients = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Clients are made when a question comes."""
        super().model_post_init(context)
        key = None if self.api_key is None else self.api_key.get_secret_value()
        self._clients = _Clients(self.client, self.async_client, self.url, key)

    def close(self) -> None:
        """End the connections of the client that was made here."""
        self._clients.close()

    async def aclose(self) -> None:
        """End the connections of the clients that were made here and in this event loop."""
        await self._clients.aclose()

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return _quotes(self._clients.blocking.search(query, **self._asked(kwargs)))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return _quotes(await self._clients.awaiting.search(query, **self._asked(kwargs)))

    def _asked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        own = {"collection": self.collection, "collections": self.collections, "limit": self.k, "mode": self.mode}
        asked = {**own, "filter": self.filter, **_with_limit(self.options), **_with_limit(given)}
        asked["filter"] = as_filter(asked["filter"])
        return asked


def _with_limit(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a search takes them: k is its limit. Raises TypeError where both are given."""
    if {"k", "limit"} <= given.keys():
        raise TypeError("k and limit say the same: give one of them.")
    return {"limit" if name == "k" else name: value for name, value in given.items()}


def as_filter(given: Filter | None) -> Filter | None:
    """A filter of Drystone's as it is; of names and values, all of which must hold, one that says so. A list: one of these."""
    if not given or given.keys() in ({"type", "key", "value"}, {"type", "filters"}):
        return given or None
    each = [
        {"type": "in" if isinstance(value, list) else "eq", "key": key, "value": value} for key, value in given.items()
    ]
    return each[0] if len(each) == 1 else {"type": "and", "filters": each}


def _passages(
    texts: Sequence[str],
    vectors: Sequence[Sequence[float]],
    metadatas: Sequence[dict[str, Any]] | None,
    ids: Sequence[str | None] | None,
) -> list[dict[str, Any]]:
    said = [{}] * len(texts) if metadatas is None else metadatas
    named = [None] * len(texts) if ids is None else ids
    return [
        {"id": id_ or str(uuid4()), "text": text, "vector": vector, "attributes": metadata or {}}
        for text, vector, metadata, id_ in zip(texts, vectors, said, named, strict=True)
    ]


def _rounds(passages: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Passages as they are to be put one after the other: an id that comes again is one put again, and the last one stays."""
    rounds: list[dict[str, dict[str, Any]]] = []
    for passage in passages:
        if not rounds or passage["id"] in rounds[-1]:
            rounds.append({})
        rounds[-1][passage["id"]] = passage
    return [list(each.values()) for each in rounds]


def _document(passage: Passage) -> Document:
    return Document(id=passage.id, page_content=passage.text, metadata=passage.attributes)


def _unlike(vector: Sequence[float], hits: Sequence[PassageHit], k: int, lambda_mult: float) -> list[Document]:
    """Maximal marginal relevance over hits that have their vectors."""
    if not hits:
        return []
    import numpy as np
    from langchain_core.vectorstores.utils import maximal_marginal_relevance

    vectors = [hit.vector or [] for hit in hits]
    chosen = maximal_marginal_relevance(np.array(vector, dtype=np.float32), vectors, lambda_mult=lambda_mult, k=k)
    return [_document(hits[place]) for place in chosen]


def _only_no_collection(exc: NotFound) -> list[Any]:
    """Nothing, where nothing was added yet; else the error."""
    if exc.code != "collection.not_found":
        raise exc
    return []


def _quotes(answer: SearchAnswer) -> list[Document]:
    return [_quote(hit) for hit in answer.hits]


def _quote(hit: Hit) -> Document:
    document = hit.document
    return Document(
        id=f"{document.version_id}:{hit.start}-{hit.end}",
        page_content=hit.quote,
        metadata={
            "source": document.external_id or document.name or document.id,
            "title": document.title,
            "collection": document.collection,
            "document_id": document.id,
            "version": document.version,
            "start": hit.start,
            "end": hit.end,
            "page": hit.page,
            "title_path": hit.title_path,
            "score": hit.score,
            "attributes": document.attributes,
        },
    )
