"""Idempotency-Key: the same request under the same key gets the answer it got the first time.

A route that changes something takes `once: Once` before its session, and ends with
`return await once.remember(session, response, answer)`; a refused or failed request is not remembered.
A route that reads its body itself opens `begin` when it knows what the body was.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access import idempotency
from drystone.access.idempotency import Kept
from drystone.access.service import Principal
from drystone.core.db import transaction
from drystone.core.errors import DrystoneError, Invalid, pointer_to
from drystone.http.dependencies import Caller, ResourcesOf
from drystone.http.early import Early
from drystone.resources import Resources

_TELLING_HEADERS = ("if-match", "if-none-match", "prefer")
_Answer = TypeVar("_Answer", bound=BaseModel | None)

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x20-\x7e]{1,255}$",
        description="Your name for this request, for 24 hours: sent again, it is answered as it was the first time.",
        examples=["3f1c9c1e-7d1b-4a53-9d3e-0a7c0d1f2b3c"],
    ),
]


class Attempt:
    """One try of a request. Without a key it remembers nothing."""

    def __init__(self, request: Request, token: UUID | None) -> None:
        self._request = request
        self._token = token
        self.is_remembered = False

    async def remember(self, session: AsyncSession, response: Response, answer: _Answer) -> _Answer:
        """Keep this answer in the transaction of the change; gives it back. Call it last, headers and status set."""
        if self._token is not None:
            status = response.status_code or self._request.scope["route"].status_code or 200
            headers = {k: v for k, v in response.headers.items() if not k.startswith("content-")}
            body = None if answer is None else answer.model_dump(mode="json")
            await idempotency.remember(session, self._token, Kept(status, headers, body))
            self.is_remembered = True
        return answer


@asynccontextmanager
async def begin(
    request: Request, resources: Resources, caller: Principal, key: str | None, content_sha256: bytes
) -> AsyncIterator[Attempt]:
    """Try a request under its key. Raises the answer it got before, Conflict while it is in flight, Invalid for another,
    and for several keys.

    content_sha256: of all that the body said; of a form not its boundary, but its fields and the files' hashes.
    """
    if key is None:
        yield Attempt(request, None)
        return
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise Invalid(
            "idempotency.many_keys",
            "The request has more than one Idempotency-Key.",
            hint="send one",
            pointer=pointer_to("Idempotency-Key"),
        )
    async with transaction(resources.sessions.within(caller.reach)) as session:
        taken = await idempotency.take(session, caller, key, _fingerprint(request, caller, content_sha256))
    if isinstance(taken, Kept):
        raise Early(_replay(taken))
    attempt = Attempt(request, taken)
    try:
        yield attempt
    except BaseException:
        await _release(resources, caller, taken)
        raise
    if not attempt.is_remembered:  # nothing was changed: the key is still free
        await _release(resources, caller, taken)


async def get_attempt(
    request: Request, caller: Caller, resources: ResourcesOf, key: Key = None
) -> AsyncIterator[Attempt]:
    content = request.headers.get("content-type", "").encode() + b"\n" + await request.body()
    async with begin(request, resources, caller, key, hashlib.sha256(content).digest()) as attempt:
        yield attempt


# Function scope, and named before the session: a failed request's transaction is over when its key is freed.
Once = Annotated[Attempt, Depends(get_attempt, scope="function")]


def _fingerprint(request: Request, caller: Principal, content_sha256: bytes) -> bytes:
    """A key that may something else now is not told what it was answered before."""
    said = [request.method, request.url.path, request.url.query]
    said += [" ".join(sorted(caller.scopes)), " ".join(sorted(map(str, caller.collection_ids or ["all"])))]
    said += [f"{name}: {', '.join(request.headers.getlist(name))}" for name in _TELLING_HEADERS]
    return hashlib.sha256("\n".join(said).encode() + b"\n" + content_sha256).digest()


def _replay(kept: Kept) -> Response:
    headers: dict[str, Any] = {**kept.headers, "Idempotent-Replayed": "true"}
    if kept.body is None:
        return Response(status_code=kept.status, headers=headers)
    return JSONResponse(kept.body, status_code=kept.status, headers=headers)


async def _release(resources: Resources, caller: Principal, token: UUID) -> None:
    try:
        async with transaction(resources.sessions.within(caller.reach)) as session:
            await idempotency.release(session, token)
    except DrystoneError:
        return  # PostgreSQL is away: the lock ends by itself
