"""DrystoneVectorStore and DrystoneRetriever against LangChain's own tests, and what those do not ask, at the API as it runs."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests
from pydantic import SecretStr

from drystone.client import AsyncClient, Client, Conflict, Invalid
from drystone.client.langchain import DrystoneRetriever, DrystoneVectorStore
from drystone.core.db import Sessions

TEXTS = {
    "birds": "The kingfisher dives for fish from a branch above the river.",
    "shells": "Thin shells buckle under pressure long before the material yields.",
    "bread": "Bread rises because yeast makes carbon dioxide.",
    "bees": "Bees tell each other by a dance where the flowers are.",
}


@pytest.fixture
async def clients(url: str, key: str, sessions: Sessions) -> AsyncIterator[dict[str, Any]]:
    """Both clients, as a store or a retriever takes them, of an empty stack."""
    with Client(url, key) as client:
        async with AsyncClient(url, key) as async_client:
            yield {"client": client, "async_client": async_client}


class TestVectorStore(VectorStoreIntegrationTests):
    """What LangChain asks of each vector store, of both ways to call it."""

    @pytest.fixture
    def vectorstore(self, clients: dict[str, Any]) -> VectorStore:
        return DrystoneVectorStore("notes", self.get_embeddings(), **clients)


class TestRetriever(RetrieversIntegrationTests):
    """What LangChain asks of each retriever."""

    @pytest.fixture(autouse=True)
    async def filled(self, clients: dict[str, Any], work: Any) -> None:
        self.clients = clients
        for name, said in TEXTS.items():
            clients["client"].documents.add(text=said, name=f"{name}.txt", collection="notes")
        await work()

    @property
    def retriever_constructor(self) -> type[DrystoneRetriever]:
        return DrystoneRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"collection": "notes", **self.clients}

    @property
    def retriever_query_example(self) -> str:
        return "Which bird catches fish?"


@pytest.fixture
def store(clients: dict[str, Any]) -> DrystoneVectorStore:
    """Four texts with the year they are of."""
    return DrystoneVectorStore.from_texts(
        list(TEXTS.values()),
        DeterministicFakeEmbedding(size=8),
        [{"year": 1960 + number, "kind": "note"} for number in range(4)],
        ids=list(TEXTS),
        collection="notes",
        **clients,
    )


async def test_filters_hold_in_every_search(store: DrystoneVectorStore) -> None:
    simple = store.similarity_search("bees", k=4, filter={"year": [1961, 1962], "kind": "note"})
    ours = await store.asimilarity_search("bees", k=4, filter={"type": "gte", "key": "year", "value": 1962})
    diverse = await store.amax_marginal_relevance_search("bees", k=4, filter={"year": 1960})

    assert {each.id for each in simple} == {"shells", "bread"}
    assert {each.id for each in ours} == {"bread", "bees"}
    assert [each.id for each in diverse] == ["birds"]


async def test_scores_are_cosines_and_relevance_lies_between_0_and_1(store: DrystoneVectorStore) -> None:
    scored = store.similarity_search_with_score(TEXTS["bees"], k=4)
    relevant = await store.asimilarity_search_with_relevance_scores(TEXTS["bees"], k=4, score_threshold=0.9)

    assert scored[0][0].id == "bees"
    assert scored[0][1] == pytest.approx(1.0, abs=1e-3)
    assert [score for _, score in scored] == sorted((score for _, score in scored), reverse=True)
    assert relevant[0][1] == pytest.approx(1.0, abs=1e-3)
    assert all(0.9 <= score <= 1.0 for _, score in relevant)


async def test_marginal_relevance_prefers_what_is_unlike(clients: dict[str, Any]) -> None:
    store = DrystoneVectorStore("notes", DeterministicFakeEmbedding(size=2), **clients)
    store.add_embeddings(["a", "a again", "b"], [[1, 0.1], [1, 0.3], [0.5, -1]], ids=["a", "again", "b"])

    near = store.similarity_search_by_vector([1.0, 0.1], k=2)
    unlike = store.max_marginal_relevance_search_by_vector([1.0, 0.1], k=2, lambda_mult=0.2)
    same = await store.amax_marginal_relevance_search_by_vector([1.0, 0.1], k=2, lambda_mult=0.2)

    assert [each.id for each in near] == ["a", "again"]
    assert [each.id for each in unlike] == ["a", "b"] == [each.id for each in same]


async def test_an_id_that_comes_twice_stays_as_it_came_last(clients: dict[str, Any]) -> None:
    store = DrystoneVectorStore("notes", DeterministicFakeEmbedding(size=8), **clients)

    ids = await store.aadd_texts(["first", "other", "second"], ids=["x", "y", "x"])

    assert ids == ["x", "y", "x"]
    assert [each.page_content for each in await store.aget_by_ids(["x", "y"])] == ["second", "other"]


async def test_more_than_one_request_holds_are_added_and_all_are_deleted(clients: dict[str, Any]) -> None:
    store = DrystoneVectorStore("notes", DeterministicFakeEmbedding(size=8), **clients)
    texts = [f"text {number}" for number in range(1203)]

    ids = await asyncio.to_thread(store.add_texts, texts)

    assert len(set(ids)) == len(texts)
    assert [each.page_content for each in store.get_by_ids(ids)] == texts
    assert store.delete()
    assert store.get_by_ids(ids) == []
    assert await store.adelete()
    assert store.similarity_search("text 7") == []


async def test_vectors_of_another_length_are_refused(store: DrystoneVectorStore, clients: dict[str, Any]) -> None:
    other = DrystoneVectorStore("notes", DeterministicFakeEmbedding(size=9), **clients)

    with pytest.raises(Invalid) as caught:
        other.add_texts(["a"])

    assert caught.value.problems[0].pointer == "/passages/0/vector"


async def test_a_collection_of_files_is_no_vector_store(clients: dict[str, Any]) -> None:
    clients["client"].collections.create("files")
    store = DrystoneVectorStore("files", DeterministicFakeEmbedding(size=8), **clients)

    with pytest.raises(Conflict) as caught:
        await store.aadd_documents([Document("a")])

    assert caught.value.code == "collection.own_vectors"


@pytest.mark.parametrize("ids", [None, ["a"]], ids=["all", "some"])
async def test_nothing_is_deleted_of_a_collection_of_files(clients: dict[str, Any], ids: list[str] | None) -> None:
    clients["client"].documents.add(text=TEXTS["birds"], name="birds.txt", collection="files")
    store = DrystoneVectorStore("files", DeterministicFakeEmbedding(size=8), **clients)

    with pytest.raises(Conflict) as caught:
        store.delete(ids)
    with pytest.raises(Conflict):
        await store.adelete(ids)

    assert caught.value.code == "collection.own_vectors"
    assert len(list(clients["client"].documents.list(collection="files"))) == 1


async def test_a_retriever_says_where_each_quote_stands(clients: dict[str, Any], work: Any) -> None:
    clients["client"].documents.add(
        text=TEXTS["birds"], name="birds.txt", collection="notes", external_id="b", attributes={"year": 1962}
    )
    await work()
    retriever = DrystoneRetriever(collection="notes", k=3, options={"max_per_document": 1}, **clients)

    (found,) = await retriever.ainvoke("Which bird catches fish?", filter={"year": 1962})

    said = found.metadata
    assert found.page_content == TEXTS["birds"]
    assert (said["source"], said["title"], said["attributes"]) == ("b", "birds.txt", {"year": 1962})
    text = clients["client"].documents.text(said["document_id"])
    assert text[said["start"] : said["end"]] == found.page_content
    assert retriever.invoke("Which bird catches fish?", filter={"year": 1963}) == []


async def test_a_retriever_takes_k_and_limit_alike_once_or_with_each_question(
    clients: dict[str, Any], work: Any
) -> None:
    for name, said in TEXTS.items():
        clients["client"].documents.add(text=said, name=f"{name}.txt", collection="notes")
    await work()
    retriever = DrystoneRetriever(collection="notes", k=3, **clients)
    other = DrystoneRetriever(collection="notes", k=3, options={"limit": 2}, **clients)

    found = [retriever.invoke("bees"), retriever.invoke("bees", k=1), retriever.invoke("bees", limit=1)]
    of_other = [other.invoke("bees"), other.invoke("bees", k=1)]

    assert [len(each) for each in found + of_other] == [3, 1, 1, 2, 1]
    with pytest.raises(TypeError, match="give one"):
        retriever.invoke("bees", k=1, limit=2)
    with pytest.raises(ValueError, match="topk"):
        DrystoneRetriever(collection="notes", topk=3, **clients)  # type: ignore[call-arg]  # the point


async def test_stores_and_retrievers_are_pickled_used_or_not(url: str, key: str, sessions: Sessions) -> None:
    retriever = DrystoneRetriever(collection="notes", k=3, url=url, api_key=SecretStr(key))
    store = DrystoneVectorStore("notes", DeterministicFakeEmbedding(size=8), url=url, api_key=key)

    unused = pickle.loads(pickle.dumps(retriever))
    pickle.loads(pickle.dumps(store)).add_texts([TEXTS["bees"]], ids=["1"])
    assert (unused.k, len(unused.invoke("bees dance"))) == (3, 1)
    assert [each.id for each in store.get_by_ids(["1"])] == ["1"]
    for used in (pickle.loads(pickle.dumps(unused)), copy.deepcopy(unused)):
        assert len(used.invoke("bees dance")) == 1
        used.close()
    unused.close()
    store.close()


def test_relevance_is_never_beyond_0_and_1() -> None:
    relevance = DrystoneVectorStore("notes", DeterministicFakeEmbedding(size=8))._select_relevance_score_fn()

    assert [relevance(cosine) for cosine in (-1.0002, -1.0, 0.0, 1.0, 1.0002)] == [0.0, 0.0, 0.5, 1.0, 1.0]


async def test_clients_are_made_of_the_environment_and_closed(
    url: str, key: str, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRYSTONE_URL", url)
    monkeypatch.setenv("DRYSTONE_API_KEY", key)
    store = DrystoneVectorStore("notes", DeterministicFakeEmbedding(size=8))

    store.add_texts(["a"], ids=["1"])
    await store.aadd_texts(["b"], ids=["1"])

    assert [each.page_content for each in store.get_by_ids(["1"])] == ["b"]
    await store.aclose()
