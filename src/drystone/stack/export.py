"""systemd units for one host: text made of the project's settings, without a secret in it.

Each unit runs `drystone serve NAME`, which becomes the server itself; `drystone wait NAME` says when it is ready.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from drystone.core.errors import Invalid, NotFound
from drystone.stack.project import Project
from drystone.stack.serve import SERVERS, procfile
from drystone.stack.services import Service

TARGET = "drystone.target"
MIGRATE = "migrate"
# systemd can wait longer before each further restart since this version; older ones warn of unknown settings.
HAS_BACKOFF = 254
# PostgreSQL writes a checkpoint when it is stopped; how long that takes depends on the disk. The S3 store hangs in its
# goodbyes now and then, when all is written.
STOP_S = {"postgres": 120, "objects": 10}
USUAL_STOP_S = 30
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  compared, not written to
HEADER = "# Written by `drystone export systemd`. Your own settings belong in a drop-in: {edit} edit {unit}\n"

Lines = list[tuple[str, str]]

WHAT = {
    "postgres": "PostgreSQL with pgvector",
    "redis": "Redis",
    "objects": "the S3 store",
    MIGRATE: "the schema and the model",
    "web": "the HTTP API",
    "worker": "the worker",
}
# These need no rights; they hold in a user's units too.
MODEST: Lines = [
    ("UMask", "0077"),
    ("NoNewPrivileges", "yes"),
    ("LockPersonality", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
    ("SystemCallArchitectures", "native"),
]
HARD: Lines = [
    ("CapabilityBoundingSet", ""),
    ("PrivateDevices", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectSystem", "strict"),
]
# Not for the worker: it puts each parser into namespaces of its own, and a /proc with parts hidden cannot be mounted there.
HARDEST: Lines = [
    ("ProtectControlGroups", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("RestrictNamespaces", "yes"),
]


@dataclass(frozen=True)
class Site:
    """What the units must know of a host.

    run_as: the user of system units; None for a user's own units. names: what gets a unit, in the order of starting.
    writable: the folders they may write to.
    """

    root: Path
    python: Path
    writable: tuple[Path, ...]
    names: tuple[str, ...]
    run_as: str | None
    has_backoff: bool

    @property
    def is_remote(self) -> bool:
        """Whether a server that it needs may be on another host."""
        return not set(SERVERS) <= set(self.names)

    @property
    def systemctl(self) -> str:
        return "sudo systemctl" if self.run_as else "systemctl --user"


def look_around(project: Project, *, run_as: str | None, only: Collection[str] = ()) -> Site:
    """What there is to run. run_as: empty for the project's owner, None for a user's own units. Raises Invalid, NotFound."""
    ours = [name for name, service in SERVERS.items() if not service.is_external(project.settings)]
    names = [*ours, MIGRATE, *procfile(project.root)]
    if unknown := [name for name in only if name not in names]:
        raise NotFound(
            "export.no_such_unit", f"There is no unit for {', '.join(unknown)}.", hint=f"there is: {', '.join(names)}"
        )
    return Site(
        root=project.root,
        python=Path(sys.executable),
        writable=_writable(project),
        names=tuple(name for name in names if not only or name in only),
        run_as=None if run_as is None else _ordinary_user(run_as or project.root.owner()),
        has_backoff=_systemd_version() >= HAS_BACKOFF,
    )


def _writable(project: Project) -> tuple[Path, ...]:
    data, model = project.data_dir, project.settings.general.model_dir
    folders = (data,) if model.is_relative_to(data) else (data, model)
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise NotFound(
            "export.no_folder",
            f"systemd gives leave to write only to folders that exist; there is no {' and no '.join(missing)}.",
            hint="make it, and give it to who will run the units",
        )
    return folders


def _ordinary_user(name: str) -> str:
    if name == "root":
        raise Invalid(
            "export.root",
            "PostgreSQL does not run as root, and nothing else should.",
            hint="name who runs it with --run-as NAME; docs/guides/production.md says how to make that user",
        )
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name):
        raise Invalid(
            "export.user_name", f"{name!r} is no name of a user.", hint="give one that is, with --run-as NAME"
        )
    return name


def _systemd_version() -> int:
    """systemd's version on this machine; 0 when there is none."""
    try:
        said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    found = re.match(r"systemd (\d+)", said)
    return int(found[1]) if found else 0


def write(site: Site, folder: Path) -> list[Path]:
    """Write the units into a folder; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in units(site).items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
        written.append(path)
    return written


def how_to_install(site: Site, folder: Path) -> str:
    """The commands that come next."""
    place, sudo = ("/etc/systemd/system", "sudo ") if site.run_as else ("~/.config/systemd/user", "")
    lines = [
        f"{sudo}install -D -m 644 -t {place} {shlex.quote(str(folder))}/drystone*",
        f"{site.systemctl} daemon-reload",
    ]
    if not site.run_as:
        lines.append("loginctl enable-linger    # so that it runs when nobody is logged in")
    return "next:\n" + "\n".join(f"  {line}" for line in [*lines, f"{site.systemctl} enable --now {TARGET}"])


def units(site: Site) -> dict[str, str]:
    """File name -> text of each unit."""
    made = {_unit(name): _service(site, name) for name in site.names}
    return {TARGET: _target(site), **made}


def _unit(name: str) -> str:
    return f"drystone-{name}.service"


def _target(site: Site) -> str:
    about: Lines = [("Description", "Drystone"), ("Wants", " ".join(_unit(name) for name in site.names))]
    install: Lines = [("WantedBy", "multi-user.target" if site.run_as else "default.target")]
    return _text(site, TARGET, Unit=about, Install=install)


def _service(site: Site, name: str) -> str:
    return _text(
        site,
        _unit(name),
        Unit=_about(site, name),
        Service=[*_identity(site, name), *_commands(site, name), *_life(site, name), *_hardening(site, name)],
        Install=[("WantedBy", TARGET)],
    )


def _about(site: Site, name: str) -> Lines:
    servers = [_unit(each) for each in site.names if each in SERVERS and name not in SERVERS]
    needs_schema = name not in (*SERVERS, MIGRATE) and MIGRATE in site.names
    after = [*_network(site), *servers, *([_unit(MIGRATE)] if needs_schema else [])]
    lines: Lines = [("Description", f"Drystone: {WHAT.get(name, name)}"), ("PartOf", TARGET)]
    if wants := [*servers, *(_network(site) if site.is_remote else [])]:
        lines.append(("Wants", " ".join(wants)))
    if needs_schema:
        # Started again, it starts those anew who use the schema; failed, it keeps them from starting.
        lines.append(("Requires", _unit(MIGRATE)))
    if after:
        lines.append(("After", " ".join(after)))
    if name != MIGRATE:
        lines += [("StartLimitIntervalSec", "60"), ("StartLimitBurst", "6")]
    return lines


def _network(site: Site) -> list[str]:
    return ["network-online.target"] if site.run_as else []  # a user's manager knows none


def _identity(site: Site, name: str) -> Lines:
    user: Lines = [("User", site.run_as)] if site.run_as else []
    return [
        ("Type", "oneshot" if name == MIGRATE else "exec"),
        *user,
        ("WorkingDirectory", _path(site.root)),
        ("EnvironmentFile", _path(site.root / ".env")),
        ("SyslogIdentifier", f"drystone-{name}"),
    ]


def _commands(site: Site, name: str) -> Lines:
    cli = f"{_program(site.python)} -m drystone.cli.main"
    if name == MIGRATE:
        return [
            ("ExecStartPre", f"{cli} wait postgres --timeout 600"),
            ("ExecStart", f"{cli} db migrate"),
            ("ExecStart", f"{cli} model prepare"),
            ("RemainAfterExit", "yes"),
        ]
    lines: Lines = [("ExecStart", f"{cli} serve {name}")]
    if name in SERVERS or name == "web":
        lines.append(("ExecStartPost", f"{cli} wait {name} --pid $MAINPID"))
    return lines


def _life(site: Site, name: str) -> Lines:
    """How it is stopped, and started again when it ends."""
    if name == MIGRATE:
        return [("TimeoutStartSec", "infinity")]
    server: Service | None = SERVERS.get(name)
    backoff: Lines = [("RestartSteps", "5"), ("RestartMaxDelaySec", "15")] if site.has_backoff else []
    return [
        # Only the head is asked; it sees to its children. What is left after it ended is killed.
        ("KillMode", "mixed"),
        ("KillSignal", server.stop_signal.name if server else "SIGTERM"),
        ("TimeoutStopSec", str(STOP_S.get(name, USUAL_STOP_S))),
        ("TimeoutStartSec", "660"),  # recovery after a power cut may take minutes; `wait` gives up before
        ("Restart", "always"),
        ("RestartSec", "1"),
        *backoff,
        ("OOMPolicy", "continue"),  # the one that was killed is replaced by its parent
    ]


def _hardening(site: Site, name: str) -> Lines:
    if not site.run_as:
        return MODEST
    # A project below /tmp would not find itself in a private one.
    is_temporary = any(path.is_relative_to(tmp) for path in (site.root, *site.writable) for tmp in TEMPORARY)
    writable = [*site.writable, *(TEMPORARY if is_temporary else ())]
    lines = [*MODEST, *HARD, ("ReadWritePaths", " ".join(_word(folder) for folder in writable))]
    if not is_temporary:
        lines.append(("PrivateTmp", "yes"))
    return lines if name == "worker" else [*lines, *HARDEST]


def _text(site: Site, unit: str, **sections: Lines) -> str:
    parts = [HEADER.format(edit=site.systemctl, unit=unit)]
    for section, lines in sections.items():
        parts.append(f"\n[{section}]\n" + "".join(f"{key}={value}\n" for key, value in lines))
    return "".join(parts)


def _path(path: Path) -> str:
    """A path that is a whole value: only % means something there."""
    return str(path).replace("%", "%%")


def _program(path: Path) -> str:
    """A path as the program of a command line. systemd takes none with quotes or backslashes; env(1) does."""
    if re.search(r"[\"'\\]", str(path)):
        return f"/usr/bin/env {_word(path).replace('$', '$$')}"
    return _word(path)


def _word(path: Path) -> str:
    """A path as one word among others."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'
