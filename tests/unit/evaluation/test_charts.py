"""Charts are well-formed SVG whose marks stand where the values say."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from drystone.evaluation import charts
from drystone.evaluation.charts import Bar, Interval, Line

_SVG = "{http://www.w3.org/2000/svg}"


def _texts(chart: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(chart).iter(f"{_SVG}text")]


def test_a_line_chart_draws_each_line_under_its_name() -> None:
    chart = charts.line_chart(
        "A <title> & more", "minutes", "MB", [Line("a<b", [(0, 1), (2, 50)]), Line("c", [(0, 0)])]
    )

    lines = list(ElementTree.fromstring(chart).iter(f"{_SVG}polyline"))
    assert [len((line.get("points") or "").split()) for line in lines] == [2, 1]
    assert {"A <title> & more", "a<b", "c", "minutes", "MB"} <= set(_texts(chart))


def test_ticks_make_a_logarithmic_axis_on_which_doubling_is_always_as_far() -> None:
    chart = charts.line_chart("", "", "", [Line("", [(1, 0), (2, 0), (4, 0)])], most_y=1, x_ticks=(1, 2, 4))

    (line,) = ElementTree.fromstring(chart).iter(f"{_SVG}polyline")
    first, second, third = (float(point.split(",")[0]) for point in (line.get("points") or "").split())
    assert second - first == pytest.approx(third - second, abs=0.2)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.52, 0.59), (1.0, 1.0), (0.0, 0.0)])
def test_an_interval_stands_inside_its_axis(bounds: tuple[float, float]) -> None:
    low, high = bounds
    chart = charts.interval_chart("", [("nDCG@10", [Interval("hybrid", (low + high) / 2, low, high)] * 2)])

    rules = [
        float(line.get("x1", ""))
        for line in ElementTree.fromstring(chart).iter(f"{_SVG}line")
        if line.get("class") == "grid"
    ]
    marks = [line for line in ElementTree.fromstring(chart).iter(f"{_SVG}line") if line.get("class") != "grid"]
    assert len(marks) == 2
    assert min(rules) <= float(marks[0].get("x1", "")) <= float(marks[0].get("x2", "")) <= max(rules)


def test_differences_are_bars_from_the_highest_to_the_lowest_and_ties_are_gaps() -> None:
    chart = charts.difference_chart("", "", "", [Bar("tied", 0.0), Bar("lost", -0.2), Bar("won", 0.4)])

    bars = [rect for rect in ElementTree.fromstring(chart).iter(f"{_SVG}rect") if rect.get("class") != "paper"]
    assert [bar.findtext(f"{_SVG}title") for bar in bars] == ["won: +0.400", "lost: -0.200"]
    tall = [float(bar.get("height", "")) for bar in bars]
    assert tall[0] == pytest.approx(2 * tall[1])


def test_nothing_to_draw_is_a_chart_as_well() -> None:
    for chart in (charts.line_chart("", "", "", []), charts.difference_chart("", "", "", [])):
        assert ElementTree.fromstring(chart).tag == f"{_SVG}svg"
