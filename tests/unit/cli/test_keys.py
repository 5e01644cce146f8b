from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from drystone.cli.keys import _span, end_of


@pytest.mark.parametrize(
    ("given", "seconds"), [("0", 0), ("0s", 0), ("90s", 90), ("30m", 1800), ("24h", 86_400), ("2d", 172_800)]
)
def test_a_span_of_time_has_a_unit(given: str, seconds: int) -> None:
    assert _span(given, "--overlap") == timedelta(seconds=seconds)


@pytest.mark.parametrize("given", ["", "90", "-1d", "1w", "1.5h", "day", "9999999999d"])
def test_what_is_no_span_is_refused(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="no span of time"):
        _span(given, "--overlap")


def test_a_key_ends_after_a_span_at_a_date_or_never() -> None:
    soon = datetime.fromisoformat(end_of("90d") or "")

    assert abs(soon - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)
    assert end_of("2027-06-30") == "2027-06-30T00:00:00+00:00"
    assert end_of("2027-06-30T12:00:00+02:00") == "2027-06-30T12:00:00+02:00"
    assert end_of("never") is None
    assert end_of(None) is None


@pytest.mark.parametrize("given", ["soon", "2027-13-01", "90", ""])
def test_what_is_no_end_is_refused(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="neither a span"):
        end_of(given)


def test_an_end_beyond_all_years_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="after the last year"):
        end_of("999999999d")
