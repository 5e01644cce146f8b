"""What each key may upload between two midnights UTC, counted in PostgreSQL in the upload's own transaction.

Parallel uploads cannot exceed a limit together: the counting statement holds the row until the commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Limits, Principal
from drystone.core.clock import utc_now
from drystone.core.errors import Denied


@dataclass(frozen=True)
class Usage:
    """What was uploaded since midnight, what may be (None: no limit), and seconds until the count starts anew."""

    documents: int
    bytes: int
    limits: Limits
    resets_in_s: int


async def usage(session: AsyncSession, principal: Principal) -> Usage:
    """The caller's own."""
    row = (await session.execute(_USED, _whose(principal))).one_or_none()
    documents, size_bytes = (row.documents, row.bytes) if row else (0, 0)
    return Usage(documents, size_bytes, principal.limits, _until_midnight_s(utc_now()))


async def count(session: AsyncSession, principal: Principal, size_bytes: int, *, documents: int = 1) -> None:
    """Add versions of this size together to what the caller used today.

    documents: how many; 0 where bytes are kept of which no document is made yet.
    Raises Denied: `quota.exceeded`, or `quota.too_small` where no day has room for that.
    """
    limits = principal.limits
    given = _whose(principal) | {
        "bytes": size_bytes,
        "documents": documents,
        "max_documents": limits.documents_per_day,
        "max_bytes": limits.bytes_per_day,
    }
    if (await session.execute(_COUNT, given)).first() is None:
        raise _refusal(await usage(session, principal), size_bytes, documents)


async def check(session: AsyncSession, principal: Principal, size_bytes: int) -> None:
    """Raise what `count` would, before anything is received. Where there is no limit nothing is asked."""
    limits = principal.limits
    if limits.documents_per_day is None and limits.bytes_per_day is None:
        return
    used = await usage(session, principal)
    if _is_above(used.documents + 1, limits.documents_per_day) or _is_above(
        used.bytes + size_bytes, limits.bytes_per_day
    ):
        raise _refusal(used, size_bytes, 1)


def _refusal(used: Usage, size_bytes: int, documents: int) -> Denied:
    limits = used.limits
    if _is_above(documents, limits.documents_per_day) or _is_above(size_bytes, limits.bytes_per_day):
        return _too_small(limits, size_bytes, documents)
    return _exceeded(used)


def _too_small(limits: Limits, size_bytes: int, documents: int) -> Denied:
    """What tomorrow will not be taken either."""
    allowed = [
        f"{limit:,} {name}"
        for name, limit in (("documents", limits.documents_per_day), ("bytes", limits.bytes_per_day))
        if limit is not None
    ]
    return Denied(
        "quota.too_small",
        f"This key may upload {' and '.join(allowed)} a day; this request has documents: {documents:,}, bytes: {size_bytes:,}.",
        hint="send less at once; GET /api/v1/usage shows what a day has, an admin may raise it",
    )


def _exceeded(used: Usage) -> Denied:
    """The refusal, with the header fields of draft-ietf-httpapi-ratelimit-headers."""
    limits = used.limits
    policies, states = [], []
    for name, limit, now in (
        ("documents", limits.documents_per_day, used.documents),
        ("bytes", limits.bytes_per_day, used.bytes),
    ):
        if limit is not None:
            unit = ';qu="content-bytes"' if name == "bytes" else ""
            policies.append(f'"{name}";q={limit};w=86400{unit}')
            states.append(f'"{name}";r={max(0, limit - now)};t={used.resets_in_s}')
    return Denied(
        "quota.exceeded",
        "This key's uploads of today are used up: "
        f"{_of(used.documents, limits.documents_per_day)} documents and {_of(used.bytes, limits.bytes_per_day)} bytes so far.",
        hint="the count starts anew at midnight UTC; GET /api/v1/usage shows it, an admin may raise it",
        status=429,
        retry_after_s=used.resets_in_s,
        headers={"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)},
    )


def _of(used: int, limit: int | None) -> str:
    return f"{used:,}" if limit is None else f"{used:,} of {limit:,}"


def _is_above(value: int, limit: int | None) -> bool:
    return limit is not None and value > limit


def _whose(principal: Principal) -> dict[str, Any]:
    return {"workspace_id": principal.workspace_id, "actor": principal.actor}


def _until_midnight_s(now: datetime) -> int:
    midnight = (now + timedelta(days=1)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(1, int((midnight - now).total_seconds()))


_USED = text("""
select documents, bytes from upload_usage
where workspace_id = :workspace_id and actor = :actor and day = cast(now() at time zone 'utc' as date)
""")

_COUNT = text("""
insert into upload_usage as used (workspace_id, actor, day, documents, bytes)
select :workspace_id, :actor, cast(now() at time zone 'utc' as date), cast(:documents as bigint), cast(:bytes as bigint)
where cast(:documents as bigint) <= coalesce(cast(:max_documents as bigint), cast(:documents as bigint))
  and cast(:bytes as bigint) <= coalesce(cast(:max_bytes as bigint), cast(:bytes as bigint))
on conflict (workspace_id, actor, day) do update
set documents = used.documents + excluded.documents, bytes = used.bytes + excluded.bytes
where used.documents + excluded.documents <= coalesce(cast(:max_documents as bigint), used.documents + excluded.documents)
  and used.bytes + excluded.bytes <= coalesce(cast(:max_bytes as bigint), used.bytes + excluded.bytes)
returning documents
""")
