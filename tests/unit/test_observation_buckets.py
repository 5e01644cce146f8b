"""Where buckets begin, through the change of clocks, and what is put into gaps."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from drystone.core.errors import Invalid
from drystone.observations import buckets
from drystone.observations.buckets import Edges

BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
NAN = float("nan")


def edges(said: str, zone: ZoneInfo, start: str, end: str, **how: int) -> Edges:
    return buckets.edges(buckets.parse(said), zone, datetime.fromisoformat(start), datetime.fromisoformat(end), **how)


def hours(found: Edges) -> list[float]:
    return [(b - a) / timedelta(hours=1) for a, b in zip(found.moments, found.moments[1:], strict=False)]


@pytest.mark.parametrize(
    ("start", "end", "lengths"),
    [
        ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z", [24, 23, 24]),
        ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", [24, 25, 24]),
    ],
)
def test_a_day_in_which_clocks_are_changed_has_23_or_25_hours(start: str, end: str, lengths: list[float]) -> None:
    found = edges("P1D", BERLIN, start, end)

    assert hours(found) == lengths
    assert found.is_of_hours
    assert [moment.astimezone(BERLIN).hour for moment in found.moments] == [0, 0, 0, 0]


def test_a_day_without_midnight_begins_when_clocks_are_changed() -> None:
    found = edges("P1D", ZoneInfo("America/Sao_Paulo"), "2018-11-03T12:00:00Z", "2018-11-05T12:00:00Z")

    assert hours(found) == [24, 23, 24]
    assert found.moments[1] == datetime(2018, 11, 4, 3, tzinfo=UTC)


def test_a_day_that_a_zone_left_out_is_no_bucket() -> None:
    apia = ZoneInfo("Pacific/Apia")
    plain = edges("P1D", apia, "2011-12-28T12:00:00Z", "2012-01-02T12:00:00Z")
    after = edges("P1D", apia, "2012-01-01T20:00:00Z", "2012-01-01T21:00:00Z", before=4)

    days = [moment.astimezone(apia).day for moment in plain.moments]
    assert days == [28, 29, 31, 1, 2, 3, 4]
    assert hours(plain) == [24.0] * 6
    assert [moment.astimezone(apia).day for moment in after.moments] == [28, 29, 31, 1, 2, 3]


def test_buckets_from_before_all_time_are_refused() -> None:
    with pytest.raises(Invalid, match="year 1"):
        edges("PT99999H", BERLIN, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", before=999)


@pytest.mark.parametrize("name", ["right/UTC", "posix/UTC", "posixrules", "localtime", "Factory", "../etc/passwd", ""])
def test_what_is_no_place_has_no_time(name: str) -> None:
    with pytest.raises(Invalid, match="no time zone"):
        buckets.zone_of(name)


@pytest.mark.parametrize(
    ("said", "first", "last"),
    [
        ("P1W", "2026-02-09", "2026-02-16"),
        ("P1M", "2026-02-01", "2026-03-01"),
        ("P3M", "2026-01-01", "2026-04-01"),
        ("P1Y", "2026-01-01", "2027-01-01"),
        ("P1D", "2026-02-11", "2026-02-12"),
    ],
)
def test_buckets_of_the_calendar_are_whole(said: str, first: str, last: str) -> None:
    found = edges(said, ZoneInfo("UTC"), "2026-02-11T08:00:00Z", "2026-02-11T09:00:00Z")

    assert [moment.date().isoformat() for moment in found.moments] == [first, last]


def test_an_end_on_an_edge_begins_no_other_bucket() -> None:
    assert len(edges("P1D", BERLIN, "2026-01-01T00:00:00+01:00", "2026-01-03T00:00:00+01:00")) == 2
    assert len(edges("PT1H", BERLIN, "2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z")) == 3


def test_buckets_in_front_are_added_there() -> None:
    for said in ("P1D", "PT6H"):
        found = edges(said, BERLIN, "2026-03-30T12:00:00Z", "2026-03-30T13:00:00Z", before=2)
        assert len(found) == 3
        assert found.moments[-1] >= datetime(2026, 3, 30, 13, tzinfo=UTC)


def test_hours_are_real_ones_and_counted_alike_whatever_is_asked() -> None:
    early = edges("PT6H", BERLIN, "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z")
    late = edges("PT6H", BERLIN, "2026-03-29T13:00:00Z", "2026-03-31T00:00:00Z")

    assert set(hours(early)) == {6}
    assert set(late.moments) <= set(early.moments)
    assert datetime(2026, 3, 28, 23, tzinfo=UTC) in early.moments  # midnight by the clocks of winter


@pytest.mark.parametrize(
    ("said", "zone", "is_of_hours"),
    [
        ("P1D", BERLIN, True),
        ("P1D", KOLKATA, False),
        ("PT1H", KOLKATA, False),
        ("PT15M", BERLIN, False),
        ("PT90M", BERLIN, False),
        ("PT60M", BERLIN, True),
    ],
)
def test_only_buckets_of_whole_hours_are_made_of_hours(said: str, zone: ZoneInfo, is_of_hours: bool) -> None:
    assert edges(said, zone, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z").is_of_hours == is_of_hours


def test_a_zone_that_was_once_off_by_minutes_is_not_of_hours_then() -> None:
    amsterdam = ZoneInfo("Europe/Amsterdam")
    then = edges("P1D", amsterdam, "1930-01-01T00:00:00Z", "1930-01-03T00:00:00Z")
    now = edges("P1D", amsterdam, "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z")

    assert (then.is_of_hours, now.is_of_hours) == (False, True)


@pytest.mark.parametrize("said", ["", "1h", "P1", "PT0H", "P2D", "PT1.5H", "P1DT1H", "PT999999H", "p1d"])
def test_other_lengths_are_refused(said: str) -> None:
    with pytest.raises(Invalid, match="no length"):
        buckets.parse(said)


@pytest.mark.parametrize("said", ["", "Mars/Base", "../etc/passwd", "x" * 300, "\0"])
def test_other_zones_are_refused(said: str) -> None:
    with pytest.raises(Invalid, match="no time zone"):
        buckets.zone_of(said)


def test_more_points_than_can_be_answered_are_refused() -> None:
    with pytest.raises(Invalid, match="points"):
        edges("PT1S", BERLIN, "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z")
    with pytest.raises(Invalid, match="points"):
        edges("P1D", BERLIN, "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", series=1000)


def test_gaps_are_filled_between_what_is_known() -> None:
    moments = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 1, 2, 4, 5)]
    values = np.array([NAN, 1, NAN, 4, NAN])

    assert buckets.filled(values, moments, "previous").tolist()[1:] == [1, 1, 4, 4]
    assert np.isnan(buckets.filled(values, moments, "previous")[0])
    assert buckets.filled(values, moments, "linear").tolist()[1:4] == [1, 2, 4]  # by time, not by place
    assert np.isnan(buckets.filled(values, moments, "linear")[[0, 4]]).all()
    assert np.isnan(buckets.filled(np.array([NAN]), moments[:1], "linear")).all()

    assert buckets.filled(values, moments, "zero").tolist() == [0, 1, 0, 4, 0]


def test_an_empty_bucket_counts_for_one_zero_where_that_is_wanted() -> None:
    sums, counts = np.array([6.0, 0, 0]), np.array([2.0, 0, 0])

    assert buckets.moving(sums, counts, 2, empty_is_zero=True).tolist() == [2, 0]


def test_the_first_day_is_the_one_that_begins_then_or_later() -> None:
    noon, midnight = datetime(2026, 3, 5, 12, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC)

    assert buckets.first_day(midnight, UTC) == date(2026, 3, 5)
    assert buckets.first_day(noon, UTC) == date(2026, 3, 6)
    assert buckets.first_day(midnight, BERLIN) == date(2026, 3, 6)
    assert buckets.first_day(midnight, ZoneInfo("America/New_York")) == date(2026, 3, 5)
    assert buckets.first_day(datetime.max.replace(tzinfo=UTC), UTC) == date.max


def test_a_moving_average_weighs_by_what_was_observed() -> None:
    sums, counts = np.array([10.0, 2, 0, 0, 0]), np.array([10.0, 1, 0, 0, 0])

    assert buckets.moving(sums, counts, 2).tolist()[:2] == [12 / 11, 2]
    assert np.isnan(buckets.moving(sums, counts, 2)[2:]).all()
    assert buckets.moving(sums, counts, 1).tolist()[:2] == [1, 2]
