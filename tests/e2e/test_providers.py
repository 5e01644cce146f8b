"""A whole `up` on servers from elsewhere: MinIO instead of SeaweedFS, and servers that somebody else runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from drystone.core.settings import Settings
from drystone.stack.supervise import Servers
from tests.e2e.conftest import Stack, project_folder


@pytest.mark.skipif(not shutil.which("minio"), reason="no minio on PATH; `go install github.com/minio/minio@latest`")
def test_everything_works_on_minio(tmp_path: Path) -> None:
    stack = project_folder(tmp_path / "project", S3_BIN=shutil.which("minio") or "")
    try:
        stack.run("up", "--detach")
        verified = json.loads(stack.run("verify", "--json").stdout)

        assert verified["ok"], verified
        assert stack.status()["objects"]["provider"].startswith("S3_BIN ")
        assert (stack.folder / "data" / "objects" / ".minio.sys").is_dir()
    finally:
        stack.run("down")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[tuple[Stack, Servers]]:
    """Servers that run without `up`, as an operator's would, and a project that is told only their URLs."""
    stack = project_folder(
        tmp_path / "project", POSTGRES_PROVIDER="external", REDIS_PROVIDER="external", S3_PROVIDER="external"
    )
    settings: Settings = stack.settings
    ours = settings.stack.model_copy(
        update={"postgres_provider": "auto", "redis_provider": "auto", "s3_provider": "auto"}
    )
    general = settings.general.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    with Servers(settings.model_copy(update={"stack": ours, "general": general}), tmp_path, durable=False) as servers:
        yield stack, servers


def test_everything_works_on_servers_that_somebody_else_runs(elsewhere: tuple[Stack, Servers]) -> None:
    stack, servers = elsewhere
    before = {server.name: server.pid for server in servers}
    try:
        stack.run("prepare")
        stack.run("up", "--detach")

        assert json.loads(stack.run("verify", "--json").stdout)["ok"]
        assert [stack.status()[name]["state"] for name in before] == ["external"] * 3
    finally:
        stack.run("down")
    assert {server.name: server.pid for server in servers} == before
    assert all(server.death() is None for server in servers)
