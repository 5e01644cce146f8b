"""The one place of assembly: from settings to engine, object store, model and nudger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine
from threadpoolctl import threadpool_limits

from drystone import tables
from drystone.access.rates import Gate
from drystone.adapters.chat import open_chat
from drystone.adapters.embedding import Embedder, open_embedder
from drystone.adapters.incoming import Incoming
from drystone.adapters.limiter import Limiter
from drystone.adapters.objects import Objects
from drystone.adapters.reranking import open_reranker
from drystone.answers.context import WAIT_S as ANSWER_WAIT_S
from drystone.answers.context import Answerer
from drystone.catalogue import drafts, drawing
from drystone.core import tracing
from drystone.core.db import Sessions, make_engine, make_sessions
from drystone.core.errors import Conflict, Unavailable
from drystone.core.logging import get_logger
from drystone.core.reach import NOTHING
from drystone.core.settings import Settings, VectorSettings
from drystone.core.turnstile import Turnstile, Turnstiles
from drystone.documents import own_vectors
from drystone.documents.admission import Admission
from drystone.documents.pictures import Pictures
from drystone.documents.terms import Uses
from drystone.index import spaces
from drystone.index.embedders import Embedders
from drystone.index.lexical import Lexicon
from drystone.index.qdrant import QdrantGraph
from drystone.index.spaces import Space
from drystone.index.vectors import PgGraph
from drystone.jobs.broker import Nudger
from drystone.mentions.finders import Finders
from drystone.observations import adding
from drystone.search.context import WAIT_S, Searcher

if TYPE_CHECKING:
    from drystone.adapters.qdrant import Qdrant

assert tables.metadata  # every table is known before the first statement

# How far the graph is searched, and that it goes on until enough rows pass a filter (pgvector 0.8). Of 97 000 real passages
# 200 finds .907 of the best ten, 400 .957, 800 .983, in 28, 46 and 92 ms on a loaded machine (docs/adr/0022).
SEARCH_PARAMETERS = {"hnsw.ef_search": "160", "hnsw.iterative_scan": "relaxed_order"}

log = get_logger(__name__)


@dataclass(frozen=True)
class Resources:
    """What the edges hand on to the rooms below. Made once a process."""

    settings: Settings
    engine: AsyncEngine
    sessions: Sessions
    objects: Objects
    embedder: Embedder
    nudger: Nudger
    embedders: Embedders
    space: Space
    searcher: Searcher
    answerer: Answerer
    admission: Admission
    incoming: Incoming
    gate: Gate
    pictures: Pictures
    qdrant: Qdrant | None = None
    # They take the row of the draft one after the other, and whoever waits for it holds a connection.
    drafts: Turnstiles = field(
        default_factory=lambda: Turnstiles(
            drafts.AT_ONCE, wait_s=drafts.WAIT_S, most_waiting=drafts.MOST_WAITING, what="requests for one draft"
        )
    )
    drawings: Turnstile = field(
        default_factory=lambda: Turnstile(drawing.AT_ONCE, wait_s=drawing.WAIT_S, what="drawings of the catalogue")
    )
    bulks: Turnstile = field(
        default_factory=lambda: Turnstile(adding.AT_ONCE, wait_s=adding.WAIT_S, what="bulks of observations")
    )

    finders: Finders = field(default_factory=Finders)
    upserts: Turnstile = field(
        default_factory=lambda: Turnstile(own_vectors.AT_ONCE, wait_s=own_vectors.WAIT_S, what="upserts of passages")
    )

    @cached_property
    def singles(self) -> Sessions:
        """For one statement that needs no reach: no transaction around it, which would cost two round trips."""
        return make_sessions(self.engine.execution_options(isolation_level="AUTOCOMMIT")).within(NOTHING)


@asynccontextmanager
async def open_resources(
    settings: Settings, *, name: str, searches: bool = True, is_confined: bool = False
) -> AsyncIterator[Resources]:
    """Open everything; close it in reverse. Connections are made at first use, so nothing need be up yet.

    name: shown by PostgreSQL for the connections of this process. searches: whether any are made here; Qdrant's client is
    large, and nobody else needs it. is_confined: whether each transaction has to say which rows it reaches: where others
    are served.
    """
    threadpool_limits(limits=1, user_api="blas")
    engine = make_engine(
        settings.database.url.get_secret_value(),
        pool_size=settings.database.pool_size,
        echo=settings.database.sql_echo,
        application_name=f"drystone-{name}",
        parameters=SEARCH_PARAMETERS,
        is_confined=is_confined,
    )
    tracing.watch(engine)
    embedder = open_embedder(settings.embedding, settings.general.model_dir)
    embedders = Embedders(spaces.space_of(settings.embedding), embedder, _others(settings))
    reranker = open_reranker(settings.rerank)
    chat = open_chat(settings.answers)
    qdrant = open_store(settings.vectors) if searches else None
    nudger = Nudger(settings.redis)
    sessions = make_sessions(engine)
    objects = Objects.open_s3(settings.s3)
    gate = Gate(Limiter(settings.redis), settings.api)
    readers = make_sessions(engine.execution_options(isolation_level="REPEATABLE READ"))
    searcher = Searcher(
        readers,
        embedders,
        Lexicon(cache_bytes=settings.search.cache_mb << 20),
        QdrantGraph(qdrant) if qdrant else PgGraph(),
        reranker=reranker,
        rerank_depth=settings.rerank.depth,
        uses=Uses(sessions),
        turns=Turnstile(settings.search.at_once, wait_s=WAIT_S, what="searches"),
    )
    admission = Admission(settings.receiving, settings.general.data_dir, sessions)
    pictures = Pictures(settings.parsing, objects, admission.spool_folder)
    try:
        yield Resources(
            settings=settings,
            engine=engine,
            sessions=sessions,
            objects=objects,
            embedder=embedder,
            nudger=nudger,
            embedders=embedders,
            space=embedders.current,
            searcher=searcher,
            answerer=Answerer(
                searcher,
                chat,
                context_tokens=settings.answers.context_tokens,
                turns=Turnstile(settings.answers.at_once, wait_s=ANSWER_WAIT_S, what="answers"),
            ),
            admission=admission,
            incoming=Incoming(objects, settings.s3),
            gate=gate,
            pictures=pictures,
            qdrant=qdrant,
        )
    finally:
        nudger.close()
        await pictures.aclose()
        await gate.aclose()
        if qdrant is not None:
            await qdrant.aclose()
        if reranker is not None:
            await reranker.aclose()
        if chat is not None:
            await chat.aclose()
        await embedders.aclose()
        await engine.dispose()


async def refuse_open_bucket(settings: Settings, objects: Objects) -> None:
    """Raise Conflict where anybody may read the bucket, in production; else it is a warning in the log.

    A store that is away cannot be asked: processes start without it, as ever, and the log says that it was not asked.
    """
    try:
        await objects.refuse_strangers(settings.s3)
    except Conflict as exc:
        if settings.general.environment == "production":
            raise
        log.warning(exc.code, reason=exc.message, hint=exc.hint)
    except Unavailable as exc:
        log.warning("objects.strangers_not_asked", code=exc.code)


def open_store(settings: VectorSettings, *, timeout_s: float | None = None) -> Qdrant | None:
    """The server that keeps the graph of vectors in PostgreSQL's place; None: there is none.

    timeout_s: of each call; None: as long as a search waits. Raises Unavailable where its client is not installed.
    """
    if settings.store == "pgvector":
        return None
    try:
        from drystone.adapters.qdrant import open_qdrant
    except ModuleNotFoundError as exc:
        raise Unavailable(
            "qdrant.no_client",
            f"VECTOR_STORE=qdrant needs a package that is not installed: {exc.name}.",
            hint="./drystone installs it; without that: uv sync --inexact --group qdrant, or the extra drystone[qdrant]",
        ) from exc
    return open_qdrant(settings, timeout_s=timeout_s or settings.qdrant_timeout_s)


def _others(settings: Settings) -> dict[Space, Callable[[], Embedder]]:
    """How to open the model that collections are to change to, where there is one."""
    given = settings.next_embedding
    if not given.provider:
        return {}
    return {
        spaces.space_of(given): partial(open_embedder, given, settings.general.model_dir, variables="NEXT_EMBEDDING_")
    }
