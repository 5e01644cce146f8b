"""What a snapshot says about itself: `manifest.json`, with the SHA-256 of every file and of the manifest itself.

The files are in `data.tar` beside it; the manifest says where, because a file may be in there more than once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from drystone.core.errors import Conflict, Invalid
from drystone.core.settings import Settings
from drystone.stack.data import trees
from drystone.stack.data.archive import Archive
from drystone.stack.data.swap import PARTS

FORMAT = 1
FILE, DATA = "manifest.json", "data.tar"


@dataclass(frozen=True)
class File:
    path: str  # begins with the server's name
    mode: int
    offset: int  # of its contents in data.tar
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Made:
    """Which program wrote a part. program: what tells its data from another's: valkey-server, redis-server, weed, minio."""

    program: str
    version: str

    @property
    def major(self) -> int:
        """The first number of the version; the year, where versions are dates."""
        found = re.search(r"\d+", self.version)
        return int(found[0]) if found else 0

    def __str__(self) -> str:
        return f"{self.program} {self.version}"


@dataclass(frozen=True)
class Manifest:
    """One snapshot. schema: the revision of the database, None before the first migration or if it could not be asked.

    names: what the settings called database, roles and bucket. pause_s: how long the stack was halted; 0 if it was down.
    size_bytes: of the files. data_bytes: of data.tar.
    """

    name: str
    created_at: str  # ISO 8601, UTC
    schema: str | None
    size_bytes: int
    data_bytes: int
    pause_s: float
    made_by: dict[str, Made]
    names: dict[str, str]
    folders: tuple[tuple[str, int], ...]
    files: tuple[File, ...]

    def write(self, folder: Path) -> None:
        body = {"format": FORMAT, **asdict(self)}
        (folder / FILE).write_text(json.dumps({**body, "sha256": _checksum(body)}), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in a snapshot's folder. Raises Invalid when it is damaged or of another format."""
        try:
            body: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
            told = body.pop("sha256")
            if told != _checksum(body):
                raise damaged(folder.name, f"{FILE} has been changed")
            return cls._parse(body)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
            raise damaged(folder.name, f"{FILE} cannot be read") from exc

    @classmethod
    def _parse(cls, body: dict[str, Any]) -> Manifest:
        if (found := body.pop("format")) != FORMAT:
            raise Conflict(
                "snapshot.format",
                f"Snapshot {body.get('name')} has format {found}; this version of drystone reads format {FORMAT}.",
                hint="restore it with the version of drystone that made it",
            )
        files = tuple(File(**{**file, "path": _safe(file["path"])}) for file in body.pop("files"))
        folders = tuple((_safe(path), mode) for path, mode in body.pop("folders"))
        made_by = {part: Made(**made) for part, made in body.pop("made_by").items()}
        made = cls(**body, made_by=made_by, folders=folders, files=files)
        made._check_types()
        return made

    def _check_types(self) -> None:
        """A checksum proves that nothing was changed by chance, not that drystone wrote it. Raises TypeError."""
        numbers = [self.size_bytes, self.data_bytes, *(mode for _, mode in self.folders)]
        numbers += [number for file in self.files for number in (file.mode, file.offset, file.size_bytes)]
        texts = [self.name, self.created_at, *self.names.values(), *(file.sha256 for file in self.files)]
        texts += [text for made in self.made_by.values() for text in asdict(made).values()]
        if not all(type(each) is int and 0 <= each < 2**63 for each in numbers):
            raise TypeError("a size, place or mode is no number")
        if not all(isinstance(each, str) for each in texts) or set(self.made_by) != set(PARTS):
            raise TypeError("a name, hash or program is missing")
        if {path.split("/")[0] for path, _ in self.folders} != set(PARTS):
            raise TypeError("a part of the set is missing")

    def check_size(self, folder: Path) -> None:
        """Raises Invalid when data.tar is missing or cut short: cheap, so it is asked before all is read."""
        data = folder / DATA
        if not data.is_file():
            raise damaged(self.name, f"{DATA} is missing")
        if (size_bytes := data.stat().st_size) != self.data_bytes:
            raise damaged(self.name, f"{DATA} has {size_bytes} bytes instead of {self.data_bytes}")

    def check_contents(self, stage: Path) -> None:
        """Raises Invalid when a file that was put in `stage` is not what it was when the snapshot was made."""
        found = trees.digests((stage / file.path, 0, file.size_bytes) for file in self.files)
        for file, sha256 in zip(self.files, found, strict=True):
            if sha256 != file.sha256:
                raise damaged(self.name, f"{file.path} has another SHA-256 than when it was made")

    def check_fits(self, made_by: Mapping[str, Made], settings: Settings) -> None:
        """Raises Conflict when one of today's servers could not read it, or today's settings call things otherwise."""
        for part, now in made_by.items():
            made = self.made_by[part]
            same = now.major == made.major if part == "postgres" else now.major >= made.major
            if now.program != made.program or not same:
                raise _other_server(self.name, part, made, now)
        now_called = names(settings)
        if other := [f"{what} {name}" for what, name in self.names.items() if now_called[what] != name]:
            raise Conflict(
                "snapshot.other_names",
                f"Snapshot {self.name} was made with other names than .env has now: {', '.join(other)}.",
                hint="use these names in .env while it is restored",
            )


def describe(archive: Archive, data: Path) -> tuple[tuple[tuple[str, int], ...], tuple[File, ...]]:
    """Folders and files of a new manifest, hashed as they arrived in the archive."""
    folders = [(part, 0o700) for part in archive.folders]
    for part, entries in archive.folders.items():
        folders += [(f"{part}/{entry.path}", entry.mode) for entry in entries]
    found = [(f"{part}/{path}", each) for part, members in archive.files.items() for path, each in members.items()]
    sums = trees.digests((data, member.offset, member.entry.size_bytes) for _, member in found)
    files = (
        File(path, member.entry.mode, member.offset, member.entry.size_bytes, sha256)
        for (path, member), sha256 in zip(found, sums, strict=True)
    )
    return tuple(folders), tuple(files)


def names(settings: Settings) -> dict[str, str]:
    """What in the data is called as the settings say."""
    return {
        "database": settings.database.parts.database,
        "role": settings.database.parts.user,
        "owner": settings.database.migration_parts.user,
        "bucket": settings.s3.bucket,
    }


def damaged(name: str, what: str) -> Invalid:
    return Invalid(
        "snapshot.damaged",
        f"Snapshot {name} is damaged: {what}. Nothing has been changed.",
        hint="restore another one: ./drystone snapshot list",
    )


def _other_server(name: str, part: str, made: Made, now: Made) -> Conflict:
    hints = {
        "postgres": f"set POSTGRES_BIN to a PostgreSQL {made.major} and restore it"
        + (", unset it, then run ./drystone db upgrade" if made.major < now.major else ""),
        "redis": f"set REDIS_BIN to a {made.program} {made.major} or newer",
        "objects": f"set S3_BIN to a {made.program} {made.major} or newer",
    }
    return Conflict(
        "snapshot.other_server",
        f"Snapshot {name} was made by {made}, which {now} cannot read. Nothing has been changed.",
        hint=hints[part],
    )


def _safe(path: str) -> str:
    """A path that stays inside: a manifest from elsewhere must not write anywhere else."""
    parts = PurePosixPath(path).parts
    if not parts or parts[0] not in PARTS or ".." in parts or "\0" in path:
        raise ValueError(path)
    return path


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
