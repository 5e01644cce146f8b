"""Times in a query: an age, or a moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from drystone.core.errors import Invalid, pointer_to

_AGE = re.compile(r"(\d{1,6})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(name: str, given: str | None, zone: tzinfo = UTC) -> datetime | None:
    """What the parameter `name` says: `2h` is so long ago, a time without a zone is of this one. Raises Invalid."""
    if given is None:
        return None
    try:
        if match := _AGE.fullmatch(given):
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        found = datetime.fromisoformat(given)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise Invalid(
            "request.bad_time",
            f"{name} is neither an age nor a time within the years 1 to 9999 (UTC).",
            hint="for example 15m, 2h, 7d or 2026-11-21T20:00:00Z",
            pointer=pointer_to(name),
        ) from exc
