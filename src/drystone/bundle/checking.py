"""Is a bundle what it says? Everything is read: sizes, hashes, every line, and how the lines fit together. Changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TypeVar
from uuid import UUID

import numpy as np
from pydantic import BaseModel

from drystone.adapters.parsing import ARCHIVE
from drystone.bundle import catalogue, contents, observations
from drystone.bundle.container import MANIFEST, Reading, check_bytes, damaged, lines
from drystone.bundle.contents import Blob, Blobs
from drystone.bundle.schema import (
    CATALOGUE,
    OBSERVATIONS,
    BlobLine,
    ChunkLine,
    CollectionLine,
    DocumentLine,
    SchemaPart,
    VersionPart,
    blob_name,
    chunks_name,
)
from drystone.catalogue.bringing import Brought
from drystone.index.spaces import Space

_Line = TypeVar("_Line", bound=BaseModel)


@dataclass(frozen=True)
class Item:
    """A document, its passages and their vectors: float16 (passages, dim)."""

    document: DocumentLine
    chunks: list[ChunkLine]
    vectors: np.ndarray

    @property
    def is_archive(self) -> bool:
        return any(version.file.media_type == ARCHIVE for version in self.document.versions)


def check(bundle: Reading) -> None:
    """Raise Invalid with the first thing that is wrong. Memory holds the catalogue, ids, hashes and one document at a time."""
    if bundle.manifest.format_version == 1 and (bundle.has_catalogue or bundle.has_observations):
        raise damaged("format 1 has neither catalogue nor observations")
    for member in bundle.manifest.members:
        bundle.check(member)
    blobs = _check_blobs(bundle)
    found = list(collections(bundle))
    if len({each.id for each in found}) != len(found) or len({each.name for each in found}) != len(found):
        raise damaged("two collections have the same id or name")
    for collection in found:
        _raise(f"collection {collection.name}", contents.of_collection(collection))
    named = {"collections.ndjson", "documents.ndjson", "blobs.ndjson"}
    named |= {chunks_name(n, kind) for n in range(1, len(found) + 1) for kind in ("ndjson", "npy")}
    named |= {*CATALOGUE} if bundle.has_catalogue else set()
    named |= {*OBSERVATIONS} if bundle.has_observations else set()
    if {member.name for member in bundle.manifest.members} != named or len(bundle.manifest.members) != len(named):
        raise damaged("its manifest names other members than there should be")
    _check_names(bundle, named, blobs)
    named_schemas = {collection.under for collection in found if collection.under is not None}
    named_schemas |= _check_documents(bundle, found, blobs)
    brought = catalogue.check(bundle)
    _check_schemas(bundle, named_schemas, brought)
    observations.check(bundle, brought)


def collections(bundle: Reading) -> Iterator[CollectionLine]:
    """The collections, in their order."""
    return lines(bundle, "collections.ndjson", CollectionLine)


def blobs(bundle: Reading) -> Iterator[BlobLine]:
    """What `blobs/` holds, by hash."""
    return lines(bundle, "blobs.ndjson", BlobLine)


def items(bundle: Reading) -> Iterator[tuple[CollectionLine, Item]]:
    """All documents with their passages, in the order of the bundle. Raises Invalid where lines do not fit together."""
    documents = _Ahead(lines(bundle, "documents.ndjson", DocumentLine))
    for number, collection in enumerate(collections(bundle), start=1):
        chunks = _Ahead(lines(bundle, chunks_name(number, "ndjson"), ChunkLine))
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


def _check_blobs(bundle: Reading) -> dict[str, Blob]:
    found: dict[str, Blob] = {}
    before, size_bytes = "", 0
    for blob in blobs(bundle):
        if blob.sha256 <= before:
            raise damaged("blobs.ndjson is not in order")
        before, size_bytes = blob.sha256, size_bytes + blob.size_bytes
        with bundle.blob(blob_name(blob.sha256), blob) as file:
            reading = contents.Counting(file)
            check_bytes(reading, blob_name(blob.sha256), blob.size_bytes, blob.sha256)
        found[blob.sha256] = Blob(blob.size_bytes, reading.characters)
    if (len(found), size_bytes) != (bundle.manifest.blobs, bundle.manifest.blob_bytes):
        raise damaged("it has other blobs than its manifest says")
    return found


def _check_names(bundle: Reading, named: set[str], blobs: Blobs) -> None:
    wanted = named | {MANIFEST} | {blob_name(sha256) for sha256 in blobs}
    if more := {name for name in bundle.names if not name.endswith("/")} - wanted:
        raise damaged(f"it holds something that nothing names: {min(more)!r}")


def _check_schemas(bundle: Reading, named: set[SchemaPart], brought: Sequence[Brought]) -> None:
    """What documents are under is in the bundle's catalogue, where it has one."""
    there = {each.id: each for each in brought}
    for schema in sorted(named, key=lambda each: str(each.id)) if bundle.has_catalogue else ():
        found = there.get(schema.id)
        if (
            found is None
            or found.key != schema.key
            or schema.kind not in (found.kind, getattr(found.content, "type", ""))
        ):
            raise damaged(f"the {schema.kind} {schema.key!r} that documents are under is not in its catalogue")


def _check_documents(bundle: Reading, found: list[CollectionLine], blobs: Blobs) -> set[SchemaPart]:
    """What documents are under."""
    seen: set[UUID] = set()
    identities: set[bytes] = set()
    under: set[SchemaPart] = set()
    archives: dict[UUID, UUID] = {}  # with their collections
    chunks = 0
    for collection, item in items(bundle):
        document = item.document
        ids = [document.id, *(version.id for version in document.versions)]
        if len(set(ids)) != len(ids) or not seen.isdisjoint(ids):
            raise damaged(f"an id of document {document.id} is there twice")
        of_it = set(contents.identities(document))
        if not identities.isdisjoint(of_it):
            raise damaged(f"document {document.id} is there twice: another has its external_id, bytes or place")
        identities |= of_it
        if document.parent_id is not None and archives.get(document.parent_id) != collection.id:
            raise damaged(f"document {document.id} comes before its archive, or without it")
        seen.update(ids)
        if item.is_archive:
            archives[document.id] = collection.id
        _check_item(bundle, item, blobs)
        if Space(collection.model, collection.dimension).is_callers:
            _raise(f"document {document.id}", contents.of_brought(document, item.chunks))
        chunks += len(item.chunks)
        if document.under is not None:
            under.add(document.under)
    if (sum(each.documents for each in found), chunks) != (bundle.manifest.documents, bundle.manifest.chunks):
        raise damaged("it has other documents or passages than its manifest says")
    return under


def _check_item(bundle: Reading, item: Item, blobs: Blobs) -> None:
    document = item.document
    _raise(f"document {document.id}", contents.of_document(document, blobs))
    current = next((version for version in document.versions if version.is_current), None)
    text = _text(bundle, current, blobs) if current is not None and item.chunks else None
    _raise(f"document {document.id}", contents.of_passages(current, item.chunks, text))
    lengths = np.linalg.norm(item.vectors.astype(np.float32), axis=1)
    if not np.all(np.abs(lengths - 1) < 0.02):
        raise damaged(f"a vector of document {document.id} has not the length 1")


def _text(bundle: Reading, version: VersionPart, blobs: Blobs) -> str | None:
    """The text of a version; None: it is too long to be held."""
    if version.text_sha256 is None:
        return ""
    size_bytes = blobs[version.text_sha256].size_bytes
    if size_bytes > contents.MOST_TEXT_BYTES:
        return None
    blob = BlobLine(sha256=version.text_sha256, size_bytes=size_bytes)
    with bundle.blob(blob_name(blob.sha256), blob) as file:
        return file.read().decode()


def _raise(what: str, wrong: Iterable[str]) -> None:
    for said in wrong:
        raise damaged(f"{what}: {said}")


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
