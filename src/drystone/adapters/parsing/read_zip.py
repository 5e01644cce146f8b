"""Archives of documents: what is in one, and one of its members at a time. Nothing is written anywhere.

Every member is inflated once and counted before any is believed; sizes that the archive states are never used. A bomb
fails the whole archive; a member that cannot be taken for itself alone is told with its reason.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from drystone.adapters.parsing.containers import MAX_INFLATED_BYTES, MAX_MEMBERS, MAX_RATIO, RATIO_FROM_BYTES
from drystone.adapters.parsing.decoding import detect
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.formats import ARCHIVE, media_type_of
from drystone.core.errors import Invalid

_MAX_PATH_BYTES = 1_000
_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 8_192
_UTF8_NAME, _ENCRYPTED = 0x800, 0x41
_LITTER = re.compile(
    r"(^|/)(__MACOSX/|\.DS_Store$|\._[^/]*$|Thumbs\.db$|desktop\.ini$|~\$[^/]*$|\.git/)", re.IGNORECASE
)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, RuntimeError)


def answer(document: int, member: int | None) -> tuple[dict[str, Any], bytes]:
    """The list of members, or one's bytes. document: a descriptor of the archive; member: its place in the archive."""
    try:
        archive = zipfile.ZipFile(io.BufferedReader(_Source(document)))
    except _BROKEN as exc:
        raise failure("document.corrupt", "The file is not a readable archive.") from exc
    if member is None:
        return {"members": _members(archive)}, b""
    infos = archive.infolist()
    if not 0 <= member < min(len(infos), MAX_MEMBERS * 2):
        raise failure("document.corrupt")
    return {}, b"".join(_inflate(archive, infos[member]))


class _Source(io.RawIOBase):
    """A file of which only the descriptor is shared, not the position in it."""

    def __init__(self, document: int) -> None:
        self._document = document
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: os.fstat(self._document).st_size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._document, len(buffer), self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _members(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS * 2:  # folders and litter come on top
        raise _too_many(len(infos))
    _refuse_overlaps(infos)
    names = _names(infos)
    kept = [
        (at, info, name)
        for at, (info, name) in enumerate(zip(infos, names, strict=True))
        if not name.endswith("/") and not _LITTER.search(name)
    ]
    if len(kept) > MAX_MEMBERS:
        raise _too_many(len(kept))
    found: dict[str, dict[str, Any]] = {}
    left = MAX_INFLATED_BYTES
    for at, info, name in kept:
        member = _member(archive, info, name, left)
        left -= member["size"]
        path, number = _shown(name), 2
        while path in found:
            path, number = _shown(f"{name} ({number})"), number + 1
        found[path] = {"index": at, "path": path, **member}
    if not found:
        raise failure("document.no_text", "The archive holds no files.")
    return list(found.values())


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, left: int) -> dict[str, Any]:
    """Size and hash of a member, and why it cannot be taken, if so. Raises what is wrong with the archive."""
    size, head, sha256 = 0, b"", hashlib.sha256()
    code: str | None = None
    message: str | None = None
    try:
        _refuse_unsafe(info, name)
        for block in _inflate(archive, info):
            head = head or block[:_HEAD_BYTES]
            sha256.update(block)
            size += len(block)
            _refuse_bomb(info, size, left)
        _refuse_unread(name, head)
    except Invalid as exc:
        if exc.code == "document.unsafe_archive":
            raise
        code, message = exc.code, exc.message
    return {"size": size, "sha256": sha256.hexdigest(), "refused": code, "message": message}


def _refuse_unsafe(info: zipfile.ZipInfo, name: str) -> None:
    """Raises when a member must not even be inflated."""
    if ".." in name.split("/") or name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise failure("document.unsafe_path")
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise failure("document.no_file")
    if info.flag_bits & _ENCRYPTED:
        raise failure("document.encrypted")


def _refuse_bomb(info: zipfile.ZipInfo, size: int, left: int) -> None:
    if size > left:
        raise failure("document.unsafe_archive", "The archive inflates to more than 200 MB.")
    if size > RATIO_FROM_BYTES and size > MAX_RATIO * max(1, info.compress_size):
        raise failure("document.unsafe_archive", f"A file in the archive inflates to over {MAX_RATIO} times its size.")


def _refuse_unread(name: str, head: bytes) -> None:
    """Raises when a member is of a type that is not read, by the same rules as an upload."""
    if not head:
        raise failure("document.empty")
    try:
        media_type = media_type_of(name, None, head)
    except Invalid as exc:
        raise failure(exc.code, exc.message) from exc
    if media_type == ARCHIVE:
        raise failure("document.nested_archive")


def _refuse_overlaps(infos: list[zipfile.ZipInfo]) -> None:
    """Members that share bytes are a bomb: what is stored once is inflated many times."""
    spans = sorted((info.header_offset, info.header_offset + 30 + info.compress_size) for info in infos)
    if any(end > start for (_, end), (start, _) in pairwise(spans)):
        raise failure("document.unsafe_archive", "Files in the archive share their bytes, as bombs do.")


def _inflate(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as member:
            while block := member.read(_BLOCK_BYTES):
                yield block
    except _BROKEN as exc:
        raise failure("document.corrupt", "The file is damaged within its archive.") from exc


def _names(infos: list[zipfile.ZipInfo]) -> list[str]:
    """Members' paths. Without the mark for UTF-8 they are in the encoding of the machine that made the archive."""
    raw = [b"" if info.flag_bits & _UTF8_NAME else info.orig_filename.encode("cp437", "replace") for info in infos]
    foreign = b"\n".join(name for name in raw if not name.isascii())
    encoding = _encoding(foreign) if foreign else "cp437"
    names = [
        info.orig_filename if info.flag_bits & _UTF8_NAME else name.decode(encoding, "replace")
        for info, name in zip(infos, raw, strict=True)
    ]
    return [re.sub(r"^(\./)+", "", name.replace("\\", "/")) for name in names]


def _encoding(names: bytes) -> str:
    for encoding in ("utf-8", detect(names)):
        try:
            names.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "cp437"


def _shown(name: str) -> str:
    """A path as it is kept: NFC, printable, not too long."""
    path = "".join(char for char in unicodedata.normalize("NFC", name) if char.isprintable()) or "unnamed"
    if len(path.encode()) > _MAX_PATH_BYTES:
        return f"{path[:200]}…{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    return path


def _too_many(count: int) -> Invalid:
    return failure("document.unsafe_archive", f"The archive holds {count} files; {MAX_MEMBERS} are accepted.")
