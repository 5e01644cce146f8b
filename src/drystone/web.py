"""The web process: mounts the HTTP edges, opens the resources for as long as it runs."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

from fastapi import APIRouter, Depends, FastAPI

from drystone import __version__
from drystone.api import (
    answers,
    audit,
    batches,
    catalogue,
    collections,
    contract,
    documents,
    draft,
    drafts,
    embedding,
    entities,
    events,
    health,
    jobs,
    keys,
    metrics,
    modules,
    observations,
    overviews,
    passages,
    profiles,
    scrubs,
    search,
    series,
    uploads,
    usage,
    webhooks,
)
from drystone.api.edge import BY_LINK, OF_DRAFTS, V1
from drystone.console.edge import PAGES
from drystone.console.edge import ROUTERS as PAGE_ROUTERS
from drystone.core import crash_points, logging, tracing
from drystone.core.reach import EVERYTHING
from drystone.core.settings import Settings, load
from drystone.dify import routes as dify
from drystone.dify.edge import EDGE as DIFY
from drystone.http import early, problems
from drystone.http.bodies import BodyMiddleware
from drystone.http.connections import raise_limit
from drystone.http.dependencies import check_method, check_of_holder, check_query
from drystone.http.edges import Edges
from drystone.http.overload import OverloadMiddleware
from drystone.http.paths import Paths
from drystone.http.requests import RequestMiddleware
from drystone.jobs.feed import Feed
from drystone.mcp import routes as mcp
from drystone.mcp.edge import EDGE as MCP
from drystone.mcp.serving import Serving
from drystone.openai.edge import EDGE as OPENAI
from drystone.openai.routes import ROUTERS as OF_OPENAI
from drystone.readings import Readings
from drystone.resources import open_resources, refuse_open_bucket

_DESCRIPTION = """Documents in, kept safe, answered with passages you can check.

Every route but `/health` needs `Authorization: Bearer <key>`, and those under `/api/v1/draft` the link of a draft. Errors are `application/problem+json`.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; uvicorn calls this as a factory. Settings are loaded here, not at import."""
    given = settings or load()
    logging.configure(given.general.log_level, given.general.log_format)
    crash_points.arm(given.general.crash_points)
    tracing.start(given.tracing, "web")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        raise_limit()
        async with open_resources(given, name="web", is_confined=True) as resources:
            if given.general.environment != "test":
                await refuse_open_bucket(given, resources.objects)
            app.state.resources = resources
            app.state.feed = Feed(resources.sessions.within(EVERYTHING))
            app.state.readings = Readings(given)
            app.state.mcp = Serving()
            with _before_stop(app.state.feed.cut_all):
                yield
            await app.state.mcp.aclose()
            await app.state.readings.aclose()
            await app.state.feed.aclose()
        await asyncio.to_thread(tracing.stop)

    app = FastAPI(
        title="Drystone",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # a page of the console, with nothing from elsewhere
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=[
            {"name": "collections", "description": "Documents that are searched together."},
            {"name": "passages", "description": "Passages that come with their vectors, in collections of such."},
            {"name": "embedding", "description": "Which model a collection has, and its change to another."},
            {"name": "documents", "description": "Upload, look up, read, delete."},
            {"name": "batches", "description": "Uploads that are watched together."},
            {"name": "events", "description": "What happens, as Server-Sent Events."},
            {"name": "observations", "description": "What was observed of entities, and when."},
            {"name": "series", "description": "What is observed of which entities."},
            {"name": "search", "description": "A question to ranked passages."},
            {"name": "answers", "description": "A question to sentences, each with what bears it."},
            {"name": "entities", "description": "What things there are: categories, properties, subobjects."},
            {"name": "modules", "description": "Entities that are versioned together."},
            {"name": "profiles", "description": "Modules that are chosen for a purpose."},
            {"name": "catalogue", "description": "All of these together, and changesets that change them."},
            {"name": "drafts", "description": "Changes of the catalogue that somebody proposes."},
            {"name": "draft", "description": "The same for whoever holds the link of one, without a key."},
            {"name": "jobs", "description": "The ledger of work."},
            {"name": "webhooks", "description": "Other servers that are told of events."},
            {"name": "keys", "description": "Who may do what."},
            {"name": "audit", "description": "Who changed what, and when."},
            {"name": "usage", "description": "What a key may upload in a day."},
            {"name": "scrubs", "description": "Are all bytes still there, and the right ones?"},
            {"name": "health", "description": "Without a key."},
            {"name": "metrics", "description": "For Prometheus."},
        ],
        generate_unique_id_function=lambda route: f"{route.tags[0]}_{route.name}".strip("_"),
    )
    v1 = APIRouter(prefix=V1.mount, dependencies=[Depends(check_method), Depends(check_query)])
    rooms = (
        collections,
        passages,
        embedding,
        documents,
        uploads,
        batches,
        events,
        observations,
        series,
        search,
        answers,
        entities,
        overviews,
        modules,
        profiles,
        catalogue,
        drafts,
        jobs,
        webhooks,
        keys,
        audit,
        usage,
        scrubs,
    )
    for room in rooms:
        v1.include_router(room.router)
    app.state.edges = Edges([V1, BY_LINK, OF_DRAFTS, DIFY, MCP, OPENAI, PAGES])
    app.state.paths = Paths()
    app.state.paths.add(v1.prefix, [room.router for room in rooms])
    app.state.paths.add("", [health.router, metrics.router, dify.router, mcp.router, *PAGE_ROUTERS])
    by_link = APIRouter(prefix=BY_LINK.mount, dependencies=[Depends(check_of_holder)])
    by_link.include_router(draft.router)
    app.state.paths.add(by_link.prefix, [draft.router])
    # OpenAI describes these routes itself, and its clients are made from that: /openapi.json is about the others.
    of_openai = APIRouter(
        prefix=OPENAI.mount, dependencies=[Depends(check_method), Depends(check_query)], include_in_schema=False
    )
    for router in OF_OPENAI:
        of_openai.include_router(router)
    app.state.paths.add(OPENAI.mount, OF_OPENAI)
    app.include_router(of_openai)
    app.include_router(v1)
    app.include_router(by_link)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(dify.router)
    app.include_router(mcp.router)
    for router in PAGE_ROUTERS:
        app.include_router(router)
    problems.install(app)
    contract.install(app)
    early.install(app)
    app.add_middleware(BodyMiddleware)
    app.add_middleware(OverloadMiddleware, at_once=given.api.at_once)
    app.add_middleware(RequestMiddleware)
    return app


@contextmanager
def _before_stop(callback: Callable[[], None]) -> Iterator[None]:
    """Have the callback run when the process is told to stop: the server then waits for open answers, streams too."""
    numbers: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        numbers = ()  # a server within a test: no signal comes there
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)
        server_s = before[signal.Signals(number)]
        if callable(server_s):
            server_s(number, frame)

    for number, server_s in before.items():
        if callable(server_s):
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, server_s in before.items():
            signal.signal(number, server_s)
