"""The stores that the object store's contract must hold on, beside the folder; where bundles go; and somebody at a browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from drystone.bundle.importing import Place
from drystone.core.db import Sessions
from drystone.core.settings import S3Settings, Settings, parse
from drystone.resources import Resources
from drystone.stack.dotenv import make_environment
from drystone.stack.services import OBJECTS
from drystone.stack.supervise import Servers


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Settings]:
    """A MinIO of its own, started as `up` would."""
    if not shutil.which("minio"):
        pytest.skip("no minio on PATH; `go install github.com/minio/minio@latest` makes one")
    folder = tmp_path_factory.mktemp("minio")
    environment = make_environment(
        data_dir=folder, model_dir=folder, S3_PROVIDER="path", S3_BIN=shutil.which("minio") or ""
    )
    settings = parse(environment)
    with Servers(settings, folder, durable=False, services=[OBJECTS]):
        yield settings.s3


@pytest.fixture(params=["seaweedfs", "minio"])
def s3(request: pytest.FixtureRequest) -> S3Settings:
    if request.param == "minio":
        found: S3Settings = request.getfixturevalue("minio")
        return found
    settings: Settings = request.getfixturevalue("settings")
    return settings.s3


@pytest.fixture
def place(resources: Resources, sessions: Sessions, owner: Sessions, tmp_path: Path) -> Place:
    return Place(owner, resources.objects, resources.embedders, resources.nudger, tmp_path / "spool")


@pytest.fixture
async def browser(app_client: httpx.AsyncClient, sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who shows no key, and keeps cookies."""
    async with httpx.AsyncClient(
        transport=app_client._transport, base_url="http://drystone", headers={"Accept": "text/html"}
    ) as client:
        yield client


@pytest.fixture
def key(settings: Settings) -> str:
    return settings.api.key.get_secret_value()
