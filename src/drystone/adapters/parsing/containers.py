"""Zip containers of Office files, opened with suspicion.

Every member is inflated here and counted while it is, never by the size it claims. An Office file holds no archive
with a path out of itself, no thousands of members, and no XML document type declaration.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator

from drystone.adapters.parsing.failures import failure

MAX_MEMBERS = 2_000
MAX_INFLATED_BYTES = 200 * 1024 * 1024
MAX_RATIO = 100
# Deflate reaches 1000:1 on blank cells; a member smaller than this harms nobody.
RATIO_FROM_BYTES = 4 * 1024 * 1024
_BLOCK_BYTES = 1 << 20
_OLE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# As it stands in UTF-8 and in both byte orders of UTF-16.
_DTD = re.compile(rb"<!(DOCTYPE|ENTITY)|<\0!\0(D\0O\0C\0T|E\0N\0T\0I)|\0<\0!\0(D\0O\0C\0T|E\0N\0T\0I)", re.IGNORECASE)
_ENTITY = re.compile(rb"<!ENTITY|<\0!\0E\0N\0T\0I|\0<\0!\0E\0N\0T\0I", re.IGNORECASE)
_NESTED = re.compile(r"\.(zip|jar|7z|rar|gz|tgz|bz2|xz)$", re.IGNORECASE)
# Charts and embedded objects are Office files within Office files; they are kept shut.
_OFFICE = re.compile(r"\.(doc|xls|ppt|sld|vsd|pot|dot|xlt)[xmb]$|\.od[tspgf]$|\.glox$|\.thmx$", re.IGNORECASE)

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, RuntimeError)


class Container:
    """The members of an Office file.

    Raises what is wrong with it: `document.encrypted`, `document.wrong_type`, `document.corrupt` or
    `document.unsafe_archive`.
    allows_doctype: whether its XML may name its document type, as pages of books do; entities may never be declared.
    """

    def __init__(self, body: bytes, *, allows_doctype: bool = False) -> None:
        self._forbidden = _ENTITY if allows_doctype else _DTD
        if body.startswith(_OLE_MARK):
            raise _judge_ole(body)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(body))
        except _BROKEN as exc:
            raise failure("document.corrupt", "The file is not a readable Office document.") from exc
        self._members = {info.filename.replace("\\", "/").lstrip("/"): info for info in self._zip.infolist()}
        self._check_members()
        self._check_contents()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> list[str]:
        """Paths of all members, without a leading slash."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """A member's bytes; raises `document.corrupt` when it is missing or damaged."""
        info = self._members.get(name)
        if info is None:
            raise failure("document.corrupt", f"The file lacks its part {name[:100]}.")
        return b"".join(self._inflate(info))

    def _check_members(self) -> None:
        infos = self._zip.infolist()
        if len(infos) > MAX_MEMBERS:
            raise failure("document.unsafe_archive", f"The file has {len(infos)} parts; {MAX_MEMBERS} are accepted.")
        for info in infos:
            parts = info.filename.replace("\\", "/").split("/")
            if ".." in parts or parts[0].endswith(":"):
                raise failure("document.unsafe_archive", "A part of the file has a path that leads out of it.")
            if info.flag_bits & 1:
                raise failure("document.encrypted")
            if _NESTED.search(info.filename):
                raise _nested()

    def _check_contents(self) -> None:
        """Inflate everything once: sizes by counting, document types by looking."""
        total = 0
        for info in self._zip.infolist():
            size = 0
            tail = b""
            for block in self._inflate(info):
                if size == 0 and block.startswith(b"PK\x03\x04") and not _OFFICE.search(info.filename):
                    raise _nested()
                size += len(block)
                total += len(block)
                if total > MAX_INFLATED_BYTES:
                    raise failure("document.unsafe_archive", "The file inflates to more than 200 MB.")
                if size > RATIO_FROM_BYTES and size > MAX_RATIO * max(1, info.compress_size):
                    raise failure(
                        "document.unsafe_archive", f"A part of the file inflates to over {MAX_RATIO} times its size."
                    )
                if _is_xml(info.filename):
                    tail = self._refuse_dtd(tail + block)

    def _refuse_dtd(self, data: bytes) -> bytes:
        if self._forbidden.search(data):
            raise failure(
                "document.unsafe_archive", "The file declares an XML document type, which Office files never do."
            )
        return data[-32:]  # a declaration may lie across two blocks

    def _inflate(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        try:
            with self._zip.open(info) as member:
                while block := member.read(_BLOCK_BYTES):
                    yield block
        except _BROKEN as exc:
            raise failure("document.corrupt", f"The file's part {info.filename[:100]} is damaged.") from exc


def _nested() -> Exception:
    return failure("document.unsafe_archive", "The file holds an archive within itself.")


def _is_xml(name: str) -> bool:
    return name.lower().endswith((".xml", ".rels", ".vml", ".xhtml", ".opf", ".ncx"))


def _judge_ole(body: bytes) -> Exception:
    """What an old binary container under a new suffix is: an encrypted file, or a .doc or .xls."""
    names = body.lower()
    if "encryptedpackage".encode("utf-16-le") in names or "encryptioninfo".encode("utf-16-le") in names:
        return failure("document.encrypted")
    return failure(
        "document.legacy_office", "The file is an old binary Office document (.doc, .xls, .ppt) under a new suffix."
    )
