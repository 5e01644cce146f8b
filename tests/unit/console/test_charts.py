"""A line over time: everything that was observed is within the picture, and gaps stay gaps."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from drystone.console import charts

START = datetime(2026, 1, 1, tzinfo=UTC)
_VALUES = st.lists(st.one_of(st.just(float("nan")), st.floats(-1e12, 1e12)), max_size=60)


def moments(count: int) -> list[datetime]:
    return [START + timedelta(days=n) for n in range(count)]


@given(_VALUES)
@example([2.2250738585072014e-308])
@example([5e-324, 1e-323])
@example([1e308, -1e308])
@example([1e16, 1e16 + 2])
def test_every_value_is_drawn_once_and_within_the_picture(values: list[float]) -> None:
    chart = charts.line(moments(len(values)), np.array(values))
    there = [value for value in values if value == value]
    if chart is None:
        assert not there
        return
    points = [(float(x), float(y)) for x, y in re.findall(r"[ML]\s?(-?[\d.]+) (-?[\d.]+)", chart.path)] + list(
        chart.dots
    )
    assert len(points) == len(there)
    assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in points)
    assert all(0 <= tick.place <= charts.HEIGHT for tick in chart.upwards)
    assert (chart.least, chart.most) == (max(min(there), -1e290), min(max(there), 1e290))


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12))
@example(-5e-324, 5.0)
@example(-2.2250738585e-313, 0.0)
def test_round_numbers_lie_around_the_values_and_are_few(least: float, width: float) -> None:
    found = charts.rounds(least, least + width)
    # What is nearer to nothing than any tick stands at nothing.
    assert found[0] <= least + 1e-6 * abs(least) + 1e-289
    assert found[-1] >= least + width - 1e-6 * abs(least + width) - 1e-289
    assert 1 <= len(found) <= 8


def test_a_gap_breaks_the_line_and_a_lonely_value_is_a_dot() -> None:
    chart = charts.line(moments(6), np.array([1, 2, np.nan, 3, np.nan, 4]))
    assert chart is not None
    assert chart.path.count("M") == 1
    assert len(chart.dots) == 2
    assert [tick.label for tick in chart.upwards] == ["1", "2", "3", "4"]
    assert [tick.label for tick in chart.across][::4] == ["2026-01-01", "2026-01-06"]
