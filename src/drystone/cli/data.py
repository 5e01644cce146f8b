"""`drystone add`, `search`, `documents`: clients of the HTTP API, with the key from `.env`.

Data goes to standard output, talk to standard error. Imports stay inside the commands: `drystone --help` is quick.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from drystone.cli.answers import Collapse, DocumentState, Mode
from drystone.core.errors import Invalid
from drystone.core.strict_json import DECODER

if TYPE_CHECKING:
    from drystone.cli.adding import Watcher
    from drystone.cli.files import Source

DEFAULT_COLLECTION = "default"
# A server that is being restarted is back well within this.
_RETRY_S = 60.0

SCHEMA_HELP = "The category or profile of the catalogue that its attributes are to fit."
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers.")]


class ListByDefault(TyperGroup):
    """`documents` alone means `documents list`, and so does `documents --state failed`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_for_help = any(arg in ctx.help_option_names for arg in args[:1])
        if not args or (args[0].startswith("-") and not asks_for_help):
            args = ["list", *args]
        return super().parse_args(ctx, args)


documents = typer.Typer(
    cls=ListByDefault,
    help="""List, show, read and delete documents. Alone it lists them.

    [bold]Examples[/bold]
    drystone documents --state failed
    drystone documents show ID""",
)


def add(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH…", help="Files, folders with all below them, or - for standard input.")
    ],
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Where to put them; made where it is missing.")
    ] = DEFAULT_COLLECTION,
    external_id: Annotated[
        str | None, typer.Option(help="Your own id for the document; other bytes under it become a new version.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="A title for the document, instead of the one found in it.")] = None,
    name: Annotated[
        str | None, typer.Option(help="A file name, whose ending says the type: for standard input.")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute", "-a", metavar="KEY=VALUE", help="For filters; a value that is JSON counts as JSON."
        ),
    ] = None,
    schema: Annotated[str | None, typer.Option(metavar="category:KEY|profile:KEY", help=SCHEMA_HELP)] = None,
    wait: Annotated[bool, typer.Option(help="Wait until every document is ready or has failed.")] = True,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Files sent at the same time.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: counts and every file.")] = False,
) -> None:
    """Send files, and wait until they can be found.

    Folders are walked to the bottom; hidden files and folders are left out.
    Sending the same bytes twice is harmless: they are there already.
    Exit code 1 if a file failed or was refused, with the reason for each.

    [bold]Examples[/bold]
    drystone add report.pdf
    drystone add ~/papers -c papers -a year=1962 -a author=Donnell
    drystone add report.pdf --schema category:report -a report-date=2025-01-31
    curl -s https://example.org/page | drystone add - --name page.html
    """
    import tempfile

    from drystone.cli import listing, terminal
    from drystone.cli.adding import Adding
    from drystone.cli.client import open_client

    collection = collection or DEFAULT_COLLECTION
    fields = {
        "collection": collection,
        "external_id": external_id,
        "title": title,
        "attributes": attributes(attribute),
        "schema": schema,
    }
    with tempfile.TemporaryDirectory(prefix="drystone-") as folder, open_client(retry_s=_RETRY_S) as client:
        sources = _sources(paths, Path(folder), single={"--external-id": external_id, "--title": title, "--name": name})
        client.check()
        adding = Adding(
            client,
            sources,
            {key: value for key, value in fields.items() if value},
            name=name or ("stdin" if list(paths) == ["-"] else None),
            wait=wait,
            concurrency=concurrency,
        )
        try:
            with watched(len(sources)) as watcher:
                report = adding.run(watcher)
        except KeyboardInterrupt:
            terminal.say(f"interrupted; {adding.accepted} of {len(sources)} files were sent and will be worked on")
            raise
    if as_json:
        terminal.print_json(report.as_json())
    else:
        listing.show_report(report, collection)
    if report.fatal is not None:
        raise report.fatal
    if report.has_problems:
        raise typer.Exit(1)


def search(
    query: Annotated[list[str], typer.Argument(metavar="QUERY…", help="A question or words; no quotes are needed.")],
    collection: Annotated[
        list[str] | None, typer.Option("--collection", "-c", help="Where to look; several are searched as one.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many passages.")] = 5,
    mode: Annotated[
        Mode,
        typer.Option(help="hybrid: words and meaning; dense: meaning only; lexical: words only."),
    ] = "hybrid",
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help="A filter over the documents' attributes and fields.")
    ] = None,
    entity: Annotated[
        list[str] | None,
        typer.Option(
            "--entity", "-e", metavar="KEY", help="Only documents that mention this entity; several: all of them."
        ),
    ] = None,
    entities: Annotated[bool, typer.Option("--entities", help="Tell which entities each passage mentions.")] = False,
    per_document: Annotated[
        int | None, typer.Option("--per-document", min=1, max=100, help="At most so many passages of one document.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Show passages that stand side by side as one.")] = False,
    collapse: Annotated[
        Collapse | None,
        typer.Option(help="Which passages stand behind a better one: copies; near: those nearly the same, too."),
    ] = None,
    diversity: Annotated[
        float, typer.Option(min=0, max=1, help="0: the best passages; towards 1: passages unlike each other.")
    ] = 0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Tell why each hit is there, and what took how long.")
    ] = False,
    rerank: Annotated[
        bool | None,
        typer.Option(
            "--rerank/--no-rerank", help="Demand the reranker, or do without; else it is asked if there is one."
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long passages whole, not only their best part.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the passages that answer a question best.

    Each is a quote from a document, with its page and its place in the text.
    Long ones are cut to their best part on a terminal, never in a pipe.

    [bold]Examples[/bold]
    drystone search why do thin shells buckle
    drystone search buckling -c papers -n 10 --mode lexical
    drystone search shells --filter '{"type":"gte","key":"year","value":1960}'
    drystone search "limits in cities" --entity no2 --entities
    drystone search shells -c papers -c notes --per-document 1 --explain
    drystone search shells --collapse near --diversity 0.3
    drystone search shells --json | jq '.hits[].quote'
    """
    from drystone.cli import passages, places, terminal
    from drystone.cli.client import open_client

    question = " ".join(query)
    body: dict[str, Any] = {"query": question, "mode": mode, "limit": limit}
    if per_document is not None:
        body["max_per_document"] = per_document
    body |= {"merge": merge, "diversity": diversity}
    if collapse is not None:
        body["collapse"] = collapse
    if explain:
        body["explain"] = True
    if rerank is not None:
        body["rerank"] = rerank
    if entities:
        body["entities"] = True
    filters = [{"type": "eq", "key": "$entity", "value": key} for key in entity or []]
    if filter_ is not None:
        filters.append(json_object(filter_))
    if filters:
        body["filter"] = filters[0] if len(filters) == 1 else {"type": "and", "filters": filters}
    with open_client() as client, places.looking(client, collection) as collections:
        answer = client.search(body | {"collections": collections})
        there_are = [] if answer["hits"] or as_json else client.collections()
    if as_json:
        terminal.print_json(answer)
        return
    passages.show(answer, question, full=full)
    if not answer["hits"]:
        terminal.say(places.nothing("hits", collections, there_are, named=bool(collection)))
    elif answer["truncated"]:
        terminal.say("fewer passages than asked for, although more may match")
    for warning in answer["warnings"]:
        what = "not reranked" if warning["code"].startswith("rerank.") else "warning"
        terminal.say(f"{what}: {warning['detail']}" + (f" ({warning['hint']})" if warning["hint"] else ""))


@documents.command("list")
def list_documents(
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Only those of this collection.")] = None,
    state: Annotated[DocumentState | None, typer.Option("--state", "-s", help="Only those in this state.")] = None,
    filter_: Annotated[
        str | None, typer.Option("--filter", "-f", metavar="JSON", help="Only those that pass this filter.")
    ] = None,
    schema: Annotated[
        str | None, typer.Option(metavar="category:KEY|profile:KEY", help="Only those under this category or profile.")
    ] = None,
    fits: Annotated[
        bool | None,
        typer.Option(
            "--fits/--not-fitting", help="Only those whose attributes fit the schema they are under, or do not."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many; 0 for all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List documents in the order they were made.

    [bold]Examples[/bold]
    drystone documents --state failed
    drystone documents --not-fitting
    drystone documents list -c papers -n 0 --json
    drystone documents list --filter '{"type": "gte", "key": "$created_at", "value": "2026-01-31"}'
    """
    from drystone.cli import listing
    from drystone.cli.client import open_client

    chosen = json_object(filter_) if filter_ else None

    with open_client() as client:

        def page(size: int, cursor: str | None) -> Any:
            return client.documents(
                collection=collection, state=state, schema=schema, fits=fits, filter=chosen, limit=size, cursor=cursor
            )

        columns = listing.NOT_FITTING if fits is False else listing.DOCUMENTS
        show_pages(page, columns, limit=limit, as_json=as_json, noun="documents")


@documents.command("show")
def show_document(document_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """Show one document: its state, and why it failed if it did."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        document = client.document(parse_id(document_id))
    if as_json:
        terminal.print_json(document)
    else:
        listing.show_one(document)


@documents.command("describe")
def describe_document(
    document_id: Annotated[str, typer.Argument(metavar="ID")],
    title: Annotated[str | None, typer.Option(help="Another title.")] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            "-a",
            metavar="KEY=VALUE",
            help="Set it; a value that is JSON counts as JSON, null removes it.",
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="category:KEY|profile:KEY|none", help=f"{SCHEMA_HELP[:-1]} from now on; none: any may be."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is said of a document: its title, attributes, and the schema that these are to fit.

    What does not fit is told for each attribute, and nothing is changed.

    [bold]Examples[/bold]
    drystone documents describe ID -a report-date=2025-01-31 --schema category:report
    drystone documents describe ID -a draft=null --title Shells
    """
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    said = attributes(attribute)
    given = {"title": title, "attributes": None if said is None else DECODER.decode(said), "schema": schema}
    patch = {name: value for name, value in given.items() if value is not None}
    if not patch:
        raise Invalid(
            "documents.nothing_said",
            "Nothing is to be changed.",
            hint="say it with --title, --attribute or --schema",
        )
    if schema == "none":
        patch["schema"] = None
    with open_client() as client:
        document = client.describe_document(parse_id(document_id), patch)
    if as_json:
        terminal.print_json(document)
    else:
        listing.show_one(document)


@documents.command("entities")
def list_entities(
    document_id: Annotated[str, typer.Argument(metavar="ID")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the entities of the catalogue that a document mentions, most often first."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.document_entities(parse_id(document_id), limit=limit)
    if as_json:
        terminal.print_json(found)
    else:
        listing.show_mentioned(found["items"])


@documents.command("versions")
def list_versions(document_id: Annotated[str, typer.Argument(metavar="ID")], as_json: AsJson = False) -> None:
    """List the versions of a document: which one serves, and why one failed."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.versions(parse_id(document_id))
    if as_json:
        terminal.print_json({"items": found})
    else:
        listing.show_rows(found, listing.VERSIONS)


@documents.command("restore")
def restore_version(
    document_id: Annotated[str, typer.Argument(metavar="ID")],
    number: Annotated[int, typer.Argument(metavar="NUMBER", min=1, help='As "drystone documents versions ID" shows.')],
) -> None:
    """Make the file of an old version the newest one; the versions between stay readable."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        restored = client.restore_version(parse_id(document_id), number)
    if restored["already_there"]:
        terminal.say(f"version {number} is what the newest one is already")
    else:
        terminal.say(
            f"version {number} is made the newest one: drystone documents versions {document_id} shows how far"
        )


def collections(as_json: AsJson = False) -> None:
    """List collections, with how many documents each has."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.collections()
    if as_json:
        terminal.print_json({"items": found})
    elif found:
        listing.show_rows(found, listing.COLLECTIONS)
    else:
        terminal.say("no collections")


@documents.command("text")
def show_text(document_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Print the text that was extracted from a document; quotes and offsets refer to it."""
    import sys

    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        text = client.text(parse_id(document_id))
    # To the byte: whoever cuts it by offsets must not find a line break of ours.
    if terminal.is_terminal():
        text = "\n".join(terminal.clean(line) for line in text.split("\n"))
    sys.stdout.buffer.write(text.encode())
    if terminal.is_terminal() and not text.endswith("\n"):
        sys.stdout.buffer.write(b"\n")


@documents.command("delete")
def delete_documents(
    document_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID…]")] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", help="Instead of ids: all of this collection, or those that …")
    ] = None,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", "-f", metavar="JSON", help="… pass this filter over their attributes and fields."),
    ] = None,
    state: Annotated[DocumentState | None, typer.Option("--state", "-s", help="… are in this state.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete documents with all their versions: out of search at once, off the disk soon after. There is no way back.

    [bold]Examples[/bold]
    drystone documents delete ID
    drystone documents delete -c papers --state failed --dry-run
    drystone documents delete -c papers --filter '{"type": "lt", "key": "year", "value": 1950}'
    """
    from drystone.cli import removing
    from drystone.cli.client import open_client

    if bool(document_ids) == bool(collection):
        raise Invalid(
            "documents.which",
            "Say which documents: by ids, or by --collection with --filter or --state if wanted.",
            hint='"drystone documents delete --help" has examples; nothing was deleted',
        )
    selection: dict[str, Any] = {"ids": [parse_id(each) for each in document_ids]} if document_ids else {}
    given = {"collection": collection, "filter": json_object(filter_) if filter_ else None, "state": state}
    selection |= {name: value for name, value in given.items() if value is not None}
    with open_client() as client:
        removing.remove(client, selection, dry_run=dry_run, yes=yes, as_json=as_json)


def attributes(pairs: Sequence[str] | None) -> str | None:
    """`key=value` pairs as the JSON object that the API takes. A value that parses as JSON is that, else a string."""
    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Invalid(
                "add.bad_attribute",
                f"{pair!r} is not KEY=VALUE.",
                hint="for example --attribute year=1962",
                pointer="attribute",
            )
        try:
            found[key] = DECODER.decode(value)
        except (ValueError, RecursionError):
            found[key] = value
    return json.dumps(found) if found else None


def json_object(text: str) -> dict[str, Any]:
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Invalid(
            "search.bad_filter",
            "The filter is not a JSON object.",
            hint="""for example --filter '{"type": "eq", "key": "year", "value": 1962}'""",
            pointer="filter",
        )
    return value


def parse_id(text: str) -> str:
    """An id as it goes into a path. Raises Invalid for what cannot be one, before anything is asked."""
    from uuid import UUID

    try:
        return str(UUID(text))
    except ValueError as exc:
        raise Invalid(
            "request.bad_id", f"{text!r} is not an id.", hint='lists such as "drystone documents" show ids'
        ) from exc


def _sources(paths: Sequence[str], folder: Path, *, single: dict[str, str | None]) -> list[Source]:
    """The files to send. single: options that make sense for one file only, with their values."""
    from drystone.cli import files, terminal

    if files.STDIN in paths and len(paths) > 1:
        raise Invalid("add.stdin_with_others", "Standard input (-) goes alone.", hint="send the files in a second call")
    found = [files.keep_stdin(folder)] if files.STDIN in paths else files.find(paths)
    given = [option for option, value in single.items() if value]
    if given and len(found) != 1:
        raise Invalid(
            "add.option_for_one",
            f"{' and '.join(given)} would be the same for {len(found)} files.",
            hint="send that file in a call of its own",
        )
    if not found:
        terminal.say("no files there (hidden ones are left out)")
    return found


@contextmanager
def watched(total: int) -> Iterator[Watcher]:
    """A progress bar on standard error, if that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    from drystone.cli import terminal
    from drystone.cli.adding import Watcher

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            elapsed_s = task.finished_time or task.elapsed
            return Text(f"{task.completed / elapsed_s:.1f} files/s" if elapsed_s else "", "dim")

    console = terminal.err()
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), Rate())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        sent, settled = progress.add_task("sent", total=total), progress.add_task("done", total=total)

        def advance(sent_now: int, settled_now: int) -> None:
            progress.update(sent, completed=sent_now)
            progress.update(settled, completed=settled_now)

        yield Watcher(progress=advance, notice=lambda sentence: console.print(sentence, style="dim"))


def show_pages(page: Any, columns: Any, *, limit: int, as_json: bool, noun: str) -> None:
    """Print up to `limit` rows (0: all). page(size, cursor): one page as the API gives it."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import PAGE_LIMIT

    rows: list[Any] = []
    cursor: str | None = None
    while True:
        answer = page(min(limit - len(rows), PAGE_LIMIT) if limit else PAGE_LIMIT, cursor)
        rows += answer["items"]
        cursor = answer["next_cursor"]
        if cursor is None or len(rows) == limit:
            break
    if as_json:
        terminal.print_json({"items": rows, "next_cursor": cursor})
        return
    if rows:
        listing.show_rows(rows, columns)
    else:
        terminal.say(f"no {noun}")
    if cursor is not None:
        terminal.say(f"there are more {noun}: --limit 0 shows all")
