"""`drystone observe` and `drystone series`: observations in from files, and out as tables.

Clients of the HTTP API. A file is sent a part at a time, each part a request of its own. Imports stay inside the commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

if TYPE_CHECKING:
    from drystone.cli.client import Client

# So many rows in a request: few enough that one is answered within a second or two, many enough to cost little each.
_ROWS_AT_ONCE = 25_000
_SHOWN = 20

series = typer.Typer(
    no_args_is_help=True,
    help="""What was observed of which entities.

    [bold]Examples[/bold]
    drystone series list --entity pump-7
    drystone series latest --metric temperature --as-of 2026-06-30
    drystone series buckets --entity pump-7 --metric mentions --aggregate sum --bucket P1M
    drystone series buckets --entity pump-7 --from 30d --bucket P1D --tz Europe/Berlin
    drystone series delete --entity pump-7 --from 2026-05-01 --until 2026-06-01 --dry-run""",
)

Entities = Annotated[list[str] | None, typer.Option("--entity", "-e", help="Key or id; may be given again.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", "-m", help="May be given again.")]
Sources = Annotated[list[str] | None, typer.Option("--source", "-s", help="May be given again.")]
From = Annotated[str | None, typer.Option("--from", metavar="7d|TIME", help="Since.")]
Until = Annotated[str | None, typer.Option("--until", metavar="7d|TIME", help="Before.")]
Bucket = Annotated[str, typer.Option(help="As in PT15M, PT1H; of the calendar P1D, P1W, P1M, P3M, P1Y.")]
Tz = Annotated[str, typer.Option(help="Time zone whose days are meant.")]
Most = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers.")]


class Format(StrEnum):
    """How a file of observations is written."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


class OnConflict(StrEnum):
    """What becomes of another value at a time that has one."""

    REPLACE = "replace"
    KEEP = "keep"
    ERROR = "error"


# Where the API says what to send over HTTP, what to run instead.
_FIXES = {
    "observation.unknown_entity": 'name one by its key or id; "drystone entities put FILE" makes one',
    "observation.unknown_version": '"drystone documents versions ID" lists those there are, or leave the evidence out',
    "observation.differs": "correct one of them, or say --on-conflict replace or keep",
}
_TYPES = {Format.JSON: "application/json", Format.NDJSON: "application/x-ndjson", Format.CSV: "text/csv"}
_ENDINGS = {".json": Format.JSON, ".csv": Format.CSV}


@dataclass(frozen=True)
class Part:
    """What is sent in one request. offset: added to a row's number in the answer it gives the line of the file."""

    body: bytes
    offset: int


def observe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="- is standard input.")],
    format_: Annotated[
        Format | None, typer.Option("--format", help="Default: as the file's name ends, else ndjson.")
    ] = None,
    on_conflict: Annotated[
        OnConflict, typer.Option(help="Where a series has another value at that time.")
    ] = OnConflict.REPLACE,
    atomic: Annotated[bool, typer.Option("--atomic", help="All rows or none; then at most 100 000.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts and errors as JSON.")] = False,
) -> None:
    """Add observations from a file: a JSON object a line, CSV with a header, or a JSON list.

    Sending a file twice changes nothing. Rows that are wrong are told with their line; exit code 1 then.
    Example: [bold]drystone observe readings.csv[/bold]
    """
    import sys

    from drystone.cli.client import open_client

    form = format_ or _ENDINGS.get(file.suffix.lower(), Format.NDJSON)
    total: dict[str, Any] = {"inserted": 0, "replaced": 0, "unchanged": 0, "kept": 0, "refused": 0, "errors": []}
    with open_client(retry_s=60) as client:
        if str(file) == "-":
            _send_all(client, sys.stdin.buffer, form, on_conflict, atomic, total)
        else:
            with file.open("rb") as body:
                _send_all(client, body, form, on_conflict, atomic, total)
    _show_total(total, str(file), as_json)
    if total["refused"]:
        raise typer.Exit(1)


def _send_all(
    client: Client, body: BinaryIO, form: Format, on_conflict: OnConflict, atomic: bool, total: dict[str, Any]
) -> None:
    whole = atomic or form == Format.JSON
    parts = iter([Part(body.read(), 0)]) if whole else _parts(body, form)
    for part in parts:
        answer = client.add_observations(
            part.body, media_type=_TYPES[form], on_conflict=on_conflict.value, atomic=atomic
        )
        for error in answer["errors"]:
            total["errors"].append(error | {"row": error["row"] + part.offset})
        for name in ("inserted", "replaced", "unchanged", "kept", "refused"):
            total[name] += answer[name]


def _parts(body: BinaryIO, form: Format, at_once: int = _ROWS_AT_ONCE) -> Iterator[Part]:
    """A file of lines in parts, each of which can be read by itself."""
    if form == Format.CSV:
        yield from _parts_of_csv(body, at_once)
        return
    lines, first = list[bytes](), 1
    for number, line in enumerate(body, start=1):
        lines.append(line)
        if len(lines) == at_once:
            yield Part(b"".join(lines), first - 1)
            lines, first = [], number + 1
    if lines:
        yield Part(b"".join(lines), first - 1)


def _parts_of_csv(body: BinaryIO, at_once: int) -> Iterator[Part]:
    """Each part has the header, and rows as they stand in the file: a cell in quotes may go over several lines."""
    import csv

    from drystone.core.errors import Invalid

    taken: list[bytes] = []

    def lines() -> Iterator[str]:
        for line in body:
            taken.append(line)
            yield line.decode("utf-8", "replace")  # only to see where rows end: the API is sent the bytes

    reader = csv.reader(lines())
    try:
        next(reader, None)
        header = b"".join(taken)
        header_lines, first = len(taken), len(taken)
        taken.clear()
        for count, _ in enumerate(reader, start=1):
            if count % at_once == 0:
                yield Part(header + b"".join(taken), first - header_lines)
                first += len(taken)
                taken.clear()
    except csv.Error as exc:
        raise Invalid("file.not_csv", f"The file is not CSV: {exc}, line {reader.line_num}.") from exc
    if taken or first == header_lines:
        yield Part(header + b"".join(taken), first - header_lines)


def _show_total(total: dict[str, Any], name: str, as_json: bool) -> None:
    from drystone.cli import terminal

    if as_json:
        terminal.print_json(total)
        return
    counts = ("inserted", "replaced", "unchanged", "kept", "refused")
    for each in counts:
        if total[each] or each == "inserted":
            terminal.print_row(each, total[each])
    for error in total["errors"][:_SHOWN]:
        fix = _FIXES.get(error["code"], error["fix"])
        terminal.say(f"{name}:{error['row']}: {error['message']} ({error['code']})\n  fix: {fix}")
    if (more := total["refused"] - min(len(total["errors"]), _SHOWN)) > 0:
        terminal.say(f"and {more} more; --json tells up to 1000 of each {_ROWS_AT_ONCE} rows")


@series.command("list")
def list_(
    entity: Entities = None,
    metric: Metrics = None,
    source: Sources = None,
    limit: Most = 100,
    as_json: AsJson = False,
) -> None:
    """List series, with when each was first and last observed."""
    found = _paged("/series", _choice(entity, metric, source), limit)
    _show_series(found, as_json)
    _tell_of_more(found, "the first")


@series.command("raw")
def raw(
    entity: Entities = None,
    metric: Metrics = None,
    source: Sources = None,
    from_: From = None,
    until: Until = None,
    newest: Annotated[bool, typer.Option("--newest", help="Newest first.")] = False,
    limit: Most = 100,
    as_json: AsJson = False,
) -> None:
    """Show observations by time, as they were made."""
    query = _choice(entity, metric, source, from_, until) | {"order": ["newest" if newest else "oldest"]}
    found = _paged("/observations", query, limit)
    _show_observations(found, as_json)
    _tell_of_more(found, "the oldest" if not newest else "the newest")


@series.command("latest")
def latest(
    entity: Entities = None,
    metric: Metrics = None,
    source: Sources = None,
    as_of: Annotated[str | None, typer.Option(metavar="7d|TIME", help="As it was then.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest observation of each series, now or as of a date."""
    query = _choice(entity, metric, source) | ({"as_of": [as_of]} if as_of else {})
    _show_observations(_asked("/observations/latest", query), as_json)


@series.command("buckets")
def buckets(
    entity: Entities = None,
    metric: Metrics = None,
    source: Sources = None,
    from_: From = None,
    until: Until = None,
    bucket: Bucket = "P1D",
    tz: Tz = "UTC",
    aggregate: Annotated[str, typer.Option(help="avg, min, max, sum, count, first or last.")] = "avg",
    fill: Annotated[str, typer.Option(help="Of gaps: null, none, previous, linear or zero.")] = "none",
    as_json: AsJson = False,
) -> None:
    """Show series side by side in buckets of time."""
    query = _choice(entity, metric, source, from_, until)
    query |= {"bucket": [bucket], "tz": [tz], "aggregate": [aggregate], "fill": [fill]}
    _show_lines(_asked("/observations/buckets", query), as_json)


@series.command("average")
def average(
    entity: Entities = None,
    metric: Metrics = None,
    source: Sources = None,
    from_: From = None,
    until: Until = None,
    bucket: Bucket = "P1D",
    tz: Tz = "UTC",
    window: Annotated[int, typer.Option(min=1, help="So many buckets, the present one too.")] = 7,
    fill: Annotated[str, typer.Option(help="Empty buckets count for nothing (null), or for one 0 (zero).")] = "null",
    as_json: AsJson = False,
) -> None:
    """Show the moving average of series side by side."""
    query = _choice(entity, metric, source, from_, until)
    query |= {"bucket": [bucket], "tz": [tz], "window": [str(window)], "fill": [fill]}
    _show_lines(_asked("/observations/moving_average", query), as_json)


@series.command("rate")
def rate(
    entity: Entities = None,
    metric: Metrics = None,
    source: Sources = None,
    from_: From = None,
    until: Until = None,
    per: Annotated[str, typer.Option(help="s, m, h or d.")] = "h",
    counter: Annotated[bool, typer.Option("--counter", help="What falls began anew from 0.")] = False,
    limit: Most = 100,
    as_json: AsJson = False,
) -> None:
    """Show how fast values changed from one observation to the next."""
    query = _choice(entity, metric, source, from_, until) | {"per": [per], "counter": [str(counter).lower()]}
    found = _paged("/observations/rate", query, limit)
    columns = ("observed_at", "entity", "metric", "source", "value", "rate")
    _show(found, columns, [[each[name] for name in columns] for each in found["items"]], as_json)
    _tell_of_more(found, "the oldest")


@series.command("delete")
def delete(
    entity: Annotated[str, typer.Option("--entity", "-e", help="Key or id.")],
    from_: Annotated[str, typer.Option("--from", metavar="7d|TIME", help="Since.")],
    until: Annotated[str, typer.Option("--until", metavar="7d|TIME", help="Before.")],
    metric: Annotated[str | None, typer.Option("--metric", "-m", help="Only of this one.")] = None,
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only of this one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many, and delete none.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete what was observed of an entity from a time up to another, for ever; asks first."""
    from drystone.cli import removing, terminal
    from drystone.cli.client import open_client

    given = {"entity": entity, "metric": metric, "source": source, "from": from_, "until": until}
    which = {name: value for name, value in given.items() if value is not None}
    with open_client() as client:
        would = client.delete_observations(which, dry_run=True)
        what = f"{_counted(would['deleted'], 'observation')} of {would['series']} series"
        if dry_run or not would["deleted"]:
            terminal.say(f"{what} would be deleted")
            return
        if not yes:
            removing.ask(what)
        gone = client.delete_observations(which)
    terminal.say(f"{_counted(gone['deleted'], 'observation')} of {gone['series']} series deleted")


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _choice(
    entity: Sequence[str] | None,
    metric: Sequence[str] | None,
    source: Sequence[str] | None,
    from_: str | None = None,
    until: str | None = None,
) -> dict[str, list[str]]:
    given = {"entity": entity, "metric": metric, "source": source}
    found = {name: list(values) for name, values in given.items() if values}
    return found | {name: [value] for name, value in (("from", from_), ("until", until)) if value}


def _asked(path: str, query: dict[str, list[str]]) -> Any:
    from drystone.cli.client import open_client

    with open_client() as client:
        return client.observations(path, query)


def _paged(path: str, query: dict[str, list[str]], limit: int) -> Any:
    """Pages put together, up to so many items."""
    from drystone.cli.client import PAGE_LIMIT, open_client

    items: list[Any] = []
    cursor: str | None = None
    with open_client() as client:
        while True:
            page_query = query | {"limit": [str(min(limit - len(items), PAGE_LIMIT))]}
            page = client.observations(path, page_query | ({"cursor": [cursor]} if cursor else {}))
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None or len(items) >= limit:
                return page | {"items": items}


def _tell_of_more(found: Any, which: str) -> None:
    from drystone.cli import terminal

    if found["next_cursor"]:
        terminal.say(f"these are {which} {len(found['items'])}: -n shows more")


def _show_series(found: Any, as_json: bool) -> None:
    columns = ("entity", "metric", "source", "unit", "first_at", "last_at")
    _show(found, columns, [[each[name] for name in columns] for each in found["items"]], as_json)


def _show_observations(found: Any, as_json: bool) -> None:
    columns = ("observed_at", "entity", "metric", "source", "value", "unit")
    _show(found, columns, [[each[name] for name in columns] for each in found["items"]], as_json)


def _show_lines(found: Any, as_json: bool) -> None:
    """A row a bucket, a column a series; named by what tells the series apart."""
    told = [name for name in ("entity", "metric", "source") if len({each[name] for each in found["series"]}) > 1]
    heads = [
        " ".join(each[name] for name in told or ["metric"]) + (f" [{each['unit']}]" if each["unit"] else "")
        for each in found["series"]
    ]
    values = [each["values"] for each in found["series"]]
    rows = [[at, *(line[n] for line in values)] for n, at in enumerate(found["times"])]
    _show(found, ("from", *heads), rows, as_json)


def _show(found: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]], as_json: bool) -> None:
    """JSON, or a table; where many series leave no room for one, a line each."""
    from drystone.cli import listing, terminal
    from drystone.cli.listing import Column

    if as_json:
        terminal.print_json(found)
        return
    columns_of = [
        Column(
            column,
            lambda row, n=n: _cell(row[n]),  # type: ignore[misc]  # a default, to bind it
            right=any(isinstance(row[n], float) for row in rows),
            plain=lambda row, n=n: row[n],  # type: ignore[misc]  # likewise
        )
        for n, column in enumerate(columns)
    ]
    listing.show_rows(rows, columns_of)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
