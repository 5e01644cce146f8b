"""A graph in Qdrant: finds what a scan finds, at once what was published, never what is gone, and is known when it is another.

Runs with the client's local mode, which compares every vector, and with a server where QDRANT_URL names one.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.adapters.qdrant import Qdrant, open_qdrant
from drystone.core import crash_points
from drystone.core.db import Sessions, make_sessions, transaction
from drystone.core.errors import Conflict
from drystone.core.settings import Settings, VectorSettings
from drystone.documents import collections
from drystone.documents.filters import Comparison
from drystone.index import changes, feeding, spaces
from drystone.index import queries as index
from drystone.index.analysis import Analysed
from drystone.index.qdrant import QdrantGraph
from drystone.index.vectors import PgGraph, Within, add, remove, scan
from drystone.resources import Resources
from drystone.search import queries
from drystone.search.queries import Scope
from drystone.web import create_app
from drystone.worker.feeding import Feeding

# The local mode says what it cannot do: payload indexes, parameters of the graph.
pytestmark = pytest.mark.filterwarnings("ignore:.*(local Qdrant|Local mode).*:UserWarning")

DIMENSION = 384
Work = Callable[[], Awaitable[None]]


class Watched(Qdrant):
    """The real adapter; knows what was made, to be removed after a test, and how often it was asked."""

    def __init__(self, client: AsyncQdrantClient, *, timeout_s: float = 20) -> None:
        super().__init__(client, timeout_s=timeout_s)
        self.made: set[str] = set()
        self.questions = 0
        self.client = client

    async def make(self, name: str, dimension: int, mark: str) -> None:
        self.made.add(name)
        await super().make(name, dimension, mark)

    async def nearest(self, name: str, collection_ids: Sequence[UUID], vector: np.ndarray, count: int) -> np.ndarray:
        self.questions += 1
        return await super().nearest(name, collection_ids, vector, count)


@pytest.fixture(params=["local", "server"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    if request.param == "local":
        client = AsyncQdrantClient(":memory:")
    elif url := os.environ.get("QDRANT_URL"):
        client = AsyncQdrantClient(url, api_key=os.environ.get("QDRANT_API_KEY"), timeout=20)
    else:
        pytest.skip("QDRANT_URL names no server")
    watched = Watched(client)
    yield watched
    for name in watched.made:
        await watched.drop(name)
    await watched.aclose()


@dataclass
class Library:
    """Passages without files behind them, and what is asked of them."""

    sessions: Sessions
    readers: Sessions
    principal: Principal
    resources: Resources
    store: Watched
    space_id: int = 0

    async def collection(self, name: str) -> UUID:
        async with transaction(self.sessions) as session:
            made = await collections.create(
                session, self.principal, self.resources.space, name=name, language="english"
            )
        self.space_id = made.space_id
        return made.id

    async def publish(self, collection_id: UUID, vectors: np.ndarray, *, each: int = 10) -> list[int]:
        """Chunks with these vectors, `each` a document; documents have an attribute `n`: 0, 1, 2, …"""
        async with transaction(self.sessions) as session:
            return await self.write(session, collection_id, vectors, each=each)

    async def write(
        self, session: AsyncSession, collection_id: UUID, vectors: np.ndarray, *, each: int = 10
    ) -> list[int]:
        rows = await session.execute(
            _CHUNKS,
            {
                "workspace_id": self.principal.workspace_id,
                "collection_id": collection_id,
                "documents": -(-len(vectors) // each),
                "each": each,
            },
        )
        added = [
            index.IndexedChunk(row.id, collection_id, row.document_id, "english", Analysed({}, 0), vector)
            for row, vector in zip(rows.all()[: len(vectors)], vectors, strict=True)
        ]
        await index.add(session, self.space_id, added)
        return [chunk.chunk_id for chunk in added]

    async def remove(self, chunk_ids: Sequence[int]) -> None:
        """The documents of these chunks, as a purge does."""
        async with transaction(self.sessions) as session:
            found = await session.scalars(
                text("select distinct document_id from chunks where id = any(:ids)"), {"ids": list(chunk_ids)}
            )
            ids = list(found.all())
            await index.remove_documents(session, ids)
            await session.execute(text("delete from chunks where document_id = any(:ids)"), {"ids": ids})

    async def feed(self, *, keep_removed_s: float = 0) -> int:
        return await feeding.feed(self.sessions, self.store, keep_removed_s=keep_removed_s)

    async def state(self) -> Any:
        async with transaction(self.sessions) as session:
            return (
                await session.execute(
                    text("select * from vector_feeds where space_id = :space_id"), {"space_id": self.space_id}
                )
            ).one()

    async def held(self) -> list[int]:
        """What the graph holds, its mark left out."""
        name = changes.graph_name(self.space_id, (await self.state()).generation)
        points, _ = await self.store.client.scroll(name, limit=100_000, with_payload=False)
        return sorted(int(point.id) for point in points)[1:]

    async def walk(self, within: Within, vector: np.ndarray, depth: int = 10, graph: Any = None) -> list[int]:
        async with transaction(self.readers) as session:
            ids, scores = await (graph or QdrantGraph(self.store)).walk(
                session, self.space_id, within, vector, depth=depth
            )
        assert np.all(np.diff(scores) <= 0)
        assert len(set(ids.tolist())) == len(ids)
        return [int(each) for each in ids]

    async def scan(self, within: Within, vector: np.ndarray, depth: int = 10) -> list[int]:
        async with transaction(self.readers) as session:
            ids, _ = await scan(session, self.space_id, within, vector, depth=depth)
        return [int(each) for each in ids]

    async def recall(self, within: Within, questions: np.ndarray, depth: int = 10) -> float:
        """Of what a scan finds, the part that the graph finds."""
        shares = []
        for question in questions:
            exact = await self.scan(within, question, depth)
            found = await self.walk(within, question, depth)
            assert len(found) == len(exact)
            shares.append(len(set(exact) & set(found)) / len(exact))
        return float(np.mean(shares))


@pytest.fixture
async def one_space(resources: Resources, sessions: Sessions, owner: Sessions) -> None:
    """No space but that of new collections: other modules leave theirs, which would be fed, too."""
    async with transaction(owner) as session:
        own = await spaces.find(session, resources.space.model, resources.space.dimension)
        for other in await session.scalars(text("select id from embedding_spaces where id <> :own"), {"own": own}):
            await session.execute(text(f"drop table {spaces.vector_table(other)} cascade"))
            await session.execute(text("delete from embedding_spaces where id = :other"), {"other": other})


@pytest.fixture
def library(resources: Resources, sessions: Sessions, principal: Principal, store: Watched, one_space: None) -> Library:
    readers = make_sessions(resources.engine.execution_options(isolation_level="REPEATABLE READ"))
    return Library(sessions, readers, principal, resources, store)


@pytest.fixture
async def without_graph(sessions: Sessions, owner: Sessions) -> AsyncIterator[None]:
    """No graph in PostgreSQL, into which many vectors would be written slowly; afterwards there is one again."""
    async with transaction(owner) as session:
        for space_id in await session.scalars(text("select id from embedding_spaces")):
            await spaces.drop_graph(session, space_id)
    yield
    async with transaction(owner) as session:
        await session.execute(text("truncate chunks cascade"))
        for space_id in await session.scalars(text("select id from embedding_spaces")):
            await spaces.build_graph(session, space_id)


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return unit


def _like_text(count: int, seed: int) -> np.ndarray:
    """Vectors that lie in clusters, as those of texts do: 40 topics, which are the same for every seed."""
    topics = np.random.default_rng(0).normal(size=(40, DIMENSION))
    chance = np.random.default_rng(seed)
    return _unit(topics[chance.integers(0, 40, count)] + chance.normal(size=(count, DIMENSION)) * 0.8)


async def test_the_graph_finds_what_the_scan_finds_in_the_collections_asked(
    library: Library, collection: str, store: Watched
) -> None:
    first, second = await library.collection(collection), await library.collection(f"{collection}-2")
    of_first = await library.publish(first, _like_text(1200, seed=1))
    of_second = await library.publish(second, _like_text(800, seed=2))
    await library.feed()

    questions = _like_text(10, seed=3)
    for within, ids in ((Scope([first]), of_first), (Scope([second]), of_second), (Scope([first, second]), None)):
        assert await library.recall(within, questions) >= 0.95
        if ids is not None:
            assert set(await library.walk(within, questions[0])) <= set(ids)
    assert store.questions >= 30
    assert await library.held() == sorted(of_first + of_second)


@pytest.mark.parametrize("percent", [1, 10, 50])
async def test_a_filter_leaves_enough_and_nothing_else(
    library: Library, collection: str, store: Watched, percent: int
) -> None:
    home = await library.collection(collection)
    await library.publish(home, _like_text(1500, seed=1), each=5)
    await library.feed()

    few = Scope([home], Comparison(type="lt", key="n", value=3 * percent))  # of 300 documents
    assert await library.recall(few, _like_text(10, seed=3)) >= 0.95
    assert store.questions >= 10


async def test_what_was_published_is_found_before_the_graph_knows_it_and_once_after(
    library: Library, collection: str
) -> None:
    home = await library.collection(collection)
    await library.publish(home, _like_text(300, seed=1))
    await library.feed()
    new = _like_text(20, seed=5)
    ids = await library.publish(home, new)

    before = [await library.walk(Scope([home]), vector) for vector in new]
    await library.feed()
    after = [await library.walk(Scope([home]), vector) for vector in new]

    assert [found[0] for found in before] == ids
    assert before == after


async def test_what_is_gone_is_not_found_although_the_graph_still_has_it(library: Library, collection: str) -> None:
    home = await library.collection(collection)
    vectors = _like_text(300, seed=1)
    ids = await library.publish(home, vectors)
    await library.feed()

    await library.remove(ids[:10])  # the first document
    assert not set(await library.walk(Scope([home]), vectors[0])) & set(ids[:10])
    assert await library.held() == ids
    await library.feed(keep_removed_s=feeding.KEEP_REMOVED_S)
    assert await library.held() == ids  # a search may have begun before

    await library.feed()
    assert await library.held() == ids[10:]


async def test_a_search_that_began_before_a_removal_still_finds_it(library: Library, collection: str) -> None:
    home = await library.collection(collection)
    vectors = _like_text(300, seed=1)
    ids = await library.publish(home, vectors)
    await library.feed()

    async with transaction(library.readers) as session:
        await session.scalar(text("select count(*) from chunks"))  # its snapshot is taken here
        await library.remove(ids[:10])
        await library.feed(keep_removed_s=feeding.KEEP_REMOVED_S)
        found, _ = await QdrantGraph(library.store).walk(session, library.space_id, Scope([home]), vectors[0], depth=10)

    assert found[0] == ids[0]


async def test_additions_removals_and_rounds_in_any_order_end_alike(library: Library, collection: str) -> None:
    home, chance = await library.collection(collection), np.random.default_rng(7)
    live: list[int] = []
    vectors: dict[int, np.ndarray] = {}
    for step in range(25):
        action = chance.choice(["add", "remove", "feed", "ask"])
        if action == "add":
            rows = _like_text(int(chance.integers(10, 80)), seed=100 + step)
            ids = await library.publish(home, rows, each=1)
            vectors |= dict(zip(ids, rows, strict=True))
            live += ids
        elif action == "remove" and live:
            gone = {int(each) for each in chance.choice(live, size=min(15, len(live)), replace=False)}
            await library.remove(list(gone))
            live = [each for each in live if each not in gone]
        elif action == "feed":
            await library.feed(keep_removed_s=float(chance.choice([0, 60])))
        elif len(live) > 20:
            wanted = int(chance.choice(live))
            found = await library.walk(Scope([home]), vectors[wanted])
            assert found[0] == wanted
            assert set(found) <= set(live)

    await library.feed()
    assert await library.held() == sorted(live)


async def test_vectors_taken_out_of_a_space_leave_the_graph_and_those_that_came_back_stay(
    library: Library, collection: str
) -> None:
    home, rows = await library.collection(collection), _like_text(30, seed=1)
    ids = await library.publish(home, rows)
    await library.feed()

    async with transaction(library.sessions) as session:
        assert await remove(session, library.space_id, home, limit=100) == 30
    async with transaction(library.sessions) as session:
        places = {"ids": ids[:10], "collection_ids": [home] * 10, "document_ids": [home] * 10}
        await add(session, library.space_id, places, list(rows[:10]))
    await library.feed()

    assert await library.held() == ids[:10]


async def test_a_feeder_killed_after_writing_does_it_again_to_the_same_end(
    library: Library, collection: str, tmp_path: Path
) -> None:
    home = await library.collection(collection)
    first = await library.publish(home, _like_text(100, seed=1))
    await library.feed()
    generation = (await library.state()).generation
    second = await library.publish(home, _like_text(100, seed=2))
    crash_points.arm(tmp_path)
    crash_points.order(tmp_path, "mid_feed", "fail", times=2)
    for _ in range(2):
        with pytest.raises(crash_points.Armed):
            await library.feed()
    crash_points.arm(None)
    assert await _pending(library) == 100

    await library.feed()

    assert await library.held() == first + second
    assert await _pending(library) == 0
    assert (await library.state()).generation == generation


async def test_a_feeder_that_finds_the_store_away_in_the_midst_goes_on_with_the_same_graph(
    library: Library, collection: str
) -> None:
    home = await library.collection(collection)
    ids = await library.publish(home, _like_text(100, seed=1))
    await library.feed()
    generation = (await library.state()).generation
    ids += await library.publish(home, _like_text(100, seed=2))
    async with transaction(library.sessions) as session:  # announced, and then nothing more
        await session.execute(text("update vector_feeds set next_mark = gen_random_uuid()"))

    await library.feed()

    assert (await library.held(), (await library.state()).generation) == (ids, generation)


async def test_two_feeders_at_once_feed_one_graph(library: Library, collection: str) -> None:
    home = await library.collection(collection)
    ids = await library.publish(home, _like_text(300, seed=1))
    await asyncio.gather(library.feed(), library.feed())
    await library.feed()

    assert await library.held() == ids
    assert len(library.store.made) == 1


async def test_a_feed_that_begins_misses_nothing_of_who_is_writing(library: Library, collection: str) -> None:
    home = await library.collection(collection)
    ids = await library.publish(home, _like_text(50, seed=1))
    async with transaction(library.sessions) as session:
        ids += await library.write(session, home, _like_text(50, seed=2))
        begun = asyncio.create_task(library.feed())
        while not await _is_waited_for(library):
            await asyncio.sleep(0.01)
    await begun
    await library.feed()

    assert await library.held() == ids


async def test_a_graph_of_another_time_than_the_database_is_filled_anew(library: Library, collection: str) -> None:
    home = await library.collection(collection)
    ids = await library.publish(home, _like_text(100, seed=1))
    await library.feed()
    before = await library.state()
    later = await library.publish(home, _like_text(50, seed=2))
    await library.feed()
    # As a database restored from before the second publication: without it, and with the marks of that time.
    await library.remove(later)
    async with transaction(library.sessions) as session:
        await session.execute(text("delete from vector_changes"))
        await session.execute(text("update vector_feeds set mark = :mark, next_mark = null"), {"mark": before.mark})

    await library.feed()

    assert (await library.state()).generation != before.generation
    assert await library.held() == ids
    assert not await library.store.client.collection_exists(changes.graph_name(library.space_id, before.generation))


async def test_a_graph_is_not_asked_before_it_was_seen_since_the_database_started(
    library: Library, collection: str, store: Watched
) -> None:
    home = await library.collection(collection)
    vectors = _like_text(300, seed=1)
    ids = await library.publish(home, vectors)
    await library.feed()
    async with transaction(library.sessions) as session:
        await session.execute(
            text("update vector_feeds set checked_at = pg_postmaster_start_time() - make_interval(secs => 1)")
        )

    assert (await library.walk(Scope([home]), vectors[0]))[0] == ids[0]
    assert store.questions == 0
    await library.feed()
    assert (await library.walk(Scope([home]), vectors[0]))[0] == ids[0]
    assert store.questions == 1


async def test_a_graph_that_was_lost_is_done_without_and_made_again(library: Library, collection: str) -> None:
    home = await library.collection(collection)
    vectors = _like_text(300, seed=1)
    ids = await library.publish(home, vectors)
    await library.feed()
    await library.store.drop(changes.graph_name(library.space_id, (await library.state()).generation))

    assert (await library.walk(Scope([home]), vectors[0]))[0] == ids[0]
    await library.feed()
    assert await library.held() == ids


async def test_a_graph_that_lacks_too_much_is_not_asked(library: Library, collection: str, store: Watched) -> None:
    home = await library.collection(collection)
    vectors = _like_text(300, seed=1)
    ids = await library.publish(home, vectors)
    await library.feed()
    async with transaction(library.sessions) as session:
        await session.execute(
            text("""
            insert into vector_changes (space_id, chunk_ids, chunk_count, is_removal)
            values (:space_id, '{}', :count, false)
            """),
            {"space_id": library.space_id, "count": changes.MOST_PENDING + 1},
        )

    assert (await library.walk(Scope([home]), vectors[0]))[0] == ids[0]
    assert store.questions == 0


@pytest.mark.parametrize("is_hanging", [False, True], ids=["refused", "hanging"])
async def test_with_the_store_away_postgres_answers_and_is_asked_at_once_the_next_time(
    library: Library, collection: str, is_hanging: bool
) -> None:
    home = await library.collection(collection)
    vectors = _like_text(300, seed=1)
    ids = await library.publish(home, vectors)
    await library.feed()
    async with _nobody(is_hanging) as url:
        graph = QdrantGraph(open_qdrant(_settings(url), timeout_s=0.3))
        took_s = []
        for _ in range(2):
            began = time.monotonic()
            assert (await library.walk(Scope([home]), vectors[0], graph=graph))[0] == ids[0]
            took_s.append(time.monotonic() - began)

    if is_hanging:
        assert took_s[0] >= 0.3 > took_s[1]


async def test_uploads_go_on_with_the_store_away_and_are_told_later(library: Library, collection: str) -> None:
    home = await library.collection(collection)
    ids = await library.publish(home, _like_text(100, seed=1))
    await library.feed()
    async with _nobody(is_hanging=False) as url:
        with pytest.raises(Exception, match="Qdrant is away"):
            await feeding.feed(library.sessions, open_qdrant(_settings(url), timeout_s=1))
    ids += await library.publish(home, _like_text(100, seed=2))

    await library.feed()

    assert await library.held() == ids


async def test_there_and_back_and_there_again(library: Library, collection: str, owner: Sessions) -> None:
    home = await library.collection(collection)
    vectors = _like_text(300, seed=1)
    ids = await library.publish(home, vectors[:100])
    assert await _pending(library) == 0  # nothing is noted where nobody feeds
    await library.feed()
    async with transaction(owner) as session:
        assert await spaces.drop_graph(session, library.space_id)
    ids += await library.publish(home, vectors[100:200])
    assert (await library.walk(Scope([home]), vectors[150]))[0] == ids[150]

    async with transaction(owner) as session:
        await feeding.end(session)
        await spaces.build_graph(session, library.space_id)
    ids += await library.publish(home, vectors[200:])
    assert await _pending(library) == 0
    assert (await library.walk(Scope([home]), vectors[250], graph=PgGraph()))[0] == ids[250]

    await library.feed()
    assert await library.held() == ids
    assert len(library.store.made) == 2


async def test_a_document_sent_over_http_is_found_through_the_graph_until_it_is_deleted(
    library: Library, collection: str, store: Watched, settings: Settings, work: Work, without_graph: None
) -> None:
    home = await library.collection(collection)
    many = await library.publish(home, _like_text(queries.EXACT_UP_TO + 50, seed=1), each=50)
    await library.feed()
    async with _app(settings, store) as client:
        sent = await client.post(
            "/api/v1/documents",
            files={"file": ("a.txt", b"A heron stands on the dry stone wall.")},
            data={"collection": collection},
        )
        document_id = sent.json()["document"]["id"]
        await work()
        for _ in range(2):  # while it waits, and when the graph has it
            answer = await _ask(client, collection)
            assert answer["hits"][0]["document"]["id"] == document_id
            assert answer["explanation"]["vectors"] == "graph"
            await library.feed()
        assert store.questions == 2
        checks = (await client.get("/health/ready")).json()["checks"]
        assert [(each["ok"], each["required"]) for each in checks if each["name"] == "qdrant"] == [(True, False)]

        await client.delete(f"/api/v1/documents/{document_id}")
        assert document_id not in [hit["document"]["id"] for hit in (await _ask(client, collection))["hits"]]
        await work()
    assert len(await library.held()) == len(many) + 1
    await library.feed()
    assert await library.held() == many


async def test_postgres_keeps_its_graph_until_the_other_is_asked(
    library: Library, collection: str, owner: Sessions, without_graph: None
) -> None:
    home = await library.collection(collection)
    async with transaction(owner) as session:
        await spaces.build_graph(session, library.space_id)
    await library.publish(home, _like_text(100, seed=1))
    with pytest.raises(Conflict, match="do not ask Qdrant"):
        async with transaction(owner) as session:
            await feeding.drop_graphs(session)

    await library.feed()
    async with transaction(owner) as session:
        before = await feeding.progress(session)
        dropped = await feeding.drop_graphs(session)
        after = await feeding.progress(session)

    assert dropped == 1
    assert [(each.vectors, each.pending, each.is_asked, each.has_graph) for each in before] == [(100, 0, True, True)]
    assert [each.has_graph for each in after] == [False]


async def test_the_worker_goes_on_while_the_store_is_away(settings: Settings, sessions: Sessions) -> None:
    stop = threading.Event()
    async with _nobody(is_hanging=False) as url:
        feeder = Feeding(settings.model_copy(update={"vectors": _settings(url)}), stop)
        thread = threading.Thread(target=feeder.run)
        thread.start()
        await _until(sessions, "select exists (select 1 from vector_feeds where is_listed)")
        assert thread.is_alive()
        stop.set()
        await asyncio.to_thread(thread.join, 10)

    assert not thread.is_alive()


async def test_the_worker_feeds_a_server(library: Library, collection: str, settings: Settings) -> None:
    if not (url := os.environ.get("QDRANT_URL")):
        pytest.skip("QDRANT_URL names no server")
    home = await library.collection(collection)
    ids = await library.publish(home, _like_text(100, seed=1))
    stop = threading.Event()
    thread = threading.Thread(target=Feeding(settings.model_copy(update={"vectors": _settings(url)}), stop).run)
    thread.start()
    await _until(
        library.sessions,
        "select is_listed and not exists (select 1 from vector_changes) from vector_feeds",
    )
    stop.set()
    await asyncio.to_thread(thread.join, 10)
    store = open_qdrant(_settings(url), timeout_s=10)
    name = changes.graph_name(library.space_id, (await library.state()).generation)
    found = await store.nearest(name, [home], _like_text(1, seed=1)[0], 200)
    await store.drop(name)
    await store.aclose()

    assert sorted(found.tolist()) == ids


async def _until(sessions: Sessions, question: str) -> None:
    async with asyncio.timeout(30):
        while True:
            async with transaction(sessions) as session:
                if await session.scalar(text(question)):
                    return
            await asyncio.sleep(0.05)


async def _ask(client: httpx.AsyncClient, collection: str) -> dict[str, Any]:
    body = {"query": "a bird on a wall", "collection": collection, "mode": "dense", "explain": True}
    answer = await client.post("/api/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@asynccontextmanager
async def _app(settings: Settings, store: Watched) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, whose searches ask this store: the local mode has one process, this one."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        resources: Resources = app.state.resources
        searcher = replace(resources.searcher, graph=QdrantGraph(store))
        app.state.resources = replace(resources, searcher=searcher, qdrant=store)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://drystone",
            headers={"Authorization": f"Bearer {settings.api.key.get_secret_value()}"},
        ) as client:
            yield client


async def _pending(library: Library) -> int:
    async with transaction(library.sessions) as session:
        return int(await session.scalar(text("select coalesce(sum(chunk_count), 0) from vector_changes")) or 0)


async def _is_waited_for(library: Library) -> bool:
    async with transaction(library.sessions) as session:
        return bool(
            await session.scalar(
                text("select exists (select 1 from pg_locks where mode = 'ShareLock' and not granted)")
            )
        )


def _settings(url: str) -> VectorSettings:
    return VectorSettings.model_validate({"VECTOR_STORE": "qdrant", "QDRANT_URL": url})


@asynccontextmanager
async def _nobody(is_hanging: bool) -> AsyncIterator[str]:
    """The URL of a port where nobody listens, or somebody who never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if not is_hanging:
        listener.close()
    yield f"http://127.0.0.1:{port}"
    listener.close()


_CHUNKS = text("""
with file as (
    insert into files (id, workspace_id, sha256, size_bytes, media_type)
    values (gen_random_uuid(), :workspace_id, uuid_send(gen_random_uuid()), 1, 'text/plain') returning id
), document as (
    insert into documents (id, workspace_id, collection_id, sha256, created_by, state, attributes)
    select gen_random_uuid(), :workspace_id, :collection_id, uuid_send(gen_random_uuid()), 'test', 'ready',
           jsonb_build_object('n', n)
    from generate_series(0, :documents - 1) as n returning id
), version as (
    insert into versions (id, workspace_id, document_id, number, file_id, state)
    select gen_random_uuid(), :workspace_id, document.id, 1, file.id, 'ready' from document, file
    returning id, document_id
)
insert into chunks (collection_id, document_id, version_id, ordinal, start_offset, end_offset, title_path,
                    content_hash, length, text)
select :collection_id, version.document_id, version.id, n, 0, 0, '{}', '\\x00', 1, 'chunk ' || n
from version, generate_series(0, :each - 1) as n order by version.document_id, n
returning id, document_id
""")
