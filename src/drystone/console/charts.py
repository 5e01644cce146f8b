"""A series over time as a line: numbers to coordinates, with ticks at round values. Pure; the template draws it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

WIDTH, HEIGHT = 640, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 10, 10, 24
_TICKS = 4
# Beyond these, doubles come to their ends within the arithmetic here: such values are drawn at the edge.
_LEAST, _MOST = 1e-290, 1e290


@dataclass(frozen=True)
class Tick:
    """A line across with its label. place: in the chart's units."""

    place: float
    label: str


@dataclass(frozen=True)
class Chart:
    """path: of SVG, broken where nothing was observed. dots: values without neighbours, which no line would show."""

    path: str
    dots: Sequence[tuple[float, float]]
    across: Sequence[Tick]
    upwards: Sequence[Tick]
    least: float
    most: float


def line(moments: Sequence[datetime], values: np.ndarray) -> Chart | None:
    """The chart of one value for each moment, NaN where there is none; None where there is no value at all."""
    values = np.clip(values, -_MOST, _MOST)
    there = np.flatnonzero(np.isfinite(values))
    if not len(there):
        return None
    least, most = float(values[there].min()), float(values[there].max())
    ticks = rounds(least, most)
    low, high = min(least, ticks[0]), max(most, ticks[-1])
    x = np.linspace(_LEFT, WIDTH - _RIGHT, len(values)) if len(values) > 1 else np.array([WIDTH / 2])
    scale = (HEIGHT - _TOP - _BOTTOM) / ((high - low) or 1.0)
    y = HEIGHT - _BOTTOM - (values - low) * scale
    path, dots = [], []
    for _, run in itertools.groupby(enumerate(there.tolist()), key=lambda each: each[1] - each[0]):
        places = [place for _, place in run]
        points = [(round(float(x[place]), 1), round(float(y[place]), 1)) for place in places]
        if len(points) == 1:
            dots.append(points[0])
        else:
            path.append("M" + " L".join(f"{a} {b}" for a, b in points))
    upwards = [Tick(round(HEIGHT - _BOTTOM - (tick - low) * scale, 1), _said(tick)) for tick in ticks]
    return Chart(" ".join(path), dots, _dates(moments, x), upwards, least, most)


def rounds(least: float, most: float) -> list[float]:
    """Some round numbers from at or below the least to at or above the most."""
    if most <= least:
        most = least + (abs(least) or 1.0)
    # Nearer to each other than this, doubles leave no room for ticks between them.
    rough = max(most - least, max(abs(least), abs(most)) * 1e-9, _LEAST) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.floor(least / step)
    last = max(first + 1, math.ceil(most / step - 1e-9))
    return [number * step for number in range(first, last + 1)]


def _said(value: float) -> str:
    return f"{value:.6g}"


def _dates(moments: Sequence[datetime], x: np.ndarray) -> list[Tick]:
    """Five moments at most, of which the first and the last stand at the ends."""
    if not moments:
        return []
    count = min(5, len(moments))
    is_long = (moments[-1] - moments[0]).days > 3
    places = sorted({round(n * (len(moments) - 1) / max(1, count - 1)) for n in range(count)})
    form = "%Y-%m-%d" if is_long else "%m-%d %H:%M"
    return [Tick(round(float(x[place]), 1), moments[place].strftime(form)) for place in places]
