"""What the example's documents say of its readings is true of them, and its catalogue is a good one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import fmean
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import yaml

import drystone.demo
from drystone.api.catalogue_schemas import Changeset
from drystone.catalogue import rules
from drystone.catalogue.rules import State
from drystone.cli import demo
from drystone.demo import readings
from drystone.demo.readings import METRICS, STATIONS, Reading
from drystone.mentions.finding import Finder

FOLDER = Path(drystone.demo.__file__).parent
Series = Mapping[tuple[str, str], Sequence[Reading]]


@pytest.fixture(scope="module")
def series() -> Series:
    found = defaultdict(list)
    for each in readings.of_year():
        found[each.station, each.metric].append(each)
    return found


def test_each_hour_of_the_year_is_there_but_those_that_are_said_to_be_missing(series: Series) -> None:
    assert set(series) == {(station.key, metric) for station in STATIONS for metric in METRICS}
    mondays = sum((date(2025, 1, 1) + timedelta(days=n)).weekday() == 0 for n in range(365))
    for (station, _), found in series.items():
        times = [each.at for each in found]
        wanted = 365 * 24 - mondays - (57 if station == "high-moor" else 0)
        assert len(set(times)) == len(times)
        assert times == sorted(times)
        assert 0 < wanted - len(times) < 80, "about one in two hundred fails"
        assert not [at for at in times if at.astimezone(ZoneInfo("Europe/London")).strftime("%a%H") == "Mon00"]
        assert min(each.value for each in found) >= 0


def test_it_is_the_same_each_time() -> None:
    lines = list(readings.csv())

    assert lines == list(readings.csv())
    assert lines[0] == "entity,metric,observed_at,value,unit,source\n"


def test_january_was_as_its_report_says(series: Series) -> None:
    no2, pm25 = _days(series["mill-lane", "no2"]), _days(series["mill-lane", "pm25"])
    highest = max(series["mill-lane", "no2"], key=lambda each: each.value)

    assert (round(no2[date(2025, 1, 15)]), round(no2[date(2025, 1, 19)])) == (100, 11)
    assert (highest.at, round(highest.value, -1)) == (datetime(2025, 1, 16, 7, tzinfo=UTC), 280)
    assert [round(pm25[date(2025, 1, day)]) for day in (15, 16)] == [38, 39]
    assert round(max(_days(series["high-moor", "no2"])[date(2025, 1, day)] for day in range(14, 18))) == 12


def test_april_was_as_its_report_says(series: Series) -> None:
    above = {s.key: [day for day, mean in _days(series[s.key, "pm10"]).items() if mean > 50] for s in STATIONS}
    fine = _days(series["high-moor", "pm25"])

    assert set(map(tuple, above.values())) == {tuple(date(2025, 4, day) for day in (8, 9, 10))}
    assert [round(_days(series[key, "pm10"])[date(2025, 4, 9)]) for key in ("mill-lane", "high-moor")] == [84, 74]
    assert max(fine[day] for day in above["high-moor"]) < 15


def test_july_was_as_its_report_says(series: Series) -> None:
    july = {s.key: [each for each in series[s.key, "o3"] if each.at.month == 7] for s in STATIONS}
    highest = {key: max(found, key=lambda each: each.value) for key, found in july.items()}

    assert {key: round(highest[key].value) for key in ("castle-park", "high-moor")} == {
        "castle-park": 193,
        "high-moor": 191,
    }
    assert {highest[key].at for key in ("castle-park", "high-moor")} == {datetime(2025, 7, 14, 13, tzinfo=UTC)}
    assert highest["mill-lane"].value < 180


def test_the_year_was_as_its_report_says(series: Series) -> None:
    report = (FOLDER / "documents" / "report-2025.md").read_text()
    rows = {cells[0].strip(): [int(cell) for cell in cells[1:4]] for cells in re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \|", report, re.MULTILINE)}  # fmt: skip

    for name, metric in (("nitrogen dioxide", "no2"), ("PM10", "pm10"), ("PM2.5", "pm25")):
        assert rows[name] == [round(fmean(each.value for each in series[s.key, metric])) for s in STATIONS], name
    above = [each.at.date() for each in series["mill-lane", "no2"] if each.value > 200]
    assert (len(above), sum(day in (date(2025, 1, 15), date(2025, 1, 16)) for day in above)) == (9, 4)
    assert [_days_above_120(series[s.key, "o3"]) for s in STATIONS] == [5, 17, 34]


def test_the_catalogue_of_the_example_has_no_problem() -> None:
    changes = list(demo._changes())
    wanted = Changeset.model_validate({"changes": changes}).wanted()

    verdict = rules.check(State(), [each.change for each in wanted])

    assert len(changes) == 21
    assert verdict.problems == ()


def test_each_document_of_the_example_is_sent_with_what_it_is() -> None:
    fields = {source.path.stem: source.fields for source in demo._sources()}

    assert fields["report-2025-04"] == {
        "external_id": "demo/report-2025-04",
        "attributes": '{"kind": "report", "report-date": "2025-04-30", "author": "Town of Wallford"}',
        "schema": "category:report",
    }
    assert '"report-date": "2025-12-31"' in fields["report-2025"]["attributes"]
    assert fields["ozone"]["attributes"] == '{"kind": "background"}'


def _days(found: Sequence[Reading]) -> dict[date, float]:
    """Day in UTC -> mean."""
    values = defaultdict(list)
    for each in found:
        values[each.at.date()].append(each.value)
    return {day: fmean(each) for day, each in values.items()}


def _days_above_120(found: Sequence[Reading]) -> int:
    """Days whose highest mean of eight hours, of which six at least have a value, is above 120 µg/m³."""
    value_at = {each.at: each.value for each in found}
    days = set()
    for at in value_at:
        window = [value_at[hour] for n in range(8) if (hour := at - timedelta(hours=n)) in value_at]
        if len(window) >= 6 and fmean(window) > 120:
            days.add(at.date())
    return len(days)


def test_no_name_of_its_catalogue_stands_in_ordinary_prose_by_accident() -> None:
    entities = [yaml.safe_load(path.read_text()) for path in sorted((FOLDER / "entities").glob("*.yaml"))]
    names = [
        [each["label"], *(name for some in each.get("aliases", {}).values() for name in some)] for each in entities
    ]
    finder = Finder([(UUID(int=number), each) for number, each in enumerate(names)])
    prose = (
        "The author of this report gives a name to each station. Date, type, unit, area and altitude stand in a table, with the"
        " period that was averaged, a limit, the value measured and where: in a park, on a moor, in a lane."
    )

    assert [prose[each.start : each.end] for each in finder.find(prose)] == []
    assert finder.find("Nitrogen dioxide at Mill Lane")
