"""The one place of assembly: from settings to engine, object store, model and nudger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from threadpoolctl import threadpool_limits

from drystone import tables
from drystone.adapters.embedding import Embedder, open_embedder
from drystone.adapters.incoming import Incoming
from drystone.adapters.objects import Objects
from drystone.adapters.reranking import open_reranker
from drystone.core.db import Sessions, make_engine, make_sessions
from drystone.core.settings import Settings
from drystone.documents.admission import Admission
from drystone.index import spaces
from drystone.index.lexical import Lexicon
from drystone.index.spaces import Space
from drystone.index.vectors import PgGraph
from drystone.jobs.broker import Nudger
from drystone.search.service import Searcher

assert tables.metadata  # every table is known before the first statement

# How far the graph is searched, and that it goes on until enough rows pass a filter (pgvector 0.8). Of 97 000 real passages
# 200 finds .907 of the best ten, 400 .957, 800 .983, in 28, 46 and 92 ms on a loaded machine (docs/adr/0022).
SEARCH_PARAMETERS = {"hnsw.ef_search": "400", "hnsw.iterative_scan": "relaxed_order"}


@dataclass(frozen=True)
class Resources:
    """What the edges hand on to the rooms below. Made once a process."""

    settings: Settings
    engine: AsyncEngine
    sessions: Sessions
    objects: Objects
    embedder: Embedder
    nudger: Nudger
    space: Space
    searcher: Searcher
    admission: Admission
    incoming: Incoming


@asynccontextmanager
async def open_resources(settings: Settings, *, name: str) -> AsyncIterator[Resources]:
    """Open everything; close it in reverse. Connections are made at first use, so nothing need be up yet.

    name: shown by PostgreSQL for the connections of this process.
    """
    threadpool_limits(limits=1, user_api="blas")
    engine = make_engine(
        settings.database.url.get_secret_value(),
        pool_size=settings.database.pool_size,
        echo=settings.database.sql_echo,
        application_name=f"drystone-{name}",
        parameters=SEARCH_PARAMETERS,
    )
    embedder = open_embedder(settings.embedding, settings.general.model_dir)
    reranker = open_reranker(settings.rerank)
    nudger = Nudger(settings.redis)
    sessions = make_sessions(engine)
    objects = Objects.open_s3(settings.s3)
    space = Space(spaces.model_of(settings.embedding), settings.embedding.dimension)
    readers = make_sessions(engine.execution_options(isolation_level="REPEATABLE READ"))
    try:
        yield Resources(
            settings=settings,
            engine=engine,
            sessions=sessions,
            objects=objects,
            embedder=embedder,
            nudger=nudger,
            space=space,
            searcher=Searcher(
                readers,
                embedder,
                space,
                Lexicon(cache_bytes=settings.search.cache_mb << 20),
                PgGraph(),
                reranker=reranker,
                rerank_depth=settings.rerank.depth,
            ),
            admission=Admission(settings.receiving, settings.general.data_dir, sessions),
            incoming=Incoming(objects, settings.s3),
        )
    finally:
        nudger.close()
        if reranker is not None:
            await reranker.aclose()
        await embedder.aclose()
        await engine.dispose()
