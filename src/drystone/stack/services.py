"""The three servers: what each needs, how it is prepared and started, and when it is ready. All on 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drystone.core.consistency import LOCAL_HOSTS
from drystone.core.errors import Conflict, Unavailable
from drystone.core.settings import Provider, Settings
from drystone.stack import bootstrap, ports, privileges, probes, providers, volumes
from drystone.stack.privileges import Privileges
from drystone.stack.providers import Program

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Launch:
    """One start of one server.

    durable: False trades safety against power loss for speed; for throw-away stacks only.
    """

    settings: Settings
    folder: Path
    program: Program
    privileges: Privileges
    durable: bool = True


@dataclass(frozen=True)
class Service:
    """A server, told by what differs between servers. `supervise` does the rest.

    variable: where its address is set. provider: what the settings say of where it comes from. ready: makes what we need in it and asks it in its own protocol; raises NotYet.
    check: the same without making anything, for a server that somebody else runs.
    repair: makes it accept the password of the settings, while it is stopped. clean: removes what it leaves outside its
    folder when it has ended. stays_full: what it says of a full disk, where it would go on so when there is room again.
    """

    name: str
    variable: str
    host: Callable[[Settings], str]
    ports: Callable[[Settings], list[int]]
    provider: Callable[[Settings], Provider]
    resolve: Callable[[Settings], Program]
    needs_unprivileged: bool
    prepare: Callable[[Launch], None]
    argv: Callable[[Launch], list[str]]
    environment: Callable[[Launch], dict[str, str]]
    ready: Callable[[Settings], None]
    check: Callable[[Settings], None]
    stop_signal: signal.Signals
    quit_signal: signal.Signals
    stop_s: float
    repair: Callable[[Launch], None] | None = None
    clean: Callable[[Settings], None] | None = None
    stays_full: re.Pattern[str] | None = None

    def is_external(self, settings: Settings) -> bool:
        """Whether the settings point at a server that is not ours to start."""
        return self.provider(settings) == "external" or self.host(settings) not in LOCAL_HOSTS

    def launch(self, settings: Settings, data_dir: Path, *, durable: bool) -> Launch:
        """Find the program and a way to run it. Raises Unavailable."""
        program, folder = self.resolve(settings), data_dir / self.name
        lowered = privileges.for_server(program.path, folder) if self.needs_unprivileged else Privileges()
        return Launch(settings, folder, program, lowered, durable)


def _environment(launch: Launch, **more: str) -> dict[str, str]:
    """A small environment of their own: PG*, WEED_* and the like in the user's shell must not change a server."""
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LOCALE_ARCHIVE")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"} | more


def write_private(path: Path, text: str) -> None:
    """Replace a file that holds, or decides over, a secret; nobody else may read it at any moment."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


# --- PostgreSQL ---

POSTGRES_CONF = """\
# Written by drystone at each start. Your own settings belong in postgresql.local.conf beside this file.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''        # paths over about 100 bytes break, and the password rules are one
password_encryption = scram-sha-256
max_connections = 100
max_locks_per_transaction = 256     # a query of all times takes one on each month of observations
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 16MB
maintenance_work_mem = 128MB        # building a vector index
max_wal_size = 2GB                  # fewer checkpoints while documents stream in
min_wal_size = 256MB
wal_compression = on
checkpoint_timeout = 15min
random_page_cost = 1.1              # solid state
jit = off                           # our statements are short
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '[%p] %q%u '
log_checkpoints = off
log_parameter_max_length = 0        # contents of documents stay out of logs
log_parameter_max_length_on_error = 0
cluster_name = 'drystone'
{durability}
include_if_exists = 'postgresql.local.conf'
"""
# Safe against killed processes (what is committed has been written), not against a power cut.
NOT_DURABLE = "fsync = off\nfull_page_writes = off"
POSTGRES_HBA = """\
# Written by drystone at each start.
host all all 127.0.0.1/32 scram-sha-256
# For pg_basebackup; only the superuser may replicate.
host replication postgres 127.0.0.1/32 scram-sha-256
"""


def _prepare_postgres(launch: Launch) -> None:
    folder = launch.folder
    for abandoned in folder.parent.glob("postgres.new-*"):  # of an initdb that was killed
        shutil.rmtree(abandoned, ignore_errors=True)
    if not folder.exists():
        _initdb(launch)
    major = postgres_major(folder)
    if major != launch.program.version.split(".")[0]:
        raise Conflict(
            "stack.postgres_major",
            f"{folder} was made by PostgreSQL {major}, but {launch.program.path} is {launch.program.version}.",
            hint=way_out(major, launch.program),
        )
    conf = POSTGRES_CONF.format(
        port=launch.settings.database.parts.port, durability="" if launch.durable else NOT_DURABLE
    )
    for name, text in (("postgresql.conf", conf), ("pg_hba.conf", POSTGRES_HBA)):
        write_private(folder / name, text)
        launch.privileges.hand_over(folder / name)


def postgres_major(folder: Path) -> str:
    """The major version that made a data folder. Raises Conflict when it does not say."""
    try:
        major = (folder / "PG_VERSION").read_text().strip()
    except (OSError, UnicodeDecodeError):
        major = ""
    if not major.isdigit():
        raise Conflict(
            "stack.postgres_damaged",
            f"{folder} is no data folder of PostgreSQL: its PG_VERSION is missing or damaged.",
            hint="restore a snapshot or a backup; ./drystone reset begins anew, without the data",
        )
    return major


def way_out(major: str, program: Program) -> str:
    """What to do with a data folder of another PostgreSQL major than the program's."""
    same = f"set POSTGRES_BIN to the folder of a PostgreSQL {major}"
    return (
        f"run ./drystone db upgrade, or {same}"
        if major.isdigit() and int(major) < int(program.version.split(".")[0])
        else same
    )


def _initdb(launch: Launch) -> None:
    """Make the cluster under another name and rename it, so that a killed initdb leaves nothing half-made."""
    draft = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=launch.folder.parent))
    launch.privileges.hand_over(draft)
    password = draft.with_suffix(".password")
    try:
        write_private(password, launch.settings.database.superuser_password.get_secret_value() + "\n")
        launch.privileges.hand_over(password)
        result = subprocess.run(
            [
                *launch.privileges.prefix,
                str(launch.program.path.with_name("initdb")),
                f"--pgdata={draft}",
                "--username=postgres",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--locale=C.UTF-8",
                "--data-checksums",
                "--no-sync",
                "--no-instructions",
            ],
            env=_environment(launch),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            start_new_session=True,
        )
        if result.returncode != 0:
            raise Unavailable(
                "stack.initdb_failed",
                f"initdb could not make {launch.folder}: {last_words(result.stderr or result.stdout)}",
                hint="is there space on the disk, and may you write there?",
            )
        draft.rename(launch.folder)
    finally:
        password.unlink(missing_ok=True)
        shutil.rmtree(draft, ignore_errors=True)


def last_words(output: str) -> str:
    """The line of a program's output that says most about why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return (errors or lines or ["it said nothing"])[-1]


def _ready_postgres(settings: Settings) -> None:
    async def ready() -> None:
        await bootstrap.postgres(settings.database)
        await probes.postgres(settings.database.url.get_secret_value())

    probes.run(ready)


def _repair_postgres(launch: Launch) -> None:
    """Set the superuser's password in single-user mode: who owns the folder owns the server.

    Needed when `.env` was lost or its password changed while the data stayed.
    """
    password = bootstrap.literal(launch.settings.database.superuser_password.get_secret_value())
    ask_alone(launch, "postgres", f"ALTER ROLE postgres PASSWORD {password};")


def ask_alone(launch: Launch, database: str, statement: str) -> subprocess.CompletedProcess[str]:
    """What PostgreSQL says to a statement on one line while no server runs. It recovers first if it was killed."""
    return subprocess.run(
        [*launch.privileges.prefix, str(launch.program.path), "--single", "-D", str(launch.folder), database],
        input=f"{statement}\n",
        env=_environment(launch),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=300,
    )


POSTGRES = Service(
    name="postgres",
    variable="DATABASE_URL",
    host=lambda settings: settings.database.parts.host,
    ports=lambda settings: [settings.database.parts.port],
    provider=lambda settings: settings.stack.postgres_provider,
    resolve=lambda settings: providers.postgres(settings.stack.postgres_bin, settings.stack.postgres_provider),
    needs_unprivileged=True,
    prepare=_prepare_postgres,
    argv=lambda launch: [*launch.privileges.prefix, str(launch.program.path), "-D", str(launch.folder)],
    environment=_environment,
    ready=_ready_postgres,
    check=lambda settings: probes.run(lambda: probes.postgres(settings.database.url.get_secret_value())),
    stop_signal=signal.SIGINT,  # fast: ends sessions, writes a checkpoint; SIGTERM would wait for clients
    quit_signal=signal.SIGQUIT,
    stop_s=15,
    repair=_repair_postgres,
)


# --- Redis ---

REDIS_CONF = """\
# Written by drystone at each start.
bind 127.0.0.1
port {port}
protected-mode yes
requirepass "{password}"
dir "{folder}"
daemonize no
logfile ""
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
# The title would be written over the environment by which we find our processes.
set-proc-title no
"""


def _prepare_redis(launch: Launch) -> None:
    launch.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    conf = REDIS_CONF.format(
        port=launch.settings.redis.parts.port,
        password=_redis_quoted(launch.settings.redis.parts.password),
        folder=_redis_quoted(str(launch.folder)),
    )
    write_private(launch.folder / "redis.conf", conf)


def _redis_quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


REDIS = Service(
    name="redis",
    variable="REDIS_URL",
    host=lambda settings: settings.redis.parts.host,
    ports=lambda settings: [settings.redis.parts.port],
    provider=lambda settings: settings.stack.redis_provider,
    resolve=lambda settings: providers.redis(settings.stack.redis_bin, settings.stack.redis_provider),
    needs_unprivileged=False,
    prepare=_prepare_redis,
    argv=lambda launch: [str(launch.program.path), str(launch.folder / "redis.conf")],
    environment=_environment,
    ready=lambda settings: probes.redis(settings.redis),
    check=lambda settings: probes.redis(settings.redis),
    stop_signal=signal.SIGTERM,
    quit_signal=signal.SIGKILL,
    stop_s=10,
)


# --- S3: SeaweedFS (weed) or MinIO ---


def _resolve_objects(settings: Settings) -> Program:
    made_by = _made_by(settings.general.data_dir / "objects")
    return providers.objects(settings.stack.s3_bin, settings.stack.s3_provider, made_by)


def _made_by(folder: Path) -> str:
    """Which kind of store made the data; empty when there is none."""
    if (folder / ".minio.sys").exists():
        return "minio"
    return "weed" if folder.is_dir() and any(folder.iterdir()) else ""


def _ports_of_objects(settings: Settings) -> list[int]:
    if OBJECTS.is_external(settings):
        return [settings.s3.parts.port]
    try:
        is_minio = _resolve_objects(settings).kind == "minio"
    except Unavailable:
        is_minio = False
    return [settings.s3.parts.port] if is_minio else list(_weed_ports(settings).values())


def _prepare_objects(launch: Launch) -> None:
    launch.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # `weed mini` reads the flags of its last start from here; ours are all on its command line.
    (launch.folder / "mini.options").unlink(missing_ok=True)
    if launch.program.kind != "minio":
        _clear_sockets(launch.settings)
        volumes.make_whole(launch.program.path, launch.folder)


def _clear_sockets(settings: Settings) -> None:
    """Remove what a killed weed left in /tmp: a socket that ours could not replace would make it wait for ever."""
    for path in _weed_sockets(settings):
        try:
            is_used = ports.listens(path)
            if not is_used:
                path.unlink(missing_ok=True)
        except PermissionError:
            is_used = True
        if is_used:
            raise Conflict(
                "stack.socket_taken",
                f"{path}, through which the S3 store would speak to itself, belongs to another user or another store.",
                hint="change the port of S3_ENDPOINT_URL in .env, or have that file removed when nobody uses it",
            )


def _clean_objects(settings: Settings) -> None:
    for path in _weed_sockets(settings):
        with contextlib.suppress(OSError):
            if not ports.listens(path):
                path.unlink()


def _weed_sockets(settings: Settings) -> list[Path]:
    named = ((flag.partition("."), port) for flag, port in _weed_ports(settings).items())
    return [ports.weed_socket(part, port) for (part, _, kind), port in named if kind == "port.grpc"]


def _argv_objects(launch: Launch) -> list[str]:
    return _argv_minio(launch) if launch.program.kind == "minio" else _argv_weed(launch)


def _objects_environment(launch: Launch) -> dict[str, str]:
    return _minio_environment(launch) if launch.program.kind == "minio" else _weed_environment(launch)


def _argv_minio(launch: Launch) -> list[str]:
    return [
        str(launch.program.path),
        "server",
        "--quiet",
        f"--address={LOOPBACK}:{launch.settings.s3.parts.port}",
        str(launch.folder),
    ]


def _minio_environment(launch: Launch) -> dict[str, str]:
    return _environment(
        launch,
        HOME=str(launch.folder),  # it keeps certificates there
        MINIO_ROOT_USER=launch.settings.s3.access_key_id,
        MINIO_ROOT_PASSWORD=launch.settings.s3.secret_access_key.get_secret_value(),
        MINIO_SITE_REGION=launch.settings.s3.region,
        MINIO_BROWSER="off",  # its console would listen on a port of its own
        MINIO_UPDATE="off",
        GOMEMLIMIT="384MiB",
    )


def _weed_ports(settings: Settings) -> dict[str, int]:
    """The ports `weed mini` listens on, all derived from the S3 port: flag -> port."""
    first = settings.s3.parts.port
    names = ["s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
    names += ["filer.port", "filer.port.grpc", "admin.port"]
    named = {name: first + offset for offset, name in enumerate(names)}
    # Its maintenance worker looks for the admin server here, whatever -admin.port.grpc says.
    return named | {"admin.port.grpc": named["admin.port"] + 10_000}


def _argv_weed(launch: Launch) -> list[str]:
    return [
        str(launch.program.path),
        "-logtostderr=true",
        "mini",
        f"-dir={launch.folder}",
        f"-ip={LOOPBACK}",  # both default to every interface
        f"-ip.bind={LOOPBACK}",
        "-master.telemetry=false",  # the default is true
        # A resumed master polls itself: 5 % of a core for ever. What it needs to know the volumes tell it at each start.
        "-master.resumeState=false",
        *(f"-{name}={port}" for name, port in _weed_ports(launch.settings).items()),
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
        "-webdav=false",
        "-admin.ui=false",
        "-volume.preStopSeconds=0",
        # Relative to the data folder: /tmp is everybody's, and a long path would not fit into a socket's address.
        "-filer.saveToFilerLimit=65536",
        "-s3.localSocket=s3.sock",
        "-filer.localSocket=filer.sock",
    ]


def _weed_environment(launch: Launch) -> dict[str, str]:
    return _environment(
        launch,
        HOME=str(launch.folder),  # it looks for configuration there
        AWS_ACCESS_KEY_ID=launch.settings.s3.access_key_id,
        AWS_SECRET_ACCESS_KEY=launch.settings.s3.secret_access_key.get_secret_value(),
        GOMEMLIMIT="384MiB",  # it lives on 235: at 256 it collects garbage all the time, without a limit it takes 100 MB more
    )


def _ready_objects(settings: Settings) -> None:
    probes.objects_refuse_strangers(settings.s3)
    probes.objects_make_bucket(settings.s3)
    _check_bucket(settings)


def _check_objects(settings: Settings) -> None:
    probes.objects_refuse_strangers(settings.s3)
    _check_bucket(settings)


def _check_bucket(settings: Settings) -> None:
    """It works. In production nobody may read it without a key; else web's log and doctor say so."""
    found = probes.objects(settings.s3)
    if found and settings.general.environment == "production":
        raise Unavailable(
            "stack.bucket_open",
            f"Whoever reaches {settings.s3.endpoint_url} may {found} in the bucket {settings.s3.bucket} without a key.",
            hint="remove its policy or ACL for everybody: the bucket holds every document",
        )


OBJECTS = Service(
    name="objects",
    variable="S3_ENDPOINT_URL",
    host=lambda settings: settings.s3.parts.host,
    ports=_ports_of_objects,
    provider=lambda settings: settings.stack.s3_provider,
    resolve=_resolve_objects,
    needs_unprivileged=False,
    prepare=_prepare_objects,
    argv=_argv_objects,
    environment=_objects_environment,
    ready=_ready_objects,
    check=_check_objects,
    stop_signal=signal.SIGTERM,
    quit_signal=signal.SIGKILL,
    clean=_clean_objects,
    stop_s=4,  # now and then it hangs in its own goodbyes; what it acknowledged is in its files by then
    # SeaweedFS keeps its names in eight LevelDBs. One that could not write its journal once refuses every later write.
    stays_full=re.compile("no space left on device"),
)

ALL = (POSTGRES, REDIS, OBJECTS)
