"""The web process: mounts the HTTP edge, opens the resources for as long as it runs."""

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
    audit,
    batches,
    catalogue,
    collections,
    contract,
    documents,
    draft,
    drafts,
    early,
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
    problems,
    profiles,
    scrubs,
    search,
    series,
    uploads,
    usage,
    webhooks,
)
from drystone.api.bodies import BodyMiddleware
from drystone.api.connections import raise_limit
from drystone.api.dependencies import check_method, check_of_holder, check_query
from drystone.api.overload import OverloadMiddleware
from drystone.api.paths import Paths
from drystone.api.requests import PREFIX, RequestMiddleware
from drystone.core import crash_points, logging, tracing
from drystone.core.reach import EVERYTHING
from drystone.core.settings import Settings, load
from drystone.jobs.feed import Feed
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
            with _before_stop(app.state.feed.cut_all):
                yield
            await app.state.readings.aclose()
            await app.state.feed.aclose()
        await asyncio.to_thread(tracing.stop)

    app = FastAPI(
        title="Drystone",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=[
            {"name": "collections", "description": "Documents that are searched together."},
            {"name": "embedding", "description": "Which model a collection has, and its change to another."},
            {"name": "documents", "description": "Upload, look up, read, delete."},
            {"name": "batches", "description": "Uploads that are watched together."},
            {"name": "events", "description": "What happens, as Server-Sent Events."},
            {"name": "observations", "description": "What was observed of entities, and when."},
            {"name": "series", "description": "What is observed of which entities."},
            {"name": "search", "description": "A question to ranked passages."},
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
    v1 = APIRouter(prefix=PREFIX, dependencies=[Depends(check_method), Depends(check_query)])
    rooms = (
        collections,
        embedding,
        documents,
        uploads,
        batches,
        events,
        observations,
        series,
        search,
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
    app.state.paths = Paths()
    app.state.paths.add(v1.prefix, [room.router for room in rooms])
    app.state.paths.add("", [health.router, metrics.router])
    by_link = APIRouter(prefix=PREFIX, dependencies=[Depends(check_of_holder)])
    by_link.include_router(draft.router)
    app.state.paths.add(by_link.prefix, [draft.router])
    app.include_router(v1)
    app.include_router(by_link)
    app.include_router(health.router)
    app.include_router(metrics.router)
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
