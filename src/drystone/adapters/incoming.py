"""Objects that senders put into the store by themselves, under `incoming/`, until they are received or abandoned.

Nothing there is trusted: it is read and hashed before it becomes a blob. Also ends uploads in parts that nobody finished.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import httpx

from drystone.adapters.network import is_loopback
from drystone.adapters.objects import Objects
from drystone.adapters.signing import presign
from drystone.core.clock import utc_now
from drystone.core.errors import Unavailable
from drystone.core.settings import S3Settings
from drystone.core.spool import Spool

_PREFIX = "incoming"
_ANSWER_S = 10.0
_UPLOAD = re.compile(r"<Upload>(.*?)</Upload>", re.DOTALL)


class Arrived(NamedTuple):
    """One object in a listing."""

    upload_id: UUID
    modified_at: datetime


class Incoming:
    """What senders put by themselves. Methods raise as those of `Objects` do."""

    def __init__(self, objects: Objects, settings: S3Settings) -> None:
        self._objects = objects
        self._settings = settings

    def url(self, upload_id: UUID, *, size_bytes: int, expires_s: int) -> str:
        """Where to PUT exactly so many bytes, for so long."""
        headers = {"content-length": str(size_bytes)}
        key = _key(upload_id)
        return presign(self._settings, "PUT", key, now=utc_now(), expires_s=expires_s, headers=headers)

    async def fetch(self, upload_id: UUID, spool: Spool, *, max_bytes: int) -> None:
        """Read what was put into a spool, which is finished then; not much more than max_bytes of it.

        Raises NotFound where nothing was put.
        """
        async with aclosing(self._objects.stream_key(_key(upload_id))) as parts:
            async for part in parts:
                await spool.write(part)
                if spool.size_bytes > max_bytes:
                    break
        await spool.finish()

    async def delete(self, upload_id: UUID) -> None:
        """Remove what was put; nothing happens where it is not there."""
        await self._objects.delete_key(_key(upload_id))

    async def list(self) -> AsyncIterator[Arrived]:
        """All that lies there."""
        async for key, modified_at in self._objects.list_keys(_PREFIX):
            yield Arrived(UUID(key.removeprefix(f"{_PREFIX}/")), modified_at)

    async def end_abandoned(self, *, older_than_s: float) -> int:
        """End uploads in parts that were begun so long ago and never finished; how many. Their parts take space."""
        before = utc_now() - timedelta(seconds=older_than_s)
        ended = 0
        async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=not self._is_local) as client:
            listed = (await self._ask(client, "GET", "", {"uploads": ""})).text
            for upload in _UPLOAD.findall(listed):
                if datetime.fromisoformat(_field(upload, "Initiated")).astimezone(UTC) < before:
                    await self._ask(client, "DELETE", _field(upload, "Key"), {"uploadId": _field(upload, "UploadId")})
                    ended += 1
        return ended

    @property
    def _is_local(self) -> bool:
        return is_loopback(self._settings.parts.host)

    async def _ask(self, client: httpx.AsyncClient, method: str, key: str, query: dict[str, str]) -> httpx.Response:
        url = presign(self._settings, method, key, now=utc_now(), expires_s=60, query=query)
        try:
            answer = await client.request(method, url)
        except httpx.TransportError as exc:
            raise _no_answer(repr(exc)) from exc
        if not answer.is_success and answer.status_code != 404:  # somebody else ended it
            raise _no_answer(f"HTTP {answer.status_code}")
        return answer


def _key(upload_id: UUID) -> str:
    return f"{_PREFIX}/{upload_id}"


def _field(upload: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", upload, re.DOTALL)
    return found[1] if found else ""


def _no_answer(reason: str) -> Unavailable:
    return Unavailable(
        "objects.unavailable",
        "There is no usable answer from the S3 store.",
        hint='see "drystone status" and "drystone logs objects"',
        reason=reason,
    )
