"""Blobs under their SHA-256, in S3 or in a folder.

Only what both stores do alike is used: create once, read, list, delete. Media types and names live in PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import obstore
from obstore import exceptions
from obstore.store import LocalStore, S3Store

from drystone.adapters.network import is_loopback
from drystone.core import measures, strangers, tracing
from drystone.core.errors import Conflict, NotFound, Unavailable
from drystone.core.logging import get_logger
from drystone.core.settings import S3Settings
from drystone.core.spool import FULL, write_all

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Credential

# Larger bodies go up in parts of this size, a few at a time: memory stays below the product of both.
# Measured for 192 MB: 8 MB three at once take 56 MB, 5 MB two at once 20 MB, in the same time.
_PART_BYTES = 5 * 1024 * 1024
_PARTS_AT_ONCE = 2
# Bodies that go up in parts at the same time, in one process; the others wait their turn.
_LARGE_AT_ONCE = 2
# A store that has not answered by then is away. Moving bytes adds time at the slowest rate that still counts as working.
_ANSWER_S = 4.0
_SLOWEST_BYTES_PER_S = 1_000_000
_RETRY_AFTER_S = 5
# Hashing less than this costs less than the trip to a thread.
_HASH_INLINE_BYTES = 256 * 1024

_PREFIX = "sha256"
_KEY = re.compile(rf"{_PREFIX}/[0-9a-f]{{2}}/([0-9a-f]{{64}})")

log = get_logger(__name__)


class StoredObject(NamedTuple):
    """One blob in a listing."""

    sha256: bytes
    size_bytes: int
    modified_at: datetime


class Objects:
    """A content-addressed store: what lies under a hash is written once and never changes.

    Every method raises Unavailable("objects.unavailable") within a few seconds when the store is away, and
    Unavailable("objects.denied") when it refuses the key.
    """

    def __init__(
        self, store: ObjectStore, name: str, *, store_once: ObjectStore | None = None, variables: str = "S3_"
    ) -> None:
        self._store = store
        self._store_once = store_once or store  # the same, and what it is asked it is asked once
        self._name = name
        self._variables = variables
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    @classmethod
    def open_s3(cls, settings: S3Settings, *, prefix: str = "", variables: str = "S3_") -> Objects:
        """The bucket of the settings; it must exist. Nothing is sent yet.

        prefix: what all keys begin with. variables: what those of the settings begin with, for messages.
        """
        return cls(
            _open(settings, _RETRIES, prefix),
            f"the S3 store at {settings.endpoint_url}",
            store_once=_open(settings, _NO_RETRIES, prefix),
            variables=variables,
        )

    @classmethod
    def open_folder(cls, folder: Path) -> Objects:
        """A folder of this machine, made if it is not there."""
        return cls(LocalStore(folder, mkdir=True), f"the folder {folder}")

    async def put(self, sha256: bytes, body: bytes | Path | BinaryIO, *, force: bool = False) -> bool:
        """Keep body under its hash; True if it was not there before.

        The caller vouches for the hash. A path or file is read from its start and never held in memory whole when it is
        large. What is there already with another size was damaged, and is written again: it was there before. With
        `force` it is written again in any case.
        """
        key = _key(sha256)
        size = _size_of(body)
        # SeaweedFS lets racing creates of one key poll for its lock once a second (1 to 5 s for 16 racers, against 30 ms
        # one after the other), so this process queues its own.
        turn = self._large if size > _PART_BYTES else contextlib.nullcontext()
        async with turn, self._calling("put", size), self._writing.setdefault(key, asyncio.Lock()):
            if not force and size <= _PART_BYTES and await self._create(key, body):
                return True
            if (there := await self._find(key)) == size and not force:
                return False
            if there is not None:
                log.warning("objects.damaged", key=key, size_bytes=there, expected_bytes=size, action="written again")
            await self._overwrite(key, body, size)
            return there is None

    async def get(self, sha256: bytes) -> bytes:
        """The whole blob, its hash checked. Raises NotFound, or Unavailable("objects.corrupt") for wrong bytes."""
        key = _key(sha256)
        async with self._calling("get", key=key):
            result = await obstore.get_async(self._store, key)
        async with self._calling("get", result.meta["size"], key=key):
            body = bytes(await result.bytes_async())
        found = (
            hashlib.sha256(body) if len(body) < _HASH_INLINE_BYTES else await asyncio.to_thread(hashlib.sha256, body)
        )
        self._check_hash(sha256, found.digest())
        return body

    async def stream(
        self, sha256: bytes, *, chunk_size: int = 1024 * 1024, size_bytes: int | None = None
    ) -> AsyncIterator[bytes]:
        """The blob in chunks of at least chunk_size bytes, the last one shorter.

        The last chunk is given only after the hash of all was found right: a reader never takes wrong bytes for a
        complete blob. Raises as `get` does, NotFound before the first chunk, and so is another size than size_bytes.
        """
        key = _key(sha256)
        async with self._calling("get", key=key):
            result = await obstore.get_async(self._store, key)
        if size_bytes is not None and result.meta["size"] != size_bytes:
            raise self._corrupt(sha256, found=f"{result.meta['size']} bytes")
        chunks = aiter(result.stream(min_chunk_size=chunk_size))
        digest = hashlib.sha256()
        held: bytes | None = None
        while True:
            async with self._calling("get", chunk_size, key=key):
                chunk = await anext(chunks, None)
            if chunk is None:
                break
            digest.update(chunk)
            if held is not None:
                yield held
            held = bytes(chunk)
        self._check_hash(sha256, digest.digest())
        if held is not None:
            yield held

    async def copy_to(self, sha256: bytes, file: BinaryIO) -> None:
        """Write the blob into an open file, piece by piece. Raises as `stream` does; the file then holds a part of it."""
        async for chunk in self.stream(sha256, chunk_size=_PART_BYTES):
            await asyncio.to_thread(write_all, file, chunk)

    async def put_key(self, key: str, body: bytes) -> None:
        """Write a small object that is no blob: whole or not at all, in the place of one that is there."""
        async with self._calling("put", len(body)):
            await obstore.put_async(self._store, key, body, use_multipart=False)

    async def read_key(self, key: str, *, most_bytes: int) -> bytes:
        """A small object that is no blob. Raises NotFound, or Unavailable("objects.too_large") for more than most_bytes."""
        async with self._calling("get", key=key):
            result = await obstore.get_async(self._store, key)
        if result.meta["size"] > most_bytes:
            raise Unavailable("objects.too_large", f"{key} in {self._name} has more than {most_bytes} bytes.")
        async with self._calling("get", most_bytes, key=key):
            return bytes(await result.bytes_async())

    async def stream_key(self, key: str) -> AsyncGenerator[bytes]:
        """An object that is no blob, piece by piece, unchecked. Raises NotFound."""
        async with self._calling("get", key=key):
            chunks = aiter((await obstore.get_async(self._store, key)).stream(min_chunk_size=_HASH_INLINE_BYTES))
        while True:
            async with self._calling("get", _HASH_INLINE_BYTES, key=key):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield bytes(chunk)

    async def delete_key(self, key: str) -> None:
        """Remove an object that is no blob; nothing happens when it is not there."""
        async with self._calling("delete"):
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)

    async def list_keys(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        """Keys below a prefix, and when each was last written."""
        async for meta in self._list(prefix):
            yield meta["path"], meta["last_modified"]

    async def exists(self, sha256: bytes) -> bool:
        return await self._find(_key(sha256)) is not None

    async def size(self, sha256: bytes) -> int:
        """Bytes of the blob. Raises NotFound."""
        if (size := await self._find(_key(sha256))) is None:
            raise _not_found(_key(sha256))
        return size

    async def modified_at(self, sha256: bytes) -> datetime | None:
        """When the blob was last written, by the store's clock; None when it is not there."""
        async with self._calling("head"):
            try:
                return (await obstore.head_async(self._store, _key(sha256)))["last_modified"]
            except FileNotFoundError:
                return None

    async def delete(self, sha256: bytes) -> None:
        """Remove the blob; nothing happens when it is not there.

        The store is asked once: when this raises Unavailable the removal may still be carried out, and only that one.
        """
        async with self._calling("delete"):
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(self._store_once, _key(sha256))

    async def list(self, first_byte: int | None = None) -> AsyncGenerator[StoredObject]:
        """Every blob, in no order that both stores share; other keys in the bucket are passed over.

        first_byte: only those whose hash begins with it, a 256th of all.
        """
        prefix = _PREFIX if first_byte is None else f"{_PREFIX}/{first_byte:02x}"
        async for meta in self._list(prefix):
            if match := _KEY.fullmatch(meta["path"]):
                yield StoredObject(bytes.fromhex(match[1]), meta["size"], meta["last_modified"])

    async def _list(self, prefix: str) -> AsyncIterator[ObjectMeta]:
        pages = aiter(obstore.list(self._store, prefix=prefix, chunk_size=1000))
        while True:
            async with self._calling("list"):
                page = await anext(pages, None)
            if page is None:
                return
            for meta in page:
                yield meta

    async def check(self) -> None:
        """Ask the store something small. Raises Unavailable when it cannot be used, a missing bucket included."""
        async with self._calling("check"):
            await anext(aiter(obstore.list(self._store, prefix=_PREFIX, chunk_size=1)), None)

    async def refuse_strangers(self, settings: S3Settings) -> None:
        """Raise Conflict where the bucket can be listed or read without a signature, and Unavailable where nobody answers."""
        key = f"drystone-probe/{secrets.token_hex(8)}"
        async with self._calling("check"):
            await obstore.put_async(self._store, key, b"probe", use_multipart=False)
            try:
                found = await asyncio.to_thread(strangers.allowed, settings, key)
            finally:
                await obstore.delete_async(self._store, key)
        if found is not None:
            raise Conflict(
                "objects.open",
                f"Whoever reaches {self._name} may {found} in the bucket {settings.bucket} without a key.",
                hint="remove its policy or ACL for everybody, or set credentials in the store; the bucket holds every document",
            )

    async def _find(self, key: str) -> int | None:
        """The blob's size, or None."""
        async with self._calling("head"):
            try:
                return (await obstore.head_async(self._store, key))["size"]
            except FileNotFoundError:
                return None

    async def _create(self, key: str, body: bytes | Path | BinaryIO) -> bool:
        try:
            await obstore.put_async(self._store, key, body, mode="create", use_multipart=False)
        except exceptions.AlreadyExistsError:
            return False
        return True

    async def _overwrite(self, key: str, body: bytes | Path | BinaryIO, size: int) -> None:
        """Write atomically, in parts when it is large. Racers write the same bytes, so the last one does no harm."""
        _size_of(body)  # a file is rewound
        await obstore.put_async(
            self._store,
            key,
            body,
            use_multipart=size > _PART_BYTES,
            chunk_size=_PART_BYTES,
            max_concurrency=_PARTS_AT_ONCE,
        )

    def _check_hash(self, expected: bytes, found: bytes) -> None:
        if found != expected:
            raise self._corrupt(expected, found=found.hex())

    def _corrupt(self, expected: bytes, *, found: str) -> Unavailable:
        log.error("objects.corrupt", expected=expected.hex(), found=found)
        return Unavailable(
            "objects.corrupt",
            f"The bytes in {self._name} are not those that were stored under {expected.hex()[:12]}….",
            hint="restore this object from a backup, or upload the document again",
            sha256=expected.hex(),
        )

    @contextlib.asynccontextmanager
    async def _calling(self, operation: str, moved_bytes: int = 0, *, key: str | None = None) -> AsyncIterator[None]:
        """Bound a call in time, measure it and tell its failures in our words. With a key, a missing object is NotFound."""
        with tracing.span(f"objects {operation}"), measures.outcome_of(measures.OBJECT_SECONDS, operation):
            async with self._explained(moved_bytes, key):
                yield

    @contextlib.asynccontextmanager
    async def _explained(self, moved_bytes: int, key: str | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_ANSWER_S + moved_bytes / _SLOWEST_BYTES_PER_S):
                yield
        except FileNotFoundError as exc:
            if key is None or "NoSuchBucket" in str(exc):
                raise self._explain(exc) from exc
            raise _not_found(key) from exc
        except (exceptions.BaseError, OSError) as exc:  # TimeoutError is an OSError
            raise self._explain(exc) from exc

    def _explain(self, exc: Exception) -> Unavailable:
        said = _S3_CODE.search(str(exc))  # some calls give no kind of error but the store's own words
        reason = said[1] if said else str(exc).split("\n", 1)[0][:300]
        if reason == "NoSuchBucket":
            return Unavailable(
                "objects.no_bucket",
                f"The bucket is missing in {self._name}.",
                hint='"drystone up" makes it; in a store of your own, make the bucket that S3_BUCKET names'
                if self._variables == "S3_"
                else "make the bucket first, or correct its name",
            )
        if reason in _S3_FULL or getattr(exc.__cause__ or exc, "errno", None) in FULL or "(os error 28)" in str(exc):
            return Unavailable(
                "objects.full",
                f"There is no space left in {self._name}.",
                hint="make room on the disk of the object store; everything goes on by itself then",
                reason=reason,
                status=507,
                retry_after_s=30,
            )
        if isinstance(exc, _DENIED) or reason in _S3_DENIED:
            return Unavailable(
                "objects.denied",
                f"Access to {self._name} is denied.",
                hint=f"check {self._variables}ACCESS_KEY_ID and {self._variables}SECRET_ACCESS_KEY, or the folder's permissions",
                reason=reason,
            )
        return Unavailable(
            "objects.unavailable",
            f"There is no usable answer from {self._name}.",
            hint='see "drystone status" and "drystone logs objects"',
            reason=reason or "no answer in time",
            retry_after_s=_RETRY_AFTER_S,
        )


_S3_CODE = re.compile(r"<Code>(\w+)</Code>")
_S3_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"})
# MinIO says so; SeaweedFS answers a plain InternalError, which is told as the store being away.
_S3_FULL = frozenset({"XMinioStorageFull", "InsufficientStorage", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded"})
_DENIED = (exceptions.UnauthenticatedError, exceptions.PermissionDeniedError)

# Refused connections and 5xx are tried again at once, twice; longer waits are the business of whoever has a ledger.
_RETRIES: RetryConfig = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=3),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}

_NO_RETRIES: RetryConfig = _RETRIES | {"max_retries": 0}


def _open(settings: S3Settings, retries: RetryConfig, prefix: str) -> S3Store:
    url = settings.endpoint_url
    return S3Store(
        settings.bucket,
        prefix=prefix or None,
        endpoint=url,
        region=settings.region,
        credential_provider=_credentials(settings),
        skip_signature=False,
        virtual_hosted_style_request=False,
        # SeaweedFS compares the body with this header and not with the hash in the signature: without it, bytes
        # that changed on their way were kept, and acknowledged.
        checksum_algorithm="SHA256",
        client_options=_client_options(url),
        retry_config=retries,
    )


def _client_options(url: str) -> ClientConfig:
    options: ClientConfig = {
        "allow_http": url.startswith("http://"),
        "connect_timeout": timedelta(seconds=2),
        "timeout": timedelta(hours=1),  # each call here has its own, shorter
    }
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        # obstore offers no "no proxy"; naming one and excluding the host keeps HTTP_PROXY of the shell away.
        options["proxy_url"] = url
        options["proxy_excludes"] = host
    return options


def _credentials(settings: S3Settings) -> Callable[[], S3Credential]:
    """Our keys and nothing else: plain arguments would be joined by AWS_SESSION_TOKEN of the shell."""
    credential: S3Credential = {
        "access_key_id": settings.access_key_id,
        "secret_access_key": settings.secret_access_key.get_secret_value(),
        "token": None,
        "expires_at": None,
    }
    return lambda: credential


def _key(sha256: bytes) -> str:
    if len(sha256) != 32:
        raise ValueError(f"a SHA-256 has 32 bytes, not {len(sha256)}")
    return f"{_PREFIX}/{sha256.hex()[:2]}/{sha256.hex()}"


def _not_found(key: str) -> NotFound:
    return NotFound("objects.not_found", "There is no such object in the store.", key=key)


def _size_of(body: bytes | Path | BinaryIO) -> int:
    """Bytes in body; a file stands at its start afterwards."""
    if isinstance(body, bytes):
        return len(body)
    if isinstance(body, Path):
        return body.stat().st_size
    size = body.seek(0, io.SEEK_END)
    body.seek(0)
    return size
