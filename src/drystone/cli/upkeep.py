"""`drystone sync`, `scrub`: keep a collection in step with a folder, look after blobs.

Clients of the HTTP API. Imports stay inside the commands.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drystone.cli.data import DEFAULT_COLLECTION

if TYPE_CHECKING:
    from drystone.cli.adding import Item, Report
    from drystone.cli.client import Client
    from drystone.cli.syncing import Plan

_RETRY_S = 60.0
_POLL_S = 0.5
# Paths that are shown before it is asked about them.
_SHOWN = 10


def sync(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to mirror, with all below it.")],
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Where to; made where it is missing.")
    ] = DEFAULT_COLLECTION,
    prefix: Annotated[
        str | None,
        typer.Option(help="What external ids of the mirror begin with. Default: the folder's name and a slash."),
    ] = None,
    delete: Annotated[bool, typer.Option(help="Delete documents whose file is gone.")] = True,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Delete all of the mirror when the folder is empty.")
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Documents under this prefix that came from another folder are this one's."),
    ] = False,
    schema: Annotated[
        str | None,
        typer.Option(metavar="category:KEY|profile:KEY", help="What documents are under that are added or changed."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before many deletions.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until every sent document is ready or has failed.")] = True,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Files sent at the same time.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a collection mirror a folder: add what is new, update what changed, delete what is gone.

    Files are told apart by their path in the folder, which becomes the external id, and by SHA-256. Only documents
    whose external id begins with the prefix are ever touched; what came from another folder of that name is neither
    changed nor deleted. Hidden files and folders are left out. May be interrupted and run again at any time.

    Exit code 1 if a file failed, now or before, or was refused; 5 if it deletes too much to do so unasked.

    [bold]Examples[/bold]
    drystone sync ~/papers -c papers --dry-run
    drystone sync ~/papers -c papers
    """
    from drystone.cli import syncing
    from drystone.cli.client import open_client

    prefix = f"{folder.resolve().name}/" if prefix is None else prefix
    here = syncing.origin(folder)
    with open_client(retry_s=_RETRY_S) as client:
        sources, refused = syncing.find(folder, prefix)
        client.check()
        there = syncing.mirrored(client, collection, prefix)
        found = syncing.plan(sources, there, here, delete=delete, allow_empty=allow_empty)
        if not take_over:
            syncing.check_origin(found, prefix)
        if dry_run:
            _show_plan(found, refused, as_json=as_json)
            return
        if found.deletes_many and not yes:
            _ask(found)
        sent = _send(client, found, collection, schema, wait=wait, concurrency=concurrency)
    report, deleted = syncing.outcome(found, sent, refused), 0
    if report.fatal is None:
        with open_client(retry_s=_RETRY_S) as client:
            deleted = syncing.delete(client, found.deletions)
            if take_over:
                syncing.take_over(client, syncing.mirrored(client, collection, prefix), here)
    _show_result(found, report, collection, deleted, as_json=as_json)
    if report.fatal is not None:
        raise report.fatal
    if report.has_problems:
        raise typer.Exit(1)


def scrub(
    sample: Annotated[
        int, typer.Option(min=1, help="So many blobs, those first that were not checked for longest.")
    ] = 100,
    everything: Annotated[bool, typer.Option("--all", help="All blobs.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Make damaged extracted texts again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers.")] = False,
) -> None:
    """Read stored blobs again and hash them: which are missing or wrong, and whose are they?

    A file as uploaded is repaired by uploading the same file again, an extracted text by --repair.
    Exit code 1 if anything is missing or wrong.

    [bold]Examples[/bold]
    drystone scrub --sample 1000
    drystone scrub --all --repair
    """
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.start_scrub(sample=None if everything else sample, repair=repair)
        while found["state"] in ("queued", "running"):
            time.sleep(_POLL_S)
            found = client.scrub(found["id"])
    if as_json:
        terminal.print_json(found)
    else:
        _show_scrub(found)
    if found["problems"] or found["state"] != "done":
        raise typer.Exit(1)


def _ask(found: Plan) -> None:
    import sys

    from drystone.cli import terminal
    from drystone.core.errors import Conflict

    for path in found.as_json()["deleted"][:_SHOWN]:
        terminal.say(f"deleted: {path}")
    what = f"{len(found.deletions)} of {found.mirrored} documents would be deleted: their files are gone."
    if not sys.stdin.isatty():
        raise Conflict("sync.many_deletions", what, hint="look with --dry-run; --yes does it, --no-delete leaves them")
    typer.confirm(f"{what} Go on?", abort=True)


def _send(client: Client, found: Plan, collection: str, schema: str | None, *, wait: bool, concurrency: int) -> Any:
    """The report of `adding`, or None when there is nothing to send."""
    from drystone.cli import terminal
    from drystone.cli.adding import Adding
    from drystone.cli.data import watched

    sources = [*found.additions, *found.changes]
    if not sources:
        return None
    fields = {"collection": collection} | ({"schema": schema} if schema else {})
    adding = Adding(client, sources, fields, wait=wait, concurrency=concurrency)
    try:
        with watched(len(sources)) as watcher:
            return adding.run(watcher)
    except KeyboardInterrupt:
        terminal.say(f"interrupted; {adding.accepted} of {len(sources)} files were sent; run it again for the rest")
        raise


def _show_plan(found: Plan, refused: Sequence[Item], *, as_json: bool) -> None:
    from drystone.cli import terminal

    counts, paths = found.counts, found.as_json()
    if refused:
        counts["refused"], paths["refused"] = len(refused), [item.source.label for item in refused]
    if as_json:
        terminal.print_json(counts | {"paths": paths})
        return
    for name, each in paths.items():
        for path in each:
            terminal.print_row(name, path)
    terminal.say(f"nothing was changed; it would be: {_in_words(counts)}")


def _show_result(found: Plan, report: Report, collection: str, deleted: int, *, as_json: bool) -> None:
    from drystone.cli import listing, syncing, terminal

    counts = syncing.counts(found, report, deleted)
    gone = found.as_json()["deleted"] if deleted else []
    if as_json:
        terminal.print_json({**counts, "deleted_paths": gone, "sent": report.as_json()})
        return
    for name, count in counts.items():
        terminal.print_row(name, count)
    for path in gone:
        terminal.print_row("deleted_path", path)
    if report.items:
        listing.show_report(report, collection)


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())


def _show_scrub(found: Any) -> None:
    from drystone.cli import terminal

    for name in ("state", "checked", "total", "size_bytes", "repaired"):
        terminal.print_row(name, found[name])
    for problem in found["problems"]:
        what = "text" if problem["is_text"] else "file"
        terminal.print_row(
            problem["problem"], what, problem["document_id"], problem["name"], problem["sha256"], problem["hint"]
        )
