"""Buckets of time: where they begin and end in a time zone, and what is put where nothing was observed. Pure.

Days and longer follow the calendar of the zone: a day in which clocks are changed has 23 or 25 hours. Hours and shorter are
of real time, counted from the midnight in which the year 2000 began in the zone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from drystone.core.errors import Invalid, pointer_to

Fill = Literal["null", "none", "previous", "linear", "zero"]
MOST_POINTS = 200_000
_CALENDAR = {"P1D": "day", "P1W": "week", "P1M": "month", "P3M": "quarter", "P1Y": "year"}
_DAYS = {"day": 1, "week": 7, "month": 28, "quarter": 90, "year": 365}
_FIXED = re.compile(r"PT(\d{1,5})([HMS])")
_SECONDS = {"H": 3600, "M": 60, "S": 1}
_ORIGIN = date(2000, 1, 1)
# Files beside those of zones.
_NO_PLACES = frozenset(["Factory", "localtime", "posixrules"])


@dataclass(frozen=True)
class Bucket:
    """How long a bucket is: so many seconds, or one of the calendar's units (then step is None)."""

    said: str
    step: timedelta | None
    unit: str = ""


@dataclass(frozen=True)
class Edges:
    """Where buckets begin, and last where the last one ends; in UTC. step: None where they differ in length."""

    moments: Sequence[datetime]
    step: timedelta | None

    def __len__(self) -> int:
        return len(self.moments) - 1

    @property
    def is_of_hours(self) -> bool:
        """Whether each edge is the beginning of an hour in UTC, so that buckets are made of whole hours."""
        return all(edge.minute == edge.second == edge.microsecond == 0 for edge in self.moments[:1]) and (
            self.step % timedelta(hours=1) == timedelta(0)
            if self.step
            else all(edge.minute == edge.second == 0 for edge in self.moments)
        )


def parse(said: str) -> Bucket:
    """A bucket as ISO 8601 has durations. Raises Invalid."""
    if unit := _CALENDAR.get(said):
        return Bucket(said, None, unit)
    match = _FIXED.fullmatch(said)
    if match and int(match[1]):
        return Bucket(said, timedelta(seconds=int(match[1]) * _SECONDS[match[2]]))
    raise Invalid(
        "observations.bad_bucket",
        f"{said!r} is no length of buckets.",
        hint=f"PT15M, PT1H, PT6H and so on, or of the calendar {', '.join(_CALENDAR)}",
        pointer=pointer_to("bucket"),
    )


def zone_of(said: str) -> ZoneInfo:
    """A time zone by its name in the IANA database. Raises Invalid."""
    try:
        if said in _NO_PLACES or said.startswith(("posix/", "right/")):
            raise ValueError("the machine's own, none at all, or with leap seconds, which no time here has")
        return ZoneInfo(said)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise Invalid(
            "observations.bad_time_zone",
            f"There is no time zone {said[:60]!r}.",
            hint="as in UTC, Europe/Berlin or Asia/Kolkata",
            pointer=pointer_to("tz"),
        ) from exc


def edges(bucket: Bucket, zone: ZoneInfo, start: datetime, end: datetime, *, before: int = 0, series: int = 1) -> Edges:
    """Whole buckets from the one that `start` is in to the last one that begins before `end`.

    before: so many more in front. series: how many are asked for. Raises Invalid for more points than MOST_POINTS.
    """
    shortest = bucket.step or timedelta(days=_DAYS[bucket.unit])
    if ((end - start) / shortest + before + 1) * series > MOST_POINTS:
        raise Invalid(
            "observations.too_many_points",
            f"That would be more than {MOST_POINTS:,} points.",
            hint="ask for longer buckets, a shorter time or fewer series",
            pointer=pointer_to("bucket"),
        )
    if bucket.step:
        return _fixed(bucket.step, zone, start, end, before)
    return _calendar(bucket.unit, zone, start, end, before)


def _fixed(step: timedelta, zone: ZoneInfo, start: datetime, end: datetime, before: int) -> Edges:
    origin = datetime.combine(_ORIGIN, time.min, zone).astimezone(UTC)
    first = (start - origin) // step - before
    last = -((origin - end) // step)
    try:
        return Edges([origin + n * step for n in range(first, max(last, first + before + 1) + 1)], step)
    except OverflowError as exc:
        raise _beyond_time() from exc


def _calendar(unit: str, zone: ZoneInfo, start: datetime, end: datetime, before: int) -> Edges:
    day = _first_day(unit, start.astimezone(zone).date())
    for _ in range(before):
        day = _earlier(unit, day, zone)
    moments = [midnight(day, zone)]
    while moments[-1] < end or len(moments) < before + 2:
        day = _next(unit, day)
        if (moment := midnight(day, zone)) > moments[-1]:
            moments.append(moment)
    return Edges(moments, None)


def first_day(moment: datetime, zone: tzinfo) -> date:
    """The first day that begins at this moment, or after it."""
    day = moment.astimezone(zone).date()
    return day if midnight(day, zone) >= moment or day == date.max else day + timedelta(days=1)


def _earlier(unit: str, day: date, zone: ZoneInfo) -> date:
    """The day on which the bucket before begins. Some zones have left out a whole day, which was none."""
    begin = midnight(day, zone)
    while midnight(day, zone) >= begin:
        day = _first_day(unit, day - timedelta(days=1))
    return day


def _beyond_time() -> Invalid:
    return Invalid(
        "observations.bad_bucket",
        "Some of these buckets would begin before the year 1, or end after the year 9999.",
        hint="ask for shorter buckets, a smaller window, or another time",
        pointer=pointer_to("bucket"),
    )


def midnight(day: date, zone: tzinfo) -> datetime:
    """The first moment of a day; where clocks leave midnight out, that is the moment they are changed."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def _first_day(unit: str, day: date) -> date:
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "day":
        return day
    month = {"month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1, "year": 1}[unit]
    return day.replace(month=month, day=1)


def _next(unit: str, day: date) -> date:
    if unit in ("day", "week"):
        return day + timedelta(days=_DAYS[unit])
    months = {"month": 1, "quarter": 3, "year": 12}[unit]
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def filled(values: np.ndarray, moments: Sequence[datetime], fill: Fill) -> np.ndarray:
    """Values with gaps (NaN) filled: by 0, by the value before, or on the line between its neighbours. The latter two leave
    both ends as they are."""
    if fill == "zero":
        return np.where(np.isnan(values), 0.0, values)
    known = np.flatnonzero(~np.isnan(values))
    if fill in ("null", "none") or not len(known):
        return values
    made = values.copy()
    first, last = known[0], known[-1]
    if fill == "previous":
        at = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
        made[first:] = values[at][first:]
    else:
        seconds = np.array([moment.timestamp() for moment in moments])
        made[first : last + 1] = np.interp(seconds[first : last + 1], seconds[known], values[known])
    return made


def moving(sums: np.ndarray, counts: np.ndarray, window: int, *, empty_is_zero: bool = False) -> np.ndarray:
    """The mean of all that was observed in a bucket and the window - 1 before it; NaN where there was nothing.

    The first window - 1 buckets are only read. Of sums and counts, so a bucket counts for as much as was observed in it;
    an empty one for nothing, or for one 0.
    """
    if empty_is_zero:
        counts = np.maximum(counts, 1)
    views = np.lib.stride_tricks.sliding_window_view
    all_of, count = views(sums, window).sum(axis=1), views(counts, window).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 0, all_of / count, np.nan)
