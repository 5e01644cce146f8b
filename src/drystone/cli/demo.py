"""`drystone demo`: a small catalogue of air quality, documents about it and a year of readings, and all of it away again.

A client of the HTTP API. Imports stay inside the functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from drystone.cli.client import Client
    from drystone.cli.files import Source

COLLECTION = "demo"
_RETRY_S = 60.0
_ROWS_AT_ONCE = 25_000
_MONTH_S = {"01": "31", "04": "30", "07": "31"}
_NEXT = """
Look around:
  drystone search -c demo "why is there less ozone next to a busy street"
  drystone search -c demo "how often may nitrogen dioxide be above 200"
  drystone entities passages mill-lane
  drystone entities overview castle-park --profile city-air
  drystone profiles schema city-air
  drystone catalogue graph --entities --profile city-air > air.svg
  drystone series buckets -e mill-lane -e high-moor -m no2 --from 2025-01-12 --until 2025-01-20 --bucket P1D --tz Europe/London
  drystone series latest -e castle-park --as-of 2025-07-14T13:30:00Z
  drystone demo --remove"""


def demo(
    remove: Annotated[bool, typer.Option("--remove", help="Delete what this command has made.")] = False,
) -> None:
    """Load an example: what is measured in air, documents about it, and a year of hourly readings of an invented town.

    It goes into the collection demo and into the catalogue, whose own entries it never changes. Run it again and nothing more happens.
    """
    from drystone.cli.client import open_client

    with open_client(retry_s=_RETRY_S) as client:
        client.check()
        if remove:
            _remove(client)
            return
        _put_catalogue(client)
        _add_documents(client)
        _add_readings(client)
    typer.echo(_NEXT)


def _put_catalogue(client: Client) -> None:
    from drystone.cli import terminal
    from drystone.core.errors import Conflict

    changeset = {"changes": list(_changes()), "message": "drystone demo"}
    would = client.change_catalogue(changeset | {"dry_run": True})
    if own := [f"{each['kind']} {each['key']}" for each in would["changes"] if each["what"] == "changed"]:
        raise Conflict(
            "demo.keys_in_use",
            f"The catalogue says something of its own under keys of the example: {', '.join(own[:5])}.",
            hint="load it into another stack; nothing was done",
        )
    done = client.change_catalogue(changeset)
    new = sum(each["what"] == "created" for each in done["changes"])
    terminal.say(f"catalogue: {new} new of {len(done['changes'])} entities, modules and profiles")


def _changes() -> Iterator[dict[str, Any]]:
    from drystone.cli import folders
    from drystone.cli.catalogue import KINDS

    for many, kind in KINDS.items():
        for key, each in folders.read(_folder(), many).items():
            yield {"kind": kind, "key": key, "content": each.said}


def _add_documents(client: Client) -> None:
    from drystone.cli import data, listing
    from drystone.cli.adding import Adding

    sources = list(_sources())
    with data.watched(len(sources)) as watcher:
        report = Adding(client, sources, {"collection": COLLECTION}).run(watcher)
    listing.show_report(report, COLLECTION)
    if report.fatal is not None:
        raise report.fatal
    if report.has_problems:
        raise typer.Exit(1)


def _sources() -> Iterator[Source]:
    import json

    from drystone.cli.files import Source

    for path in sorted((_folder() / "documents").glob("*.md")):
        fields = {"external_id": f"demo/{path.stem}", "attributes": json.dumps(_attributes(path.stem))}
        yield Source(path.name, path, fields)


def _attributes(name: str) -> Mapping[str, str]:
    """Of a report its date: the last day of its month, or of the year."""
    report = re.fullmatch(r"report-(\d{4})(?:-(\d{2}))?", name)
    if report is None:
        return {"kind": "background"}
    year, month = report[1], report[2] or "12"
    return {
        "kind": "report",
        "report-date": f"{year}-{month}-{_MONTH_S.get(month, '31')}",
        "author": "Town of Wallford",
    }


def _add_readings(client: Client) -> None:
    from drystone.cli import terminal
    from drystone.demo import readings

    lines = readings.csv()
    header = next(lines)
    total = {"inserted": 0, "unchanged": 0}
    while rows := list(islice(lines, _ROWS_AT_ONCE)):
        body = (header + "".join(rows)).encode()
        done = client.add_observations(body, media_type="text/csv", on_conflict="replace", atomic=True)
        total = {name: count + done[name] for name, count in total.items()}
    terminal.say(f"readings: {total['inserted']} new, {total['unchanged']} there already")


def _remove(client: Client) -> None:
    from drystone.cli import terminal
    from drystone.core.errors import NotFound
    from drystone.demo import readings

    year = {"from": f"{readings.YEAR}-01-01T00:00:00Z", "until": f"{readings.YEAR + 1}-01-01T00:00:00Z"}
    deleted = 0
    for station in readings.STATIONS:
        try:
            deleted += client.delete_observations({"entity": station.key, "source": readings.SOURCE} | year)["deleted"]
        except NotFound:
            continue
    try:
        client.delete_collection(COLLECTION)
    except NotFound:
        terminal.say(f"there is no collection {COLLECTION}")
    gone = _forget_catalogue(client)
    terminal.say(f"deleted: {deleted} readings, the collection {COLLECTION}, {gone} entities, modules and profiles")


def _forget_catalogue(client: Client) -> int:
    """How many were deleted: all that still say what the example says of them. Raises Conflict where others refer to one."""
    would = client.change_catalogue({"changes": list(_changes()), "dry_run": True})
    ours = [{"kind": each["kind"], "key": each["key"], "action": "delete"} for each in would["changes"] if each["what"] == "unchanged"]  # fmt: skip
    if ours:
        client.change_catalogue({"changes": ours, "message": "drystone demo --remove"})
    return len(ours)


def _folder() -> Path:
    import drystone.demo

    return Path(drystone.demo.__file__).parent
