"""Months: partitions are made ahead and when a row needs one, and are dropped or detached when they are too old.

They belong to the owner of the schema, whose functions do it and hold to their bounds; the application may call these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from drystone.core.db import Sessions, transaction
from drystone.core.errors import Invalid
from drystone.core.logging import get_logger
from drystone.observations import queries

log = get_logger("observations.months")

# So many months after the present one are there before anybody needs them.
AHEAD = 2
# Made in one transaction: each takes some locks, of which PostgreSQL has a few thousand.
_AT_ONCE = 48
# Sixty years of them. Whoever asks without a time takes a lock on each, of which PostgreSQL has some tens of thousands for all.
MOST = 720


def month_of(moment: datetime) -> date:
    """The month (UTC) that a moment is in, by its first day."""
    return moment.astimezone(UTC).date().replace(day=1)


def later(month: date, count: int) -> date:
    """The month so many after this one, or before it."""
    number = month.year * 12 + month.month - 1 + count
    return date(number // 12, number % 12 + 1, 1)


def first_kept(keep_months: int, now: datetime) -> date | None:
    """The first month that is kept, the present one being the last of `keep_months`; None: all are."""
    return later(month_of(now), 1 - keep_months) if keep_months else None


async def ensure(sessions: Sessions, wanted: Iterable[date]) -> None:
    """Have partitions for all of these months. In transactions of their own, so that nobody waits for what fills them.

    Raises Invalid where that would be more than MOST, and makes none then.
    """
    months = sorted(set(wanted))
    async with transaction(sessions) as session:
        missing = await queries.months_missing(session, months)
        if missing and len(await queries.months(session)) + len(missing) > MOST:
            raise _too_many(missing)
    await _make(sessions, missing)


async def _make(sessions: Sessions, missing: Sequence[date]) -> None:
    for start in range(0, len(missing), _AT_ONCE):
        async with transaction(sessions) as session:
            await queries.make_months(session, missing[start : start + _AT_ONCE])
    if missing:
        log.info("observations.months_made", first=str(missing[0]), last=str(missing[-1]), count=len(missing))


def _too_many(missing: Sequence[date]) -> Invalid:
    return Invalid(
        "observations.too_many_months",
        f"There are observations of many months already, and these rows are of {len(missing)} others,"
        f" from {missing[0]:%Y-%m} to {missing[-1]:%Y-%m}: {MOST} months may have some.",
        hint="look for times that are wrong by years; OBSERVATIONS_KEEP_MONTHS ends months that are old",
    )


async def make_ahead(sessions: Sessions, now: datetime) -> None:
    """Have partitions for the present month and those after it, however many there are."""
    months = [later(month_of(now), ahead) for ahead in range(AHEAD + 1)]
    async with transaction(sessions) as session:
        missing = await queries.months_missing(session, months)
    await _make(sessions, missing)


async def end(sessions: Sessions, first: date, *, is_detached: bool = False) -> Sequence[date]:
    """Drop all months before `first`, or detach them: then their tables stay, as the owner's. Which they were."""
    async with transaction(sessions) as session:
        ended = await queries.end_months(session, first, is_detached=is_detached)
    if ended:
        log.info("observations.months_ended", first=str(ended[0]), last=str(ended[-1]), is_detached=is_detached)
    return ended
