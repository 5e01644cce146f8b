"""Is a bundle what it says? Everything is read: sizes, hashes, every line, and how the lines fit together. Changes nothing."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TypeVar
from uuid import UUID

import numpy as np
from pydantic import BaseModel, ValidationError

from drystone.bundle.container import MANIFEST, Reading, check_bytes, damaged
from drystone.bundle.schema import BlobLine, ChunkLine, CollectionLine, DocumentLine, blob_name, chunks_name
from drystone.documents import chunking

_Line = TypeVar("_Line", bound=BaseModel)


@dataclass(frozen=True)
class Item:
    """A document, its passages and their vectors: float16 (passages, dim)."""

    document: DocumentLine
    chunks: list[ChunkLine]
    vectors: np.ndarray


def check(bundle: Reading) -> None:
    """Raise Invalid with the first thing that is wrong. Memory holds ids, hashes and one document at a time."""
    for member in bundle.manifest.members:
        bundle.check(member)
    blobs = _check_blobs(bundle)
    found = list(collections(bundle))
    if len({each.id for each in found}) != len(found) or len({each.name for each in found}) != len(found):
        raise damaged("two collections have the same id or name")
    named = {"collections.ndjson", "documents.ndjson", "blobs.ndjson"}
    named |= {chunks_name(n, kind) for n in range(1, len(found) + 1) for kind in ("ndjson", "npy")}
    if {member.name for member in bundle.manifest.members} != named or len(bundle.manifest.members) != len(named):
        raise damaged("its manifest names other members than there should be")
    _check_names(bundle, named, blobs)
    _check_documents(bundle, found, blobs)


def collections(bundle: Reading) -> Iterator[CollectionLine]:
    """The collections, in their order."""
    return _lines(bundle, "collections.ndjson", CollectionLine)


def blobs(bundle: Reading) -> Iterator[BlobLine]:
    """What `blobs/` holds, by hash."""
    return _lines(bundle, "blobs.ndjson", BlobLine)


def items(bundle: Reading) -> Iterator[tuple[CollectionLine, Item]]:
    """All documents with their passages, in the order of the bundle. Raises Invalid where lines do not fit together."""
    documents = _Ahead(_lines(bundle, "documents.ndjson", DocumentLine))
    for number, collection in enumerate(collections(bundle), start=1):
        chunks = _Ahead(_lines(bundle, chunks_name(number, "ndjson"), ChunkLine))
        count = 0
        with bundle.open(chunks_name(number, "npy")) as file:
            _check_header(file, chunks_name(number, "npy"), collection)
            while (document := documents.peek()) is not None and document.collection_id == collection.id:
                next(documents)
                count += 1
                yield collection, _item(document, chunks, file, collection.dimension)
        if count != collection.documents or chunks.peek() is not None:
            raise damaged(f"collection {collection.name} has other documents or passages than it says")
    if documents.peek() is not None:
        raise damaged("documents.ndjson has documents of no collection, or not in order")


def _item(document: DocumentLine, chunks: _Ahead[ChunkLine], file: IO[bytes], dimension: int) -> Item:
    own = []
    while (chunk := chunks.peek()) is not None and chunk.document_id == document.id:
        own.append(next(chunks))
    raw = file.read(len(own) * dimension * 2)
    if len(raw) != len(own) * dimension * 2:
        raise damaged("there are fewer vectors than passages")
    return Item(document, own, np.frombuffer(raw, "<f2").reshape(len(own), dimension))


def _check_header(file: IO[bytes], name: str, collection: CollectionLine) -> None:
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise damaged(f"{name} is no .npy file of version 1.0")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=10_000)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as exc:
        raise damaged(f"{name} is no .npy file: {str(exc)[:100]}") from exc
    if (shape, is_fortran, dtype) != ((collection.chunks, collection.dimension), False, np.dtype("<f2")):
        raise damaged(f"{name} does not hold {collection.chunks} vectors of {collection.dimension} halves")


def _check_blobs(bundle: Reading) -> set[bytes]:
    found: set[bytes] = set()
    before, size_bytes = "", 0
    for blob in blobs(bundle):
        if blob.sha256 <= before:
            raise damaged("blobs.ndjson is not in order")
        before, size_bytes = blob.sha256, size_bytes + blob.size_bytes
        with bundle.blob(blob_name(blob.sha256), blob) as file:
            check_bytes(file, blob_name(blob.sha256), blob.size_bytes, blob.sha256)
        found.add(bytes.fromhex(blob.sha256))
    if (len(found), size_bytes) != (bundle.manifest.blobs, bundle.manifest.blob_bytes):
        raise damaged("it has other blobs than its manifest says")
    return found


def _check_names(bundle: Reading, named: set[str], blobs: set[bytes]) -> None:
    wanted = named | {MANIFEST} | {blob_name(sha256.hex()) for sha256 in blobs}
    if more := {name for name in bundle.names if not name.endswith("/")} - wanted:
        raise damaged(f"it holds something that nothing names: {min(more)!r}")


def _check_documents(bundle: Reading, found: list[CollectionLine], blobs: set[bytes]) -> None:
    seen: set[UUID] = set()
    chunks = 0
    for _, item in items(bundle):
        document = item.document
        ids = [document.id, *(version.id for version in document.versions)]
        if len(set(ids)) != len(ids) or not seen.isdisjoint(ids):
            raise damaged(f"an id of document {document.id} is there twice")
        if document.parent_id is not None and (document.parent_id not in seen or document.member_path is None):
            raise damaged(f"document {document.id} comes before its archive")
        seen.update(ids)
        _check_versions(item, blobs)
        chunks += len(item.chunks)
    if (sum(each.documents for each in found), chunks) != (bundle.manifest.documents, bundle.manifest.chunks):
        raise damaged("it has other documents or passages than its manifest says")


def _check_versions(item: Item, blobs: set[bytes]) -> None:
    document = item.document
    numbers = [version.number for version in document.versions]
    current = [version for version in document.versions if version.is_current]
    if numbers != sorted(set(numbers)) or len(current) > 1:
        raise damaged(f"the versions of document {document.id} are not in order")
    for version in document.versions:
        wanted = [version.file.sha256, *([version.text_sha256] if version.text_sha256 else [])]
        if lacking := [sha256 for sha256 in wanted if bytes.fromhex(sha256) not in blobs]:
            raise damaged(f"blob {lacking[0]} of document {document.id} is not in it")
        if version.state == "failed" and (version.error_code is None or version.error_message is None):
            raise damaged(f"a version of document {document.id} failed without a reason")
    if current and (current[0].state != "ready" or (item.chunks and current[0].text_sha256 is None)):
        raise damaged(f"the current version of document {document.id} is not ready")
    expected = (current[0].chunk_count if current else 0) or 0
    if [chunk.ordinal for chunk in item.chunks] != list(range(expected)):
        raise damaged(f"document {document.id} has other passages than its version says")
    for chunk in item.chunks:
        content = chunking.content(chunk.title_path, chunk.text)
        if (
            chunk.end - chunk.start != len(chunk.text)
            or hashlib.sha256(content.encode()).hexdigest() != chunk.content_hash
        ):
            raise damaged(f"a passage of document {document.id} is not what its hash says")
        if "\x00" in content or "\x1f" in "".join(chunk.title_path):
            raise damaged(f"a passage of document {document.id} has characters that no text has")
    lengths = np.linalg.norm(item.vectors.astype(np.float32), axis=1)
    if not np.all(np.abs(lengths - 1) < 0.02):
        raise damaged(f"a vector of document {document.id} has not the length 1")


def _lines(bundle: Reading, name: str, kind: type[_Line]) -> Iterator[_Line]:
    for number, raw in enumerate(bundle.lines(name), start=1):
        try:
            yield kind.model_validate_json(raw)
        except (ValidationError, ValueError, RecursionError) as exc:
            raise damaged(f"line {number} of {name}: {_told(exc)}") from exc


def _told(exc: Exception) -> str:
    if not isinstance(exc, ValidationError):
        return "cannot be read"
    first = exc.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])} {first['msg']}"


class _Ahead(Iterator[_Line]):
    """An iterator whose next one can be looked at."""

    def __init__(self, of: Iterator[_Line]) -> None:
        self._of = of
        self._held: list[_Line] = []

    def __next__(self) -> _Line:
        return self._held.pop() if self._held else next(self._of)

    def peek(self) -> _Line | None:
        """The next one, which stays the next; None at the end."""
        if not self._held:
            self._held.extend(itertools.islice(self._of, 1))
        return self._held[0] if self._held else None
