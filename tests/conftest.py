"""One stack for the whole test run, on free ports and with data of its own; one database for each pytest worker.

The controller starts PostgreSQL, Redis and the S3 store, migrates a template database once and hands the environment
to its workers. A run that selects only tests/unit starts nothing. Logs stay in the folder named at the end of a failed run.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import hypothesis
import pytest
from sqlalchemy import text

from drystone import schema
from drystone.access import service as access
from drystone.access.service import Principal
from drystone.adapters.embedding import model
from drystone.core import settings as core_settings
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.core.settings import Settings
from drystone.resources import Resources, open_resources
from drystone.stack import dotenv, ports, probes
from drystone.stack.supervise import Servers
from drystone.web import create_app
from drystone.worker.process import Process
from tests.canaries import Watch, secrets_of

# The same examples in each run: what fails, fails again. `--hypothesis-profile=default` looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("same")

ROOT = Path(__file__).parent.parent
_ENVIRONMENT = pytest.StashKey[dict[str, str]]()
_RUNNING = pytest.StashKey[tuple[Servers, Path]]()
_STATE = pytest.StashKey[Path]()
_COUNTER = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-seconds", type=int, default=0, help="how long test_openapi.py goes on; 0: a fixed number of requests"
    )


def pytest_configure(config: pytest.Config) -> None:
    """What the code remembers per user is not this run's to change."""
    config.stash[_STATE] = Path(tempfile.mkdtemp(prefix="drystone-test-state-"))
    os.environ["XDG_STATE_HOME"] = str(config.stash[_STATE])
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Watch(), "canaries")
    else:
        os.environ[ports.RANGE] = _ports_of(config.workerinput["workerid"])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it runs in the background deaf to Ctrl-C, and programs that tests start would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ports_of(worker: str) -> str:
    """The half of all ports that this pytest worker's stacks may use: one that starts anew must find its own free."""
    middle = (ports.LOWEST + ports.HIGHEST) // 2
    is_even = int(worker.removeprefix("gw")) % 2 == 0
    return f"{ports.LOWEST}-{middle}" if is_even else f"{middle}-{ports.HIGHEST}"


def _ports_of_our_own() -> dict[str, str]:
    """Where web and worker listen that tests of this pytest worker start on the servers of all."""
    return {"API_PORT": str(ports.find((0,))), "WORKER_METRICS_PORT": str(ports.find((0,)))}


def pytest_sessionstart(session: pytest.Session) -> None:
    """In the controller: start the servers and make the template. In a worker: take over what the controller says."""
    config = session.config
    if hasattr(config, "workerinput"):
        config.stash[_ENVIRONMENT] = json.loads(config.workerinput["environment"]) | _ports_of_our_own()
        return
    if config.option.collectonly or _only_unit(config):
        config.stash[_ENVIRONMENT] = dict[str, str]()
        return
    folder = Path(tempfile.mkdtemp(prefix="drystone-test-"))
    environment = dotenv.make_environment(
        data_dir=folder,
        model_dir=ROOT / ".drystone" / "models",
        ENVIRONMENT="test",
        LOG_LEVEL="WARNING",
        WEBHOOK_ALLOW_PRIVATE="true",
        API_RATE_PER_S="0",  # all tests are one key and one address
        API_WRONG_KEYS_PER_MINUTE="1000000",
    )
    watch = config.pluginmanager.get_plugin("canaries")
    assert isinstance(watch, Watch)
    watch.secrets |= secrets_of(environment)
    watch.folders.append(folder / "logs")
    settings = core_settings.parse(environment)
    servers = Servers(settings, ROOT, durable=False)
    servers.start()
    config.stash[_RUNNING] = (servers, folder)
    model.prepare(settings.general.model_dir)
    asyncio.run(schema.migrate(settings, ROOT))
    config.stash[_ENVIRONMENT] = environment


def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: the environment for one worker."""
    node.workerinput["environment"] = json.dumps(node.config.stash[_ENVIRONMENT])


def pytest_sessionfinish(session: pytest.Session) -> None:
    shutil.rmtree(session.config.stash[_STATE], ignore_errors=True)
    running = session.config.stash.get(_RUNNING, None)
    if running is None:
        return
    servers, folder = running
    servers.stop()
    if session.exitstatus == 0:  # what the search for secrets made of it
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"\nlogs of the servers: {folder / 'logs'}")  # noqa: T201


def _only_unit(config: pytest.Config) -> bool:
    chosen = [Path(arg.split("::")[0]) for arg in config.args]
    return all(path.resolve().is_relative_to(ROOT / "tests" / "unit") for path in chosen)


@pytest.fixture(scope="session")
def environment(request: pytest.FixtureRequest, worker_id: str) -> dict[str, str]:
    """The environment of the test stack, with the database, bucket and Redis number of this pytest worker."""
    shared: dict[str, str] = request.config.stash[_ENVIRONMENT]
    given = dict(shared)
    assert given, "this test needs the servers; it belongs in another folder than tests/unit"
    number = 0 if worker_id == "master" else int(worker_id.removeprefix("gw")) + 1
    database = f"drystone_{worker_id}"
    asyncio.run(_clone(core_settings.parse(given), database))
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL"):
        given[name] = given[name].rpartition("/")[0] + f"/{database}"
    for name in ("REDIS_URL", "CELERY_BROKER_URL"):
        given[name] = given[name].rpartition("/")[0] + f"/{number + 2}"
    given["S3_BUCKET"] = f"drystone-{worker_id}"  # a sweep removes what this worker's database does not name
    probes.objects_make_bucket(core_settings.parse(given).s3)
    return given


@pytest.fixture(autouse=True)
def of_its_own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test knows only the checkouts that it made: those that others left would hold ports until none can be chosen."""
    monkeypatch.setenv("XDG_STATE_HOME", str(request.config.stash[_STATE] / str(next(_COUNTER))))


@pytest.fixture(scope="session")
def settings(environment: dict[str, str]) -> Settings:
    """Settings of the test stack, with a database of this pytest worker."""
    return core_settings.absolute(core_settings.parse(environment), ROOT)


@pytest.fixture(scope="session")
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    """What the edges work with, on real servers and the real model."""
    async with open_resources(settings, name="test") as opened:
        yield opened


@pytest.fixture
async def sessions(resources: Resources, empty: Callable[[], Awaitable[None]]) -> Sessions:
    """Sessions of the application role on an empty database: one workspace, one key, one space, nothing else."""
    await empty()
    return resources.sessions


@pytest.fixture(scope="session")
def empty(owner: Sessions) -> Callable[[], Awaitable[None]]:
    """A function that removes what tests before have left in the database."""

    async def remove() -> None:
        async with transaction(owner) as session:
            await session.execute(text(_EMPTY))
            for table in (
                "observation_hours",
                "observations",
                "series",
            ):  # to truncate each of their months takes longer
                await session.execute(text(f"delete from {table}"))
            await session.execute(text("delete from api_keys where not is_from_settings"))

    return remove


@pytest.fixture(scope="session")
async def owner(settings: Settings) -> AsyncIterator[Sessions]:
    """Sessions of the role that owns the schema."""
    engine = make_engine(settings.database.migration_url.get_secret_value(), pool_size=2)
    yield make_sessions(engine)
    await engine.dispose()


@pytest.fixture
async def principal(resources: Resources, sessions: Sessions) -> Principal:
    """The caller behind the first key."""
    async with transaction(sessions) as session:
        return await access.authenticate(session, resources.settings.api.key.get_secret_value(), request_id="test")


@pytest.fixture(scope="session")
async def app_client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {settings.api.key.get_secret_value()}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://drystone", headers=headers) as client:
            yield client


@pytest.fixture
async def client(app_client: httpx.AsyncClient, sessions: Sessions) -> httpx.AsyncClient:
    """A client of the HTTP API with the first key, on an empty database."""
    return app_client


@pytest.fixture(scope="session")
def opened_process(settings: Settings) -> Iterator[Process]:
    """A worker process that works when it is told to: it does not look by itself while a test runs."""
    patient = settings.worker.model_copy(update={"sweep_s": 3600})
    process = Process(settings.model_copy(update={"worker": patient}))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def work(opened_process: Process, sessions: Sessions) -> Any:
    """A function that runs every job that is due, as a worker process would, and returns when there are none."""

    return partial(work_until_idle, opened_process, sessions)


async def work_until_idle(process: Process, sessions: Sessions) -> None:
    """Have a worker process take what is due until nothing is due or in hand."""
    while True:
        await asyncio.to_thread(process.drain, None)
        async with transaction(sessions) as session:
            if not await session.scalar(text(_IS_WORK_DUE)):
                return
        await asyncio.sleep(0.02)  # what is large goes on beside


@pytest.fixture
def collection() -> str:
    """A name that no other test uses."""
    return f"c-{uuid4().hex[:12]}"


async def _clone(settings: Settings, database: str) -> None:
    parts = settings.database.parts
    connection = await asyncpg.connect(
        host=parts.host,
        port=parts.port,
        user="postgres",
        password=settings.database.superuser_password.get_secret_value(),
        database="postgres",
    )
    try:
        owner = settings.database.migration_parts.user
        await connection.execute(f'create database "{database}" template "{parts.database}" owner "{owner}"')
    finally:
        await connection.close()


# The audit trail belongs to the tables too, although the application role could not empty it.
_EMPTY = """
truncate audit, idempotency_keys, upload_usage, jobs, events, webhooks, webhook_deliveries, kept_embeddings,
         collections, files, documents, versions, chunks, batches, direct_uploads, kept_files, collection_uses, part_uploads, upload_parts, blob_checks, blob_intents, blob_removals, deletions, lexical_additions, lexical_segments, lexical_removals,
         document_attributes, vector_feeds, catalogues, catalogue_revisions, catalogue_changes, catalogue_edges,
         entities, entity_versions, modules, module_versions, module_members, profiles, profile_versions, drafts, visits, readers, mentions, mention_rounds cascade
"""

_IS_WORK_DUE = """
select exists (
    select 1 from jobs
    where (state = 'running' or state = 'queued' and run_after <= clock_timestamp()) and kind not like 'webhooks.%'
)
"""

for _name in ("DRYSTONE_ROOT", "DRYSTONE_PROGRAM"):
    # ./drystone sets them for its own project; stacks that tests start in other folders must find theirs, and are called by no launcher.
    os.environ.pop(_name, None)
