"""The application starts, serves and stops with the adapters' fakes: assembly needs no server but PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx
from fastapi import FastAPI
from tests.fakes import FakeEmbedder, folder_objects

from drystone.adapters.embedding import model
from drystone.core.settings import Settings
from drystone.index.embedders import Embedders
from drystone.index.spaces import Space
from drystone.resources import Resources, open_resources
from drystone.web import create_app
from drystone.worker.handlers import HANDLERS


async def test_the_application_starts_on_fakes_and_answers(settings: Settings, tmp_path: Path) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        app.state.resources = _with_fakes(app, tmp_path)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://drystone") as client:
            live = await client.get("/health/live")
            ready = (await client.get("/health/ready")).json()

    checks = {check["name"]: check["ok"] for check in ready["checks"]}
    assert live.status_code == 200
    assert checks["objects"]
    assert checks["model"]


async def test_opening_resources_needs_no_server_to_be_up(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"s3": settings.s3.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})})

    async with open_resources(nowhere, name="test") as opened:
        assert opened.space == Space(model.MODEL_ID, model.DIMENSION)


def test_every_kind_of_job_has_a_handler() -> None:
    assert set(HANDLERS) == {
        "documents.ingest",
        "documents.purge",
        "documents.purge_collection",
        "documents.scrub",
        "documents.recheck",
        "documents.reembed",
        "documents.drop_vectors",
        "mentions.refresh",
        "checks.echo",
    }


def _with_fakes(app: FastAPI, folder: Path) -> Resources:
    opened: Resources = app.state.resources
    embedders = Embedders(opened.space, FakeEmbedder())
    return Resources(
        settings=opened.settings,
        engine=opened.engine,
        gate=opened.gate,
        sessions=opened.sessions,
        objects=folder_objects(folder),
        embedder=FakeEmbedder(),
        embedders=embedders,
        nudger=opened.nudger,
        space=opened.space,
        searcher=replace(opened.searcher, embedders=embedders),
        answerer=opened.answerer,
        admission=opened.admission,
        incoming=opened.incoming,
        pictures=opened.pictures,
    )
