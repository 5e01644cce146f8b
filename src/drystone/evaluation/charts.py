"""Charts as SVG documents. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from drystone.core.svg import document, escape, fill, rule, short, stroke, text

_GAIN, _LOSS = 2, 1
_WIDTH = 900


@dataclass(frozen=True)
class Line:
    """A named series of points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Interval:
    """A named value with bounds."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bar:
    """A named value above or below 0."""

    name: str
    value: float


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    *,
    most_y: float | None = None,
    x_ticks: Sequence[float] | None = None,
) -> str:
    """Lines over x; y begins at 0. most_y: where it ends, else a little above the highest point.

    x_ticks: x is logarithmic, from the first to the last of these, which are above 0; else linear from 0.
    """
    left, top, wide, high = 60, 56, _WIDTH - 60 - 190, 320
    most_x = max((x for line in lines for x, _ in line.points), default=1.0) or 1.0
    most_y = most_y or max((y for line in lines for _, y in line.points), default=1.0) * 1.05 or 1.0

    def x_at(x: float) -> float:
        share = math.log(x / x_ticks[0]) / math.log(x_ticks[-1] / x_ticks[0]) if x_ticks else x / most_x
        return round(left + share * wide, 1)

    def y_at(y: float) -> float:
        return round(top + high - y / most_y * high, 1)

    parts = [text(left - 45, top - 14, y_label, kind="muted")]
    for fifth in range(6):
        y = most_y * fifth / 5
        parts += [
            rule(left, y_at(y), left + wide, y_at(y)),
            text(left - 8, y_at(y) + 4, _number(y, most_y), anchor="end"),
        ]
    for x in x_ticks or [most_x * fifth / 5 for fifth in range(6)]:
        parts.append(text(x_at(x), top + high + 20, f"{x:.3g}", anchor="middle"))
    parts.append(text(left + wide / 2, top + high + 42, x_label, anchor="middle", kind="muted"))
    for number, line in enumerate(lines):
        points = " ".join(f"{x_at(x)},{y_at(y)}" for x, y in line.points)
        parts += [
            f'<polyline points="{points}" fill="none" {stroke(number)} stroke-width="2" stroke-linejoin="round"/>',
            f'<line x1="{left + wide + 14}" x2="{left + wide + 32}" y1="{top + 10 + 20 * number}" '
            f'y2="{top + 10 + 20 * number}" {stroke(number)} stroke-width="3"/>',
            text(left + wide + 38, top + 14 + 20 * number, short(line.name)),
        ]
    return document(title, _WIDTH, top + high + 56, parts)


def interval_chart(title: str, groups: Sequence[tuple[str, Sequence[Interval]]]) -> str:
    """Values in [0, 1] with their bounds, a row each, under the name of their group; one colour per place in a group.

    The axis holds all bounds and need not begin at 0.
    """
    left, top, wide, row = 210, 52, 500, 24
    parts: list[str] = []
    y = top
    ticks = _ticks([bound for _, intervals in groups for each in intervals for bound in (each.low, each.high)])

    def x_at(value: float) -> float:
        return round(left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * wide, 1)

    for name, intervals in groups:
        parts.append(text(16, y + 16, name, weight="bold"))
        for number, each in enumerate(intervals):
            middle = y + 12 + row * (number + (0 if len(intervals) == 1 else 1))
            parts += [
                *([] if len(intervals) == 1 else [text(28, middle + 4, short(each.name))]),
                f'<line x1="{x_at(each.low)}" x2="{x_at(each.high)}" y1="{middle}" y2="{middle}" {stroke(number)} '
                'stroke-width="3" stroke-linecap="round"/>',
                f'<circle cx="{x_at(each.value)}" cy="{middle}" r="5" {fill(number)}/>',
                text(left + wide + 20, middle + 4, f"{each.value:.3f}", weight="bold"),
                text(left + wide + 64, middle + 4, f"[{each.low:.3f}, {each.high:.3f}]", kind="muted"),
            ]
        y += row * (1 if len(intervals) == 1 else len(intervals) + 1) + 12
    rules = []
    for tick in ticks:
        x = x_at(tick)
        rules += [rule(x, top - 4, x, y), text(x, y + 18, f"{tick:.2f}", anchor="middle", kind="muted")]
    return document(title, _WIDTH, y + 32, rules + parts)


def difference_chart(title: str, x_label: str, y_label: str, bars: Sequence[Bar]) -> str:
    """A bar per value, highest first, up or down from 0; a viewer that has a pointer shows its name."""
    left, top, wide, high = 60, 56, _WIDTH - 60 - 30, 300
    most = math.ceil(max((abs(bar.value) for bar in bars), default=0.0) * 10) / 10 or 1.0
    zero, step = top + high / 2, wide / max(1, len(bars))
    parts = [text(left - 45, top - 14, y_label, kind="muted")]
    for half in (1.0, 0.5, 0.0, -0.5, -1.0):
        y = round(zero - half * high / 2, 1)
        parts += [
            rule(left, y, left + wide, y),
            text(left - 8, y + 4, f"{half * most:+.2f}" if half else "0", anchor="end"),
        ]
    for number, bar in enumerate(sorted(bars, key=lambda bar: -bar.value)):
        tall = round(abs(bar.value) / most * high / 2, 1)
        if bar.value:
            parts.append(
                f'<rect x="{left + number * step:.2f}" y="{zero - tall if bar.value > 0 else zero:.1f}" '
                f'width="{max(0.5, step * 0.9):.2f}" height="{tall}" {fill(_GAIN if bar.value > 0 else _LOSS)}>'
                f"<title>{escape(bar.name)}: {bar.value:+.3f}</title></rect>"
            )
    parts.append(text(left + wide / 2, top + high + 24, x_label, anchor="middle", kind="muted"))
    return document(title, _WIDTH, top + high + 40, parts)


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers in [0, 1], at most seven, that hold all values, which are in [0, 1], between them."""
    for hundredths in (1, 2, 5, 10, 20):
        first, last = math.floor(min(values) * 100 / hundredths), math.ceil(max(values) * 100 / hundredths)
        first, last = (first, last) if first < last else (max(0, first - 1), max(1, last))
        if last - first <= 6:
            break
    return [step * hundredths / 100 for step in range(first, last + 1)]


def _number(value: float, most: float) -> str:
    return f"{value:.0f}" if most >= 10 else f"{value:.1f}"
