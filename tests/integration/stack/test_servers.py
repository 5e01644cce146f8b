"""The three servers, as `Servers` starts them: ready, guarded by passwords, and the same after every restart."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import asyncpg
import obstore
import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.clients import redis_client, s3_store

from drystone.core.errors import Conflict, Invalid
from drystone.core.settings import Settings, parse
from drystone.stack import ports
from drystone.stack.dotenv import make_environment
from drystone.stack.services import OBJECTS
from drystone.stack.supervise import Servers, prepare_running


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("servers with späces")
    return make_environment(data_dir=root / "data", model_dir=root / "models")


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> Settings:
    return parse(environment)


@pytest.fixture(scope="module")
def servers(settings: Settings) -> Iterator[Servers]:
    with Servers(settings, Path("/"), durable=False) as started:
        yield started


async def query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, ssl=False)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def app_url(settings: Settings) -> str:
    return settings.database.url.get_secret_value()


def superuser_url(settings: Settings) -> str:
    parts, password = settings.database.parts, settings.database.superuser_password.get_secret_value()
    return f"postgresql://postgres:{password}@{parts.host}:{parts.port}/{parts.database}"


def owner_url(settings: Settings) -> str:
    return settings.database.migration_url.get_secret_value()


async def test_postgres_has_vectors_checksums_scram_and_no_unix_socket(servers: Servers, settings: Settings) -> None:
    url = app_url(settings)

    assert await query(url, "SELECT ('[1,2,3]'::halfvec(3) <=> '[1,2,3]')") == 0
    assert await query(url, "SHOW data_checksums") == "on"
    assert await query(url, "SHOW password_encryption") == "scram-sha-256"
    assert await query(superuser_url(settings), "SHOW unix_socket_directories") == ""
    assert await query(url, "SELECT datlocale FROM pg_database WHERE datname = current_database()") == "C.UTF-8"


async def test_the_app_role_owns_nothing_and_may_not_create(servers: Servers, settings: Settings) -> None:
    role = "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE rolname = current_user"

    assert await query(app_url(settings), role) is False
    assert await query(owner_url(settings), role) is False
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await query(app_url(settings), "CREATE TABLE public.mine (id int)")
    assert await query(owner_url(settings), "CREATE TABLE theirs (id int)") is None


async def test_postgres_refuses_a_wrong_password(servers: Servers, settings: Settings) -> None:
    wrong = app_url(settings).replace(settings.database.parts.password, "not-the-password")

    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(wrong, "SELECT 1")


def test_redis_refuses_a_wrong_password_and_keeps_a_log(servers: Servers, settings: Settings) -> None:
    once = Retry(NoBackoff(), 0)
    wrong = redis.Redis(port=settings.redis.parts.port, password="not-the-password", retry=once)
    none = redis.Redis(port=settings.redis.parts.port, retry=once)

    with pytest.raises(redis.AuthenticationError):
        wrong.ping()
    with pytest.raises(redis.AuthenticationError):
        none.ping()
    with redis_client(settings) as right:
        assert right.config_get("appendonly") == {"appendonly": "yes"}
        assert right.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    wrong.close()
    none.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_the_s3_store_refuses_unsigned_requests(servers: Servers, settings: Settings, method: str) -> None:
    obstore.put(s3_store(settings), "secret", b"content")
    request = Request(f"{settings.s3.endpoint_url}/{settings.s3.bucket}/secret", method=method)

    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=5)

    refused.value.close()
    assert refused.value.code == 403


def test_all_ports_are_on_loopback_only(servers: Servers) -> None:
    listening = [
        ipaddress.ip_address(connection.laddr.ip)
        for server in servers
        for connection in psutil.Process(server.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert len(listening) >= 3
    assert [address for address in listening if not address.is_loopback] == []


def test_secrets_are_in_no_command_line(servers: Servers, environment: dict[str, str], settings: Settings) -> None:
    secrets = [
        settings.database.parts.password,
        settings.redis.parts.password,
        settings.s3.secret_access_key.get_secret_value(),
    ]

    for server in servers:
        words = " ".join(psutil.Process(server.pid).cmdline())
        assert not any(secret in words for secret in secrets)


def test_the_port_of_a_running_server_is_refused_by_the_name_of_its_variable(
    servers: Servers, environment: dict[str, str], tmp_path: Path
) -> None:
    same_ports = parse(environment | {"DRYSTONE_DATA_DIR": str(tmp_path)})

    with pytest.raises(Conflict) as refused, Servers(same_ports, tmp_path):
        pass

    assert "DATABASE_URL" in refused.value.message
    assert f"pid {servers.pid('postgres')}" in refused.value.message


async def test_killed_servers_come_back_with_their_data(servers: Servers, settings: Settings) -> None:
    await query(owner_url(settings), "CREATE TABLE kept AS SELECT 42 AS answer")
    await query(owner_url(settings), f"GRANT SELECT ON kept TO {settings.database.parts.user}")
    with redis_client(settings) as connection:
        connection.set("kept", "42")
        connection.execute_command("WAITAOF", 1, 0, 5000)
    obstore.put(s3_store(settings), "kept", b"42")

    for name in ("postgres", "redis", "objects"):
        before = servers.pid(name)
        servers.kill(name)
        servers.start_again(name)
        assert servers.pid(name) != before

    assert await query(app_url(settings), "SELECT answer FROM kept") == 42
    with redis_client(settings) as connection:
        assert connection.get("kept") == b"42"
    assert bytes(obstore.get(s3_store(settings), "kept").bytes()) == b"42"


async def test_passwords_follow_the_settings_when_the_data_stays(tmp_path: Path) -> None:
    first = make_environment(data_dir=tmp_path, model_dir=tmp_path)
    second = make_environment(data_dir=tmp_path, model_dir=tmp_path)
    with Servers(parse(first), tmp_path, durable=False):
        await query(first["MIGRATION_DATABASE_URL"], "CREATE TABLE kept AS SELECT 42 AS answer")

    with Servers(parse(second), tmp_path, durable=False):
        assert await query(second["MIGRATION_DATABASE_URL"], "SELECT answer FROM kept") == 42
        # The old passwords at the new port.
        port = parse(second).database.parts.port
        old = first["DATABASE_URL"].replace(f":{parse(first).database.parts.port}/", f":{port}/")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await query(old, "SELECT 1")


def test_a_killed_initdb_leaves_nothing_half_made(tmp_path: Path) -> None:
    environment = make_environment(data_dir=tmp_path, model_dir=tmp_path)
    abandoned = tmp_path / "postgres.new-abandoned"
    (abandoned / "base").mkdir(parents=True)

    with Servers(parse(environment), tmp_path, durable=False):
        assert not abandoned.exists()
        assert (tmp_path / "postgres" / "PG_VERSION").exists()
        assert not list(tmp_path.glob("postgres.new-*"))


def test_a_stranger_on_a_port_is_named(tmp_path: Path) -> None:
    environment = make_environment(data_dir=tmp_path, model_dir=tmp_path)
    settings = parse(environment)
    with socket.create_server(("127.0.0.1", settings.redis.parts.port)), pytest.raises(Conflict) as refused:
        Servers(settings, tmp_path).start()

    assert "REDIS_URL" in refused.value.message
    assert f"pid {os.getpid()} " in refused.value.message


def test_a_store_that_uses_our_stores_socket_is_told_and_what_a_killed_one_left_is_no_hindrance(tmp_path: Path) -> None:
    settings = parse(make_environment(data_dir=tmp_path, model_dir=tmp_path))
    path = Path(f"/tmp/seaweedfs-master-grpc-{settings.s3.parts.port + 3}.sock")  # as seen in use, not as we compute it
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        refused = pytest.raises(Conflict, match=f"{path}, .* belongs to another")
        with refused, Servers(settings, tmp_path, services=[OBJECTS]):
            pass

    with Servers(settings, tmp_path, services=[OBJECTS]):
        assert path.is_socket()
    assert not path.exists()


def test_ports_by_which_another_users_store_left_sockets_are_not_chosen(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file to another user takes root")
    port = ports.find((0,))
    path = Path(f"/tmp/seaweedfs-volume-grpc-{port}.sock")
    path.touch()
    try:
        assert not ports.has_foreign_socket(port)
        os.chown(path, 65534, 65534)
        assert ports.has_foreign_socket(port)
    finally:
        path.unlink()


def test_a_server_elsewhere_is_not_started(tmp_path: Path) -> None:
    environment = make_environment(data_dir=tmp_path, model_dir=tmp_path)
    elsewhere = {"REDIS_URL": "redis://:0123456789abcdef@192.0.2.1:6379/0"}

    servers = Servers(parse(environment | elsewhere), tmp_path)

    assert servers["redis"].is_external
    assert not servers["postgres"].is_external


def as_external(environment: dict[str, str], data_dir: Path) -> dict[str, str]:
    """The settings of somebody who uses these servers, with a database and a bucket of their own, and starts none."""
    url = environment["DATABASE_URL"].replace("drystone_app:", "guest_app:").replace("/drystone", "/guest")
    return environment | {
        "DATABASE_URL": url,
        "MIGRATION_DATABASE_URL": url.replace("guest_app:", "guest_owner:"),
        "S3_BUCKET": "guest",
        "DRYSTONE_DATA_DIR": str(data_dir),
        "POSTGRES_PROVIDER": "external",
        "REDIS_PROVIDER": "external",
        "S3_PROVIDER": "external",
    }


def test_external_servers_are_prepared_asked_and_never_started(
    servers: Servers, environment: dict[str, str], tmp_path: Path
) -> None:
    guest = parse(as_external(environment, tmp_path))

    with pytest.raises(Conflict, match="guest_app") as unprepared, Servers(guest, tmp_path):
        pass
    assert "drystone prepare" in (unprepared.value.hint or "")

    assert [name for name, _ in prepare_running(guest)] == ["postgres", "redis", "objects"]
    with Servers(guest, tmp_path) as external:
        assert [(server.pid, server.provider) for server in external] == [(None, "external")] * 3
    assert sorted(each.name for each in tmp_path.iterdir()) == ["logs", "run"]
    assert redis_client(guest).ping()


def test_preparing_needs_the_superuser(environment: dict[str, str], tmp_path: Path) -> None:
    unknown = parse(as_external(environment, tmp_path) | {"POSTGRES_SUPERUSER_PASSWORD": ""})

    with pytest.raises(Invalid, match="superuser"):
        list(prepare_running(unknown))
