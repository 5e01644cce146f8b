"""What a document of a bundle may say: what an upload could have led to, and nothing else. Asks no database.

A line that is well-formed may still name a type that nobody reads, a length that its text has not, a page that is not there.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from drystone.adapters.parsing import ARCHIVE, SUPPORTED
from drystone.bundle.schema import ChunkLine, CollectionLine, DocumentLine, VersionPart
from drystone.core.errors import Invalid
from drystone.core.text import MAX_TITLE
from drystone.documents import archives, chunking, collections, describing, own_vectors
from drystone.index import analysis

MAX_FILE_NAME, MAX_MEMBER_PATH_BYTES = 255, 1000
# Longer ones are not compared with their passages: the limit of a text is PARSE_MAX_TEXT_BYTES, 20 MB unless it was raised.
MOST_TEXT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Blob:
    """characters: code points of it; None: it is no text that could be kept."""

    size_bytes: int
    characters: int | None


Blobs = Mapping[str, Blob]


class Counting:
    """A file that counts the code points of what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self._take(part, is_last=not part)
        return part

    def _take(self, part: bytes, *, is_last: bool) -> None:
        if self._decoder is None:
            return
        try:
            text = self._decoder.decode(part, is_last)
        except UnicodeDecodeError:
            text = "\0"
        self._count += len(text)
        if "\0" in text:
            self._decoder = None

    @property
    def characters(self) -> int | None:
        """Of all that was read; None: it is no UTF-8, or has a NUL."""
        return None if self._decoder is None else self._count


def of_collection(collection: CollectionLine) -> Iterator[str]:
    """What is wrong with it."""
    if collection.language not in (collections.AUTO, *analysis.LANGUAGES):
        yield f"there are no rules for the words of {collection.language!r}"


def of_document(document: DocumentLine, blobs: Blobs) -> Iterator[str]:
    """What is wrong with a document and its versions, beside its passages."""
    try:
        describing.check_attributes(document.attributes)
    except (Invalid, RecursionError) as exc:
        yield getattr(exc, "message", "its attributes are nested too deep")
    if document.title is not None and not 1 <= len(document.title) <= MAX_TITLE:
        yield f"a title has 1 to {MAX_TITLE} characters"
    if (document.parent_id is None) != (document.member_path is None):
        yield "it has an archive without a path there, or a path without an archive"
    if document.member_path is not None and not 1 <= len(document.member_path.encode()) <= MAX_MEMBER_PATH_BYTES:
        yield f"a path in an archive takes 1 to {MAX_MEMBER_PATH_BYTES} bytes"
    for name in (document.name, *(version.name for version in document.versions)):
        if name is not None and not (1 <= len(name) <= MAX_FILE_NAME and name.isprintable()):
            yield f"a file's name has 1 to {MAX_FILE_NAME} characters that can be shown"
    numbers = [version.number for version in document.versions]
    current = [version for version in document.versions if version.is_current]
    if numbers != sorted(set(numbers)) or len(current) > 1:
        yield "its versions are not in order"
    if any(version.state != "ready" for version in current):
        yield "the current version is not ready"
    for version in document.versions:
        for said in _of_version(version, blobs):
            yield f"version {version.number}: {said}"


def _of_version(version: VersionPart, blobs: Blobs) -> Iterator[str]:
    file = blobs.get(version.file.sha256)
    if file is None:
        yield f"blob {version.file.sha256} is not in it"
    elif file.size_bytes != version.file.size_bytes:
        yield f"its file has {file.size_bytes} bytes, not {version.file.size_bytes}"
    is_refused = version.state == "failed" and version.file.media_type == archives.NO_TYPE
    if version.file.media_type not in SUPPORTED and not is_refused:
        yield f"nothing here reads {version.file.media_type!r}"
    if version.file.size_bytes == 0 and version.state != "failed":
        yield "its file is empty"
    if version.text_sha256 is not None and version.text_sha256 not in blobs:
        yield f"blob {version.text_sha256} is not in it"
    if version.state == "failed" and not (version.error_code and version.error_message):
        yield "it failed without a reason"
    if version.state == "ready":
        yield from _of_ready(version, blobs)


def _of_ready(version: VersionPart, blobs: Blobs) -> Iterator[str]:
    if version.ready_at is None or version.chunk_count is None:
        yield "it is ready, and says neither when nor how many passages it has"
    if version.text_sha256 is None:
        if version.file.media_type != ARCHIVE or version.chunk_count or version.page_starts or version.text_length:
            yield "it has no text"
        return
    text = blobs.get(version.text_sha256)
    if text is not None and (text.characters is None or text.characters != version.text_length):
        found = "is none that could be kept" if text.characters is None else f"has {text.characters} characters"
        yield f"its text {found}, not {version.text_length} characters"
    if version.language not in analysis.LANGUAGES:
        yield f"it is in a language without rules: {version.language!r}"
    starts = version.page_starts or []
    if starts != sorted(starts) or (starts and starts[-1] > (version.text_length or 0)):
        yield "its pages are not in order, or begin after its end"


def of_brought(document: DocumentLine, chunks: Sequence[ChunkLine]) -> Iterator[str]:
    """What is wrong with a document of a collection whose vectors callers bring: it is one passage, whatever is said of it."""
    if document.parent_id is not None:
        yield "it is of an archive, and no file came there"
    if any(version.state != "ready" for version in document.versions) or not document.versions[-1].is_current:
        yield "a version of it is not ready"
    elif len(chunks) != 1 or len(chunks[0].text) != document.versions[-1].text_length:
        yield "it is not one passage"
    for version in document.versions:
        if version.file.sha256 != version.text_sha256 or version.file.media_type != own_vectors.MEDIA_TYPE:
            yield f"version {version.number}: its file is not its text"
        if not 1 <= (version.text_length or 0) <= own_vectors.MAX_TEXT:
            yield f"version {version.number}: a text has 1 to {own_vectors.MAX_TEXT:,} characters"


def identities(document: DocumentLine) -> Iterator[bytes]:
    """Hashes of what no other document of the bundle may have: it is known again by each."""
    place = str(document.collection_id)
    if document.external_id is not None:
        yield _hashed("external_id", place, document.external_id)
    if document.parent_id is not None:
        yield _hashed("member", str(document.parent_id), document.member_path or "")
    elif document.external_id is None:
        yield _hashed("bytes", place, document.sha256)


def _hashed(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()[:16]


def of_passages(version: VersionPart | None, chunks: Sequence[ChunkLine], text: str | None) -> Iterator[str]:
    """What is wrong with the passages of the current version. text: it; None: it is too long to be compared."""
    expected = (version.chunk_count if version is not None else 0) or 0
    if [chunk.ordinal for chunk in chunks] != list(range(expected)):
        yield "it has other passages than its version says"
        return
    end, start = 0, 0
    for chunk in chunks:
        assert version is not None, "there are none without"
        content = chunking.content(chunk.title_path, chunk.text)
        if hashlib.sha256(content.encode()).hexdigest() != chunk.content_hash:
            yield f"passage {chunk.ordinal} is not what its hash says"
        if "\x1f" in "".join(chunk.title_path) or not all(chunk.title_path):
            yield f"passage {chunk.ordinal} has titles that no text has"
        is_placed = start <= chunk.start < chunk.end <= (version.text_length or 0)
        if not is_placed or chunk.end - chunk.start != len(chunk.text):
            yield f"passage {chunk.ordinal} is not where it says, or not in order"
        elif text is not None and text[chunk.start : chunk.end] != chunk.text:
            yield f"passage {chunk.ordinal} is not what the text says there"
        elif text is not None and chunk.space_before not in (None, text[end : chunk.start]):
            yield f"passage {chunk.ordinal} has another space before it than the text"
        if chunk.page is not None and not 1 <= chunk.page <= len(version.page_starts or []):
            yield f"passage {chunk.ordinal} is on a page that is not there"
        start, end = chunk.start, chunk.end
