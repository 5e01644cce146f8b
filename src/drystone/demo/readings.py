"""A year of hourly readings of three stations, made from a seed: always the same, and shaped as real ones are. Pure.

Traffic has two peaks on workdays, nitrogen oxides and particles are high in winter nights, ozone on summer afternoons and where
there is no traffic. There are three episodes: an inversion in January, dust in April, a heat wave in July.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

YEAR = 2025
ZONE = "Europe/London"
SOURCE = "simulated"
UNIT = "µg/m³"
METRICS = ("no2", "o3", "pm10", "pm25")
_SEED = 20250101
_FAILURES = 1 / 200
_POWER_CUT = (datetime(YEAR, 2, 11, 6, tzinfo=UTC), datetime(YEAR, 2, 13, 15, tzinfo=UTC))


@dataclass(frozen=True)
class Station:
    """traffic: how much of a busy street it sees, 0 to 1. town: how much of the town's other sources."""

    key: str
    traffic: float
    town: float


STATIONS = (Station("mill-lane", 1.0, 1.0), Station("castle-park", 0.3, 0.9), Station("high-moor", 0.02, 0.1))


@dataclass(frozen=True)
class Reading:
    """One hour's mean in µg/m³. at: its beginning, in UTC."""

    station: str
    metric: str
    at: datetime
    value: float


def of_year() -> Iterator[Reading]:
    """All readings, by station, then by time."""
    chance = np.random.default_rng(_SEED)
    hours = [datetime(YEAR, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(365 * 24)]
    weather = _Weather.of(hours, chance)
    for station in STATIONS:
        made = _concentrations(station, weather, chance)
        fails = chance.random((len(METRICS), len(hours))) < _FAILURES
        for hour, at in enumerate(hours):
            if _is_silent(station, at):
                continue
            for number, metric in enumerate(METRICS):
                if not fails[number, hour]:
                    yield Reading(station.key, metric, at, round(float(made[metric][hour]), 1))


def csv() -> Iterator[str]:
    """The lines of a file for `drystone observe`, its header first."""
    yield "entity,metric,observed_at,value,unit,source\n"
    for each in of_year():
        yield f"{each.station},{each.metric},{each.at:%Y-%m-%dT%H:%M:%SZ},{each.value},{UNIT},{SOURCE}\n"


@dataclass(frozen=True)
class _Weather:
    """What all stations share, float64 (hours,). still: how little air moves, about 1. sun: 0 to 1. warm: 0 in winter, 1 in summer."""

    still: np.ndarray
    sun: np.ndarray
    warm: np.ndarray
    traffic: np.ndarray
    dust: np.ndarray

    @classmethod
    def of(cls, hours: list[datetime], chance: np.random.Generator) -> _Weather:
        local = [at.astimezone(ZoneInfo(ZONE)) for at in hours]
        day = np.array([at.timetuple().tm_yday for at in hours], np.float64)
        hour = np.array([at.hour for at in local], np.float64)
        warm = 0.5 - 0.5 * np.cos(2 * np.pi * (day - 20) / 365)
        noon = np.maximum(
            0.0, np.cos(2 * np.pi * (np.array([at.hour for at in hours]) - 12.5) / 24) + 0.35 * warm - 0.1
        )
        cloud = np.clip(0.55 + 0.45 * _wander(len(hours), 0.97, chance), 0.1, 1.0)
        still = np.exp(0.42 * _wander(len(hours), 0.965, chance)) * (1.15 - 0.3 * (noon > 0.4))
        is_work = np.array([at.weekday() < 5 for at in local])
        peaks = np.exp(-((hour - 8) ** 2) / 4) + 0.85 * np.exp(-((hour - 17.5) ** 2) / 6)
        traffic = 0.18 + np.where(
            is_work, 0.35 * ((hour > 6) & (hour < 22)) + 0.75 * peaks, 0.45 * ((hour > 9) & (hour < 23))
        )
        inversion, dust, heat = (_episode(hours, *when) for when in ((1, 14, 5), (4, 8, 3), (7, 9, 6)))
        return cls(
            still * (1 + 1.3 * inversion + 0.3 * heat),
            np.clip(noon * cloud + 0.35 * heat * noon, 0, 1.4),
            warm,
            traffic,
            dust,
        )


def _concentrations(station: Station, weather: _Weather, chance: np.random.Generator) -> dict[str, np.ndarray]:
    size = len(weather.still)
    winter = 1 - weather.warm
    noise = {metric: np.exp(0.16 * _wander(size, 0.6, chance)) for metric in METRICS}
    no2 = weather.still * (
        2.2 + 34 * station.traffic * weather.traffic + station.town * (6 + 9 * winter) * weather.traffic
    )
    fresh = no2 / (no2 + 60)
    o3 = (46 + 14 * weather.warm + 62 * weather.sun * (0.35 + weather.warm)) * (1 - 0.85 * fresh)
    pm25 = weather.still * (4.0 + station.town * (2.2 + 4.5 * winter) + 2.5 * station.traffic * weather.traffic)
    coarse = 4.5 + 7 * station.traffic * weather.traffic + 2 * weather.warm + 55 * weather.dust
    return {
        "no2": no2 * noise["no2"],
        "o3": o3 * noise["o3"] ** 0.5,
        "pm25": pm25 * noise["pm25"] + 9 * weather.dust,
        "pm10": pm25 * noise["pm25"] + 9 * weather.dust + coarse * noise["pm10"],
    }


def _wander(size: int, memory: float, chance: np.random.Generator) -> np.ndarray:
    """Something that wanders about 0 with a deviation of 1 and remembers this share of the hour before. float64 (size,)."""
    found = np.empty(size)
    steps = chance.standard_normal(size) * np.sqrt(1 - memory**2)
    last = float(chance.standard_normal())
    for number, step in enumerate(steps):
        last = memory * last + float(step)
        found[number] = last
    return found


def _episode(hours: list[datetime], month: int, day: int, days: int) -> np.ndarray:
    """0, but about 1 during these days. float64 (hours,)."""
    middle = datetime(YEAR, month, day, tzinfo=UTC) + timedelta(days=days / 2)
    away = np.array([(at - middle) / timedelta(days=days / 2) for at in hours])
    return np.asarray(np.exp(-(away**4)), np.float64)


def _is_silent(station: Station, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(ZONE))
    is_calibrating = local.weekday() == 0 and local.hour == 0
    return is_calibrating or (station.key == "high-moor" and _POWER_CUT[0] <= at < _POWER_CUT[1])
