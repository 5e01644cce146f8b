"""`drystone audit`: who changed what, and when.

A client of the HTTP API. Imports stay inside the commands.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drystone.cli.client import Client

audit = typer.Typer(
    no_args_is_help=True,
    help="""Who changed what, and when. Needs an admin's key.

    [bold]Examples[/bold]
    drystone audit list --action 'key.*'
    drystone audit list --subject DOCUMENT_ID
    drystone audit export audit.jsonl --newer-than 30d""",
)

_COLUMNS = ("id", "at", "actor", "action", "subject_kind", "subject_id", "request_id", "before_sha256", "after_sha256")
# A spreadsheet would take what begins so for a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")

Actor = Annotated[
    str | None, typer.Option(metavar="PREFIX|settings", help="Who: the prefix of a key, or a part of the system.")
]
Action = Annotated[str | None, typer.Option(help="What: one action, or with a star all that begin so.")]
Subject = Annotated[str | None, typer.Option(metavar="ID|PREFIX", help="Of what: its id, or the prefix of a key.")]
OlderThan = Annotated[str | None, typer.Option(metavar="7d|TIME", help="Only before.")]
NewerThan = Annotated[str | None, typer.Option(metavar="7d|TIME", help="Only since.")]


class Format(StrEnum):
    """How an export is written."""

    JSONL = "jsonl"
    CSV = "csv"


@audit.command("list")
def list_(
    actor: Actor = None,
    action: Action = None,
    subject: Subject = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most; 0: all.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers.")] = False,
) -> None:
    """List changes, newest first."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        query = _query(client, actor, action, subject, older_than, newer_than) | {"order": "newest"}
        rows = chain.from_iterable(client.audit_pages(query))
        found = list(islice(rows, limit) if limit else rows)
    if as_json:
        terminal.print_json({"items": found})
    else:
        listing.show_changes(found)


@audit.command("export")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Made anew; - is standard output.")],
    format_: Annotated[
        Format | None, typer.Option("--format", help="Default: as the file's name ends, else jsonl.")
    ] = None,
    actor: Actor = None,
    action: Action = None,
    subject: Subject = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
) -> None:
    """Write changes to a file, oldest first: a JSON object a line, or CSV that no spreadsheet takes for formulas."""
    import sys

    from drystone.cli import terminal
    from drystone.cli.client import open_client

    is_csv = format_ == Format.CSV if format_ else file.suffix.lower() == ".csv"
    with open_client(retry_s=60) as client:
        query = _query(client, actor, action, subject, older_than, newer_than) | {"order": "oldest"}
        rows = chain.from_iterable(client.audit_pages(query))
        if str(file) == "-":
            _write(rows, sys.stdout, is_csv=is_csv)
            return
        with file.open("w", encoding="utf-8", newline="") as target:
            count = _write(rows, target, is_csv=is_csv)
    terminal.say(f"{count} changes in {file}")


def _query(
    client: Client,
    actor: str | None,
    action: str | None,
    subject: str | None,
    older_than: str | None,
    newer_than: str | None,
) -> dict[str, str | None]:
    return {
        "actor": None if actor is None else actor.partition(".")[0],  # a whole key goes no further
        "action": action,
        "subject_id": None if subject is None else _id_of(client, subject),
        "older_than": older_than,
        "newer_than": newer_than,
    }


def _id_of(client: Client, subject: str) -> str:
    from uuid import UUID

    try:
        return str(UUID(subject))
    except ValueError:
        return client.key(subject.partition(".")[0])["id"]


def _write(rows: Iterator[Any], target: Any, *, is_csv: bool) -> int:
    import csv
    import json

    count = 0
    writer = csv.writer(target) if is_csv else None
    if writer:
        writer.writerow((*_COLUMNS, "details"))
    for row in rows:
        if writer:
            writer.writerow([*(_cell(row[name]) for name in _COLUMNS), _cell(_as_text(row["details"]))])
        else:
            target.write(json.dumps(row, ensure_ascii=False) + "\n")
        count += 1
    return count


def _as_text(details: Mapping[str, Any]) -> str:
    import json

    return json.dumps(details, ensure_ascii=False) if details else ""


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text
