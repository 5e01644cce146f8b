"""`drystone jobs`: list, watch, show, retry, cancel; a client of the HTTP API. Imports stay inside the commands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from drystone.cli.answers import JobState
from drystone.cli.data import AsJson, ListByDefault, show_pages
from drystone.core.errors import Invalid

jobs = typer.Typer(
    cls=ListByDefault,
    help="""List, watch, retry and cancel the work that is queued, running or over. Alone it lists it.

    [bold]Examples[/bold]
    drystone jobs --watch
    drystone jobs --state failed --reason 'parse.*'
    drystone jobs retry --reason 'parse.*'""",
)

Collection = Annotated[str | None, typer.Option("--collection", "-c", help="Only those of this collection.")]
Reason = Annotated[
    str | None, typer.Option("--reason", "-r", help="Only those with this reason: a code, or its beginning and a star.")
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind", "-k", help="Those of this kind, or its beginning and a star: 'webhooks.*'. Default: 'documents.*'."
    ),
]
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID…]", help="Of jobs, whole or as lists show them, or of documents.")
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@jobs.command("list")
def list_jobs(
    state: Annotated[JobState | None, typer.Option("--state", "-s", help="Only those in this state.")] = None,
    kind: Kind = None,
    reason: Reason = None,
    collection: Collection = None,
    document: Annotated[str | None, typer.Option(help="Only those about this document.")] = None,
    older_than: Annotated[str | None, typer.Option(help="Made before: 15m, 2h, 7d, or a time.")] = None,
    newer_than: Annotated[str | None, typer.Option(help="Made after.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many; 0 for all.")] = 50,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show how the queue moves, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first; only those for documents unless --kind names others.

    [bold]Examples[/bold]
    drystone jobs --watch
    drystone jobs --state failed --newer-than 1h
    drystone jobs list -n 0 --json
    """
    from drystone.cli import choosing, listing, terminal, watching
    from drystone.cli.client import open_client

    filters = {"state": state, "kind": kind or choosing.DOCUMENTS, "reason": reason, "collection": collection}
    filters |= {"document": document, "older_than": older_than, "newer_than": newer_than}
    with open_client(retry_s=60.0 if watch else 0.0) as client:
        if watch:
            watching.watch(client)
            return

        def page(size: int, cursor: str | None) -> Any:
            return client.jobs(limit=size, cursor=cursor, **filters)

        show_pages(page, listing.JOBS, limit=limit, as_json=as_json, noun="jobs")
        is_whole_queue = not (kind or reason or collection or document)
        if is_whole_queue and not as_json and (left_out := choosing.others(client, state)):
            terminal.say(left_out)


@jobs.command("show")
def show_job(job_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one job, or the newest one of a document: its document, its lease, its tries and, if it failed, why."""
    from drystone.cli import choosing, listing, terminal, watching
    from drystone.cli.client import open_client

    with open_client() as client:
        job = choosing.find(client, job_id)
    if as_json:
        terminal.print_json(job)
    else:
        listing.show_one({**job, "progress": watching.passages(job)})


@jobs.command("retry")
def retry_jobs(
    ids: Ids = None,
    reason: Reason = None,
    collection: Collection = None,
    kind: Kind = None,
    every: All = False,
    force: Annotated[bool, typer.Option("--force", help="Quarantined files too.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Queue failed and cancelled jobs of documents anew, or of the kind named.

    Exit code 5 if one named by its id cannot be retried.

    [bold]Examples[/bold]
    drystone jobs retry ID
    drystone jobs retry --reason embedding.unavailable
    drystone jobs retry --all --dry-run
    """
    choice = {"reason": reason, "collection": collection, "all": every, "force": force}
    _change("retry", ids, kind, choice, dry_run=dry_run)


@jobs.command("cancel")
def cancel_jobs(
    ids: Ids = None,
    reason: Reason = None,
    collection: Collection = None,
    kind: Kind = None,
    every: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
) -> None:
    """End queued and running jobs of documents, or of the kind named.

    Their documents fail with job.cancelled, and can be retried. On a terminal it says how many and asks, unless ids
    are given.

    [bold]Examples[/bold]
    drystone jobs cancel ID
    drystone jobs cancel --collection papers
    """
    choice = {"reason": reason, "collection": collection, "all": every}
    _change("cancel", ids, kind, choice, dry_run=dry_run, asks=not yes)


@jobs.command("reasons")
def reasons() -> None:
    """Print every reason that a job, a document or a request may be refused for, as a page of the reference."""
    import sys

    from drystone.cli.reasons import page

    sys.stdout.write(page())


def _change(
    verb: Literal["retry", "cancel"],
    ids: list[str] | None,
    kind: str | None,
    choice: dict[str, Any],
    *,
    dry_run: bool,
    asks: bool = False,
) -> None:
    from drystone.cli import choosing
    from drystone.cli.client import open_client

    given = {name: value for name, value in choice.items() if value}
    if bool(ids) == bool(kind or given.keys() - {"force"}):
        raise Invalid("jobs.which", "Say which jobs: by ids, or by --reason, --collection, --kind or --all.")
    with open_client() as client:
        if ids and not dry_run:
            choosing.change_each(client, verb, ids, force=bool(choice.get("force")))
        elif ids:
            given["ids"] = [choosing.find(client, each)["id"] for each in ids]
            choosing.change_all(client, verb, given, dry_run=True)
        else:
            given["kind"] = kind or choosing.DOCUMENTS
            choosing.change_all(client, verb, given, dry_run=dry_run, asks=asks)
