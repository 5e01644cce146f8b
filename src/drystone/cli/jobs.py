"""`drystone jobs`: list, watch, show, retry, cancel; a client of the HTTP API. Imports stay inside the commands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from drystone.cli.answers import JobState
from drystone.cli.data import AsJson, ListByDefault, parse_id, show_pages
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
Kind = Annotated[str | None, typer.Option("--kind", "-k", help="Only those of this kind, like documents.ingest.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…")]
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
    """List jobs, newest first.

    [bold]Examples[/bold]
    drystone jobs --watch
    drystone jobs --state failed --newer-than 1h
    drystone jobs list -n 0 --json
    """
    from drystone.cli import listing, watching
    from drystone.cli.client import open_client

    filters = {"state": state, "kind": kind, "reason": reason, "collection": collection}
    filters |= {"document": document, "older_than": older_than, "newer_than": newer_than}
    with open_client(retry_s=60.0 if watch else 0.0) as client:
        if watch:
            watching.watch(client)
            return

        def page(size: int, cursor: str | None) -> Any:
            return client.jobs(limit=size, cursor=cursor, **filters)

        show_pages(page, listing.JOBS, limit=limit, as_json=as_json, noun="jobs")


@jobs.command("show")
def show_job(job_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one job: its document, its lease, its tries and, if it failed, why."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        job = client.job(parse_id(job_id))
    if as_json:
        terminal.print_json(job)
    else:
        listing.show_one(job)


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
    """Queue failed and cancelled jobs anew. Exit code 5 if one named by its id cannot be retried.

    [bold]Examples[/bold]
    drystone jobs retry ID
    drystone jobs retry --reason embedding.unavailable
    drystone jobs retry --all --dry-run
    """
    choice = {"reason": reason, "collection": collection, "kind": kind, "all": every, "force": force}
    _change("retry", ids, choice, dry_run=dry_run)


@jobs.command("cancel")
def cancel_jobs(
    ids: Ids = None,
    reason: Reason = None,
    collection: Collection = None,
    kind: Kind = None,
    every: All = False,
    dry_run: DryRun = False,
) -> None:
    """End queued and running jobs: their documents fail with job.cancelled, and can be retried.

    [bold]Examples[/bold]
    drystone jobs cancel ID
    drystone jobs cancel --collection papers
    """
    _change("cancel", ids, {"reason": reason, "collection": collection, "kind": kind, "all": every}, dry_run=dry_run)


@jobs.command("reasons")
def reasons() -> None:
    """Print every reason that a job, a document or a request may be refused for, as a page of the reference."""
    import sys

    from drystone.cli.reasons import page

    sys.stdout.write(page())


_DONE = {"retry": "queued anew", "cancel": "cancelled"}


def _change(verb: Literal["retry", "cancel"], ids: list[str] | None, choice: dict[str, Any], *, dry_run: bool) -> None:
    """One by one where ids are given, so that each that cannot be changed is told why; otherwise all that fit."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    given = {name: value for name, value in choice.items() if value}
    if bool(ids) == bool(given.keys() - {"force"}):
        raise Invalid("jobs.which", "Say which jobs: by ids, or by --reason, --collection, --kind or --all.")
    with open_client() as client:
        if ids and not dry_run:
            for job_id in [parse_id(job_id) for job_id in ids]:
                if verb == "retry":
                    client.retry_job(job_id, force=bool(choice.get("force")))
                else:
                    client.cancel_job(job_id)
                terminal.say(f"{_DONE[verb]}: {job_id}")
            return
        _change_all(client, verb, given | ({"ids": ids} if ids else {}), dry_run=dry_run)


def _change_all(client: Any, verb: Literal["retry", "cancel"], choice: dict[str, Any], *, dry_run: bool) -> None:
    from drystone.cli import terminal

    total, refused = 0, dict[str, int]()
    while True:
        changed = client.change_jobs(verb, {**choice, "dry_run": dry_run})
        total += changed["jobs"]
        for code, number in changed["refused"].items():
            refused[code] = refused.get(code, 0) + number
        if dry_run or not changed["more"] or not changed["jobs"]:
            break
    more = " or more" if dry_run and changed["more"] else ""
    terminal.say(f"{total}{more} jobs {'would be ' if dry_run else ''}{_DONE[verb]}")
    for code, number in sorted(refused.items()):
        terminal.say(f"{number} not: {code}")
