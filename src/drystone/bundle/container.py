"""A bundle as a ZIP file or as a folder. Members are read by their names alone and never unpacked: no path of a bundle is ever written to."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self, TypeVar

from pydantic import BaseModel, ValidationError

from drystone.bundle.schema import CATALOGUE, OBSERVATIONS, BlobLine, BundleManifest, Member
from drystone.core.errors import Conflict, Invalid, NotFound

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024
# DEFLATE reaches a thousandfold; lines of text and numbers stay far below this.
_MOST_RATIO = 200
_PART_BYTES = 1024 * 1024
_FORMATS = (1, 2)

_Line = TypeVar("_Line", bound=BaseModel)


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = ..., /) -> bytes: ...


class Writing:
    """A bundle in the making, under another name until it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.new")
        self._zip: zipfile.ZipFile | None = None
        self.members: list[Member] = []

    def __enter__(self) -> Self:
        if self._path.exists():
            raise Conflict("bundle.exists", f"{self._path} exists already.", hint="choose another name, or remove it")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        _remove(self._draft)
        if is_zip(self._path):
            handle = os.open(self._draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self._zip = zipfile.ZipFile(os.fdopen(handle, "w+b"), "w", zipfile.ZIP_DEFLATED, compresslevel=3)
        else:
            self._draft.mkdir(mode=0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file = self._zip.fp if self._zip is not None else None
        if self._zip is not None:
            self._zip.close()
        if kind is not None:
            if file is not None:
                file.close()
            _remove(self._draft)
            return
        if file is not None:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        self._draft.rename(self._path)

    @contextmanager
    def member(self, name: str) -> Iterator[Hashing]:
        """A part that the manifest names; compressed in a ZIP file."""
        with self._opened(name, is_stored=False) as file:
            writing = Hashing(file)
            yield writing
        self.members.append(Member(name=name, size_bytes=writing.size_bytes, sha256=writing.sha256))

    @contextmanager
    def blob(self, name: str) -> Iterator[IO[bytes]]:
        """A blob: as it is, for most are compressed in their own way."""
        with self._opened(name, is_stored=True) as file:
            yield file

    def manifest(self, manifest: BundleManifest) -> None:
        with self._opened(MANIFEST, is_stored=True) as file:
            file.write(manifest.model_dump_json(indent=1).encode())

    @contextmanager
    def _opened(self, name: str, *, is_stored: bool) -> Iterator[IO[bytes]]:
        if self._zip is not None:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_STORED if is_stored else zipfile.ZIP_DEFLATED
            info.external_attr = 0o600 << 16
            with self._zip.open(info, "w", force_zip64=True) as file:
                yield file
            return
        path = self._draft / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file


class Hashing:
    """A file that counts and hashes what is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, part: bytes) -> None:
        self._file.write(part)
        self._digest.update(part)
        self.size_bytes += len(part)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Store(Protocol):
    """Where a bundle's members are."""

    def names(self) -> set[str]: ...

    def open(self, name: str, size_bytes: int) -> AbstractContextManager[IO[bytes]]:
        """A member that is said to have so many bytes. Raises Invalid when it cannot be that."""


class Reading:
    """A bundle that is read. Nothing it says is believed before it was checked."""

    def __init__(self, store: Store, manifest: BundleManifest) -> None:
        self.manifest = manifest
        self._store = store
        self._members = {member.name: member for member in manifest.members}

    @property
    def names(self) -> set[str]:
        """Of everything that lies in it."""
        return self._store.names()

    @property
    def has_catalogue(self) -> bool:
        return any(name in self._members for name in CATALOGUE)

    @property
    def has_observations(self) -> bool:
        return any(name in self._members for name in OBSERVATIONS)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A member that the manifest names. Raises Invalid for another."""
        member = self._members.get(name)
        if member is None:
            raise damaged(f"its manifest does not name {name}")
        with self._store.open(name, member.size_bytes) as file:
            yield file

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a member, each bounded."""
        with self.open(name) as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                if len(line) > MAX_LINE_BYTES:
                    raise damaged(f"{name} has a line of more than {MAX_LINE_BYTES} bytes")
                yield line

    @contextmanager
    def blob(self, name: str, blob: BlobLine) -> Iterator[IO[bytes]]:
        with self._store.open(name, blob.size_bytes) as file:
            yield file

    def check(self, member: Member) -> None:
        """Read a member whole. Raises Invalid when its size or hash is another."""
        with self._store.open(member.name, member.size_bytes) as file:
            check_bytes(file, member.name, member.size_bytes, member.sha256)


@contextmanager
def opened(path: Path) -> Iterator[Reading]:
    """A bundle to be read. Raises NotFound, Invalid for what is none or damaged, Conflict for one of another format."""
    if not path.exists():
        raise NotFound("bundle.not_found", f"There is no {path}.", hint="name a bundle: a .zip file, or a folder")
    with _Folder(path) if path.is_dir() else _zip(path) as store:
        try:
            yield Reading(store, _manifest(store))
        except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error) as exc:
            raise damaged(f"it cannot be read: {exc}") from exc


def write(file: Hashing, line: BaseModel) -> None:
    """Add a line. Raises Conflict for one that nobody would read."""
    raw = line.model_dump_json().encode()
    if len(raw) >= MAX_LINE_BYTES:
        raise Conflict(
            "bundle.line_too_long",
            f"A {type(line).__name__} takes {len(raw)} bytes; a line of a bundle has fewer than {MAX_LINE_BYTES}.",
            hint="it has too many versions for a bundle; ./drystone backup keeps everything",
        )
    file.write(raw + b"\n")


def lines(bundle: Reading, name: str, kind: type[_Line]) -> Iterator[_Line]:
    """The lines of a member as what they are. Raises Invalid for the first that is something else."""
    for number, raw in enumerate(bundle.lines(name), start=1):
        try:
            yield kind.model_validate_json(raw)
        except (ValidationError, ValueError, RecursionError) as exc:
            raise bad_line(name, number, exc) from exc


def bad_line(name: str, number: int, exc: Exception) -> Invalid:
    """What is wrong with a line first."""
    said = "cannot be read"
    if isinstance(exc, ValidationError):
        first = exc.errors(include_input=False, include_url=False)[0]
        said = f"{'.'.join(str(part) for part in first['loc'])} {first['msg']}"
    return damaged(f"line {number} of {name}: {said}")


def check_bytes(file: Readable, name: str, size_bytes: int, sha256: str) -> None:
    """Read a file to its end. Raises Invalid when its size or hash is another."""
    digest, size = hashlib.sha256(), 0
    while part := file.read(_PART_BYTES):
        digest.update(part)
        size += len(part)
        if size > size_bytes:
            break
    if size != size_bytes:
        raise damaged(f"{name} has not the {size_bytes} bytes that it should have")
    if digest.hexdigest() != sha256:
        raise damaged(f"{name} has another SHA-256 than it should have")


def is_zip(path: Path) -> bool:
    """Whether a new bundle of this name is a ZIP file."""
    return path.suffix.lower() == ".zip"


def damaged(what: str) -> Invalid:
    return Invalid(
        "bundle.damaged", f"The bundle is damaged, or none: {what}.", hint="nothing was imported; export it again"
    )


def _manifest(store: Store) -> BundleManifest:
    with store.open(MANIFEST, MAX_MANIFEST_BYTES) as file:
        raw = file.read(MAX_MANIFEST_BYTES + 1)
    if len(raw) > MAX_MANIFEST_BYTES:
        raise damaged(f"{MANIFEST} is too large")
    try:
        body = json.loads(raw)
        found = (body.get("format"), body.get("format_version"))
        if found[0] == "drystone-bundle" and found[1] not in _FORMATS:
            raise Conflict(
                "bundle.format",
                f"The bundle has format version {found[1]}; this version of drystone reads versions 1 and 2.",
                hint="import it with the version of drystone that made it, or a newer one",
            )
        return BundleManifest.model_validate_json(raw)
    except (ValueError, AttributeError, RecursionError) as exc:
        raise damaged(f"{MANIFEST} cannot be read") from exc


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def names(self) -> set[str]:
        found = set()
        for folder, _, files in os.walk(self._path, followlinks=False):
            found |= {(Path(folder) / name).relative_to(self._path).as_posix() for name in files}
        return found

    @contextmanager
    def open(self, name: str, size_bytes: int) -> Iterator[IO[bytes]]:
        # Names come from patterns without dots as parts; a link in the folder could still lead out of it.
        path = self._path / name
        if path.parent.resolve() != (self._path.resolve() / name).parent:
            raise damaged(f"{name} leads somewhere else")
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as exc:
            raise damaged(f"{name} cannot be opened: {exc.strerror}") from exc
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise damaged(f"{name} is no file")
            if name != MANIFEST and status.st_size != size_bytes:
                raise damaged(f"{name} has {status.st_size} bytes instead of {size_bytes}")
            yield file


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in archive.infolist():
            if info.filename in self._infos:
                raise damaged(f"{info.filename!r} is in it twice")
            self._infos[info.filename] = info

    def names(self) -> set[str]:
        return set(self._infos)

    @contextmanager
    def open(self, name: str, size_bytes: int) -> Iterator[IO[bytes]]:
        info = self._infos.get(name)
        if info is None:
            raise damaged(f"{name} is missing")
        if info.flag_bits & 0x1:
            raise damaged(f"{name} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise damaged(f"{name} is compressed in a way that bundles are not")
        if name != MANIFEST and info.file_size != size_bytes:
            raise damaged(f"{name} has {info.file_size} bytes instead of {size_bytes}")
        if info.file_size > info.compress_size * _MOST_RATIO + 1_000_000:
            raise damaged(f"{name} would become {info.file_size} bytes of {info.compress_size}")
        with self._archive.open(info) as file:
            yield io.BufferedReader(file)  # type: ignore[type-var]  # a ZipExtFile is read like any raw file


@contextmanager
def _zip(path: Path) -> Iterator[_Zip]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield _Zip(archive)
    except (zipfile.BadZipFile, OSError, ValueError) as exc:
        raise damaged(f"it is no ZIP file that can be read: {exc}") from exc


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
