"""`drystone demo`: a small catalogue of air quality, documents about it and a year of readings, and all of it away again.

A client of the HTTP API. Imports stay inside the functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
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
  drystone ask -c demo "how often may nitrogen dioxide be above 200"
  drystone search -c demo "ozone in the heat" --filter '{"type": "and", "filters": [{"type": "eq", "key": "$schema", "value": "category:report"}, {"type": "gt", "key": "report-date", "value": "2025-06-30"}]}'
  drystone entities passages mill-lane
  drystone entities overview castle-park --profile city-air --at 2025-07-14T13:30
  drystone profiles schema city-air
  drystone catalogue graph --entities --profile city-air > air.svg
  drystone series buckets -e mill-lane -e high-moor -m no2 --from 2025-01-12 --until 2025-01-20 --bucket P1D --tz Europe/London
  drystone series latest -e castle-park --as-of 2025-07-14T13:30:00Z
  drystone demo --remove
Or in a browser, signed in with DRYSTONE_API_KEY of .env: """


def demo(
    remove: Annotated[bool, typer.Option("--remove", help="Delete what this command has made.")] = False,
) -> None:
    """Load an example: what is measured in air, documents about it, and a year of hourly readings of an invented town.

    It goes into the collection demo and into the catalogue, whose own entries it never changes. Run it again and nothing more happens.
    """
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client(retry_s=_RETRY_S) as client:
        client.check()
        if remove:
            _remove(client)
            return
        _put_catalogue(client)
        _add_documents(client)
        _add_readings(client)
    typer.echo(terminal.as_typed(_NEXT) + f"{client.url}/")


def _put_catalogue(client: Client) -> None:
    from drystone.cli import catalogue, terminal
    from drystone.core.errors import Conflict

    changes, there = list(_changes()), _catalogue(client)
    own = [
        f"{each['kind']} {each['key']}"
        for each in changes
        if (item := there.get((each["kind"], each["key"]))) is not None
        and not catalogue.says_the_same(each["kind"], each["content"], item)
    ]
    if own:
        raise Conflict(
            "demo.keys_in_use",
            f"The catalogue says something of its own under keys of the example: {', '.join(own[:5])}"
            f"{f' and {len(own) - 5} more' if len(own) > 5 else ''}. Nothing was done.",
            hint="load it into another stack",
        )
    done = client.change_catalogue({"changes": changes, "message": "drystone demo"})
    new = sum(each["what"] == "created" for each in done["changes"])
    terminal.say(f"catalogue: {new} new of {len(done['changes'])} entities, modules and profiles")


def _catalogue(client: Client) -> dict[tuple[str, str], Any]:
    """All that is in the catalogue, by kind and key."""
    from itertools import chain

    from drystone.cli.catalogue import KINDS

    return {
        (kind, item["key"]): item
        for many, kind in KINDS.items()
        for item in chain.from_iterable(client.catalogue_pages(many, {}))
    }


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
        attributes = _attributes(path.stem)
        fields = {"external_id": f"demo/{path.stem}", "attributes": json.dumps(attributes)}
        if attributes["kind"] == "report":
            fields["schema"] = "category:report"
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

    gone, kept = _to_forget(client)
    deletion = {"changes": gone, "message": "drystone demo --remove"}
    if gone:  # what keeps it from being done is told before anything is deleted
        client.change_catalogue(deletion | {"dry_run": True})
    year = {"from": f"{readings.YEAR}-01-01T00:00:00Z", "until": f"{readings.YEAR + 1}-01-01T00:00:00Z"}
    deleted = 0
    for station in readings.STATIONS:
        with suppress(NotFound):
            deleted += client.delete_observations({"entity": station.key, "source": readings.SOURCE} | year)["deleted"]
    documents = _remove_documents(client)
    if gone:
        client.change_catalogue(deletion)
    terminal.say(f"deleted: {deleted} readings, {documents}, {len(gone)} entities, modules and profiles")
    if kept:
        terminal.say(f"kept, for they are your own by now, or what is yours refers to them: {', '.join(kept)}")


def _remove_documents(client: Client) -> str:
    """What was deleted: the collection, or of one that holds other documents too those of the example."""
    from itertools import chain

    from drystone.core.errors import NotFound

    try:
        there = list(chain.from_iterable(client.document_pages(collection=COLLECTION)))
        ours = [each["id"] for each in there if (each["external_id"] or "").startswith("demo/")]
        if len(ours) == len(there):
            client.delete_collection(COLLECTION)
            return f"the collection {COLLECTION}"
    except NotFound:
        return "no documents"
    if ours:
        client.delete_documents({"ids": ours})
    return f"{len(ours)} documents of the collection {COLLECTION}, which holds others"


def _to_forget(client: Client) -> tuple[list[dict[str, Any]], list[str]]:
    """Deletions of all that still say what the example says of them and that nothing else refers to; which are left of it."""
    from drystone.cli import catalogue

    changes, there = {(each["kind"], each["key"]): each["content"] for each in _changes()}, _catalogue(client)
    of_example = {at: item for at, item in there.items() if at in changes}
    ours = {at for at, item in of_example.items() if catalogue.says_the_same(at[0], changes[at], item)}
    waiting = [at for at in there if at not in ours]
    while waiting:
        for named in _references(waiting.pop(), there) & ours:
            ours.remove(named)
            waiting.append(named)
    gone = [{"kind": kind, "key": key, "action": "delete"} for kind, key in there if (kind, key) in ours]
    return gone, [" ".join(at) for at in of_example if at not in ours]


def _references(at: tuple[str, str], there: Mapping[tuple[str, str], Any]) -> set[tuple[str, str]]:
    from drystone.catalogue.applying import references
    from drystone.cli import catalogue

    said = {name: there[at][name] for name in catalogue.FIELDS[at[0]]}
    return {(kind, key) for _, kind, key in references(catalogue.content_of(at[0], said))}


def _folder() -> Path:
    import drystone.demo

    return Path(drystone.demo.__file__).parent
