"""`drystone entities`, `modules`, `profiles`, `catalogue`: what things there are, as files and tables.

A client of the HTTP API. Imports stay inside the commands.
"""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drystone.catalogue.content import Content
    from drystone.cli.client import Client
    from drystone.cli.yaml_files import Manuscript
    from drystone.core.errors import DrystoneError

KINDS = {"entities": "entity", "modules": "module", "profiles": "profile"}
FIELDS = {
    "entity": ("type", "label", "description", "aliases", "parents", "schema_definition"),
    "module": ("label", "description", "version", "entities", "dependencies"),
    "profile": ("label", "description", "modules"),
}

Key = Annotated[str, typer.Argument(metavar="KEY", help="Its key, or its id.")]
Message = Annotated[str, typer.Option("--message", "-m", help="Why, for the history.")]
AsOf = Annotated[str | None, typer.Option(metavar="7d|TIME", help="As it was then.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers.")]
Words = Annotated[str | None, typer.Option("--words", "-q", help="Part of the key, the label or an alias.")]
Deleted = Annotated[bool, typer.Option("--deleted", help="Those that were deleted instead.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most; 0: all.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON; - is standard input.")]
KeyOption = Annotated[str | None, typer.Option("--key", "-k", help="Default: the file's name without its ending.")]
Bump = Annotated[bool, typer.Option("--bump", help="Give modules the next version by themselves whose members change.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]

# Where the API's own hint says what to send over HTTP, what to run instead.
_FIXES = {
    "module.not_bumped": "say --bump, or import it together with the file of the module",
    "module.step_too_small": "write that version or a higher one, leave it out, or say --bump",
}

_EXAMPLES = """

    [bold]Examples[/bold]
    drystone {many} list
    drystone {many} show {key} > {key}.yaml
    drystone {many} put {key}.yaml --dry-run
    drystone {many} history {key}"""


def _group(many: str, about: str, key: str) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, help=about + _EXAMPLES.format(many=many, key=key))


entities = _group("entities", "What things there are: categories, properties, subobjects.", "no2")
modules = _group("modules", "Entities that are versioned together.", "air")
profiles = _group("profiles", "Modules that are chosen for a purpose.", "city")
catalogue = typer.Typer(
    no_args_is_help=True,
    help="""The catalogue as a whole: a folder of YAML files, and back.

    [bold]Examples[/bold]
    drystone catalogue export air/
    drystone catalogue import air/ --dry-run
    drystone catalogue import air/ --bump -m 'ozone is measured, too'
    drystone catalogue log""",
)


@entities.command("list")
def list_entities(
    type_: Annotated[str | None, typer.Option("--type", "-t", help="category, property or subobject.")] = None,
    words: Words = None,
    module: Annotated[str | None, typer.Option("--module", help="Members of this module.")] = None,
    deleted: Deleted = False,
    as_of: AsOf = None,
    limit: Limit = 0,
    as_json: AsJson = False,
) -> None:
    """List entities, by key."""
    query = {"type": type_, "q": words, "module": module, "deleted": "true" if deleted else None, "as_of": as_of}
    _list("entities", query, limit, as_json=as_json)


@entities.command("passages")
def list_passages(
    key: Key,
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Only of this one.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="7d|TIME", help="Only of documents dated since then.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="7d|TIME", help="Only of those dated before.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many passages at most; 0: all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Where an entity's label or an alias stands, of the newest document first: a line for each mention."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        path = f"entities/{client.quoted(key)}/passages"
        query = {"collection": collection, "from": from_, "until": until}
        rows = chain.from_iterable(client.catalogue_pages(path, query))
        found = list(islice(rows, limit) if limit else rows)
    if as_json:
        terminal.print_json({"items": found})
    else:
        listing.show_mentions(found)


@entities.command("overview")
def overview(
    key: Key,
    at: Annotated[str | None, typer.Option(metavar="7d|TIME", help="As it was then; default: now.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="KEY", help="With what this one said of it.")
    ] = None,
    bucket: Annotated[str, typer.Option(help="What is summed up around that moment: PT1H, P1D, P1W, P1M …")] = "P1D",
    tz: Annotated[str, typer.Option(help="Time zone whose days are meant.")] = "UTC",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, max=100, help="How many passages at most.")] = 5,
    as_json: AsJson = False,
) -> None:
    """What was said of an entity at a moment, what was measured of it, and which passages speak of it."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    query = {"at": at, "profile": profile, "bucket": bucket, "tz": tz, "passages": str(limit)}
    with open_client() as client:
        found = client.overview(key, query)
    if as_json:
        terminal.print_json(found)
    else:
        listing.show_overview(found, bucket)


def _commands(group: typer.Typer, many: str) -> None:
    """The commands that all three have."""
    kind = KINDS[many]

    def list_(
        words: Words = None, deleted: Deleted = False, as_of: AsOf = None, limit: Limit = 0, as_json: AsJson = False
    ) -> None:
        _list(many, {"q": words, "deleted": "true" if deleted else None, "as_of": as_of}, limit, as_json=as_json)

    def show(key: Key, as_of: AsOf = None, as_json: AsJson = False) -> None:
        _show(many, key, as_of, as_json=as_json)

    def history(key: Key, limit: Limit = 50, as_json: AsJson = False) -> None:
        _history(many, key, limit, as_json=as_json)

    def put(
        file: File,
        key: KeyOption = None,
        bump: Bump = False,
        message: Message = "",
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        _put(kind, file, key, {"bump_modules": bump, "message": message, "dry_run": dry_run}, as_json=as_json)

    def delete(key: Key, message: Message = "", dry_run: DryRun = False) -> None:
        _change(kind, many, key, "delete", {"message": message, "dry_run": dry_run})

    def restore(
        key: Annotated[str, typer.Argument(metavar="KEY", help="Its key.")],
        message: Message = "",
        dry_run: DryRun = False,
    ) -> None:
        _change(kind, many, key, "restore", {"message": message, "dry_run": dry_run})

    if many != "entities":
        group.command("list", help=f"List {many}, by key.")(list_)
    group.command("show", help=f"Print one as a file that `{many} put` takes; who refers to it stands above.")(show)
    group.command("history", help="What was done to it, newest first.")(history)
    group.command("put", help="Make one, or have it say what a file says from now on.")(put)
    group.command("delete", help="Delete one that nobody refers to. Its versions are kept.")(delete)
    group.command("restore", help="Bring back the one of this key that was deleted last.")(restore)


for _many, _typer in (("entities", entities), ("modules", modules), ("profiles", profiles)):
    _commands(_typer, _many)


@profiles.command("schema")
def schema(
    key: Key,
    form: Annotated[
        str, typer.Option("--format", help="json-schema, or openapi for components of OpenAPI 3.1.")
    ] = "json-schema",
    as_of: AsOf = None,
) -> None:
    """Print what things of a profile look like, as JSON Schema 2020-12."""
    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        terminal.print_json(client.profile_schema(key, form=form, as_of=as_of))


@catalogue.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made if it is not there.")],
    as_of: AsOf = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over files that are there, and remove those of what is gone.")
    ] = False,
) -> None:
    """Write the catalogue as YAML files: entities/KEY.yaml, modules/KEY.yaml, profiles/KEY.yaml.

    The same catalogue is always the same bytes, so a folder under version control shows what changed.
    """
    from drystone.cli import folders, terminal
    from drystone.cli.client import open_client

    with open_client(retry_s=30) as client:
        revision = client.catalogue()["revision"]
        found = {many: _all(client, many, as_of) for many in KINDS}
        moved = client.catalogue()["revision"] != revision and as_of is None
    if moved:
        terminal.say("the catalogue was changed meanwhile: export it once more")
        raise typer.Exit(5)
    texts = {f"{many}/{item['key']}.yaml": _text(many, item) for many, items in found.items() for item in items}
    folders.write(folder, list(KINDS), texts, replace=replace)
    terminal.say(f"{folder} holds {', '.join(f'{many}: {len(items)}' for many, items in found.items())}")


@catalogue.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="As `catalogue export` writes it.")],
    dry_run: DryRun = False,
    bump: Bump = False,
    prune: Annotated[bool, typer.Option("--prune", help="Delete what has no file in the folder.")] = False,
    all_gone: Annotated[
        bool, typer.Option("--all-gone", help="With --prune, where the folder holds no files: delete all there is.")
    ] = False,
    message: Message = "",
    as_json: AsJson = False,
) -> None:
    """Have the catalogue be as the files say: all of it, or nothing. What is the same already is left as it is.

    Problems are told with file and line. Exit code 0: done; 2 or 5: nothing was done.
    """
    from drystone.cli import folders, terminal
    from drystone.cli.client import open_client

    if not (prune and all_gone):
        folders.check(folder, list(KINDS))
    read = {(KINDS[many], key): each for many in KINDS for key, each in folders.read(folder, many).items()}
    changes: list[dict[str, Any]] = [
        {"kind": kind, "key": key, "content": each.said} for (kind, key), each in read.items()
    ]
    files: list[Manuscript | None] = list(read.values())
    with open_client() as client:
        if prune:
            gone = [{"kind": KINDS[many], "key": item["key"], "action": "delete"} for many in KINDS for item in _all(client, many) if (KINDS[many], item["key"]) not in read]  # fmt: skip
            changes, files = changes + gone, [*files, *(None for _ in gone)]
        if not changes:
            terminal.say("the catalogue is empty already")
            return
        more = {"bump_modules": bump, "message": message, "dry_run": dry_run}
        _apply(client, changes, files, more, as_json=as_json)


@catalogue.command("graph")
def graph(
    form: Annotated[str, typer.Option("--format", help="svg, or mermaid, which many editors and forges draw.")] = "svg",
    with_entities: Annotated[bool, typer.Option("--entities", help="With entities, and what they refer to.")] = False,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="KEY", help="This one, and what it stands on.")
    ] = None,
    as_of: AsOf = None,
) -> None:
    """Print a drawing of who depends on whom."""
    import sys

    from drystone.cli.client import open_client

    with open_client() as client:
        sys.stdout.write(client.catalogue_graph(form=form, entities=with_entities, profile=profile, as_of=as_of))


@catalogue.command("status")
def status(as_json: AsJson = False) -> None:
    """Its revision, how much there is, and whether documents were looked through for the names of now."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        found = client.catalogue() | {"mentions": client.mentions_status()}
    if as_json:
        terminal.print_json(found)
    else:
        listing.show_one(found)


@catalogue.command("log")
def log(limit: Limit = 50, as_json: AsJson = False) -> None:
    """The changesets that were applied, newest first."""
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        rows = chain.from_iterable(client.catalogue_pages("catalogue/revisions", {}))
        found = list(islice(rows, limit) if limit else rows)
    if as_json:
        terminal.print_json({"items": found})
    else:
        listing.show_revisions(found)


def _list(many: str, query: Mapping[str, str | None], limit: int, *, as_json: bool) -> None:
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        rows = chain.from_iterable(client.catalogue_pages(many, query))
        found = list(islice(rows, limit) if limit else rows)
    if as_json:
        terminal.print_json({"items": found})
    else:
        listing.show_catalogued(found, many)


def _all(client: Client, many: str, as_of: str | None = None) -> list[Any]:
    return list(chain.from_iterable(client.catalogue_pages(many, {"as_of": as_of})))


def _text(many: str, item: Mapping[str, Any]) -> str:
    from drystone.cli import yaml_files

    return yaml_files.written({name: item[name] for name in FIELDS[KINDS[many]]})


def _show(many: str, key: str, as_of: str | None, *, as_json: bool) -> None:
    import sys

    from drystone.cli import terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        item = client.catalogued(many, key, as_of=as_of)
        inward = [] if as_of else client.catalogued(many, f"{key}/references")["referred_by"]
    if as_json:
        terminal.print_json(item)
        return
    lines = [f"{KINDS[many]} {item['key']}, version {item['number']}, published {item['published_at']}"]
    lines += [f"referred to by {each['kind']} {each['key']} ({each['role']})" for each in inward]
    text = "".join(f"# {terminal.clean(line)}\n" for line in lines) + _text(many, item)
    if terminal.is_terminal():
        text = "\n".join(map(terminal.clean, text.split("\n")))
    sys.stdout.write(text)


def _history(many: str, key: str, limit: int, *, as_json: bool) -> None:
    from drystone.cli import listing, terminal
    from drystone.cli.client import open_client

    with open_client() as client:
        rows = chain.from_iterable(client.catalogue_pages(f"{many}/{client.quoted(key)}/history", {}))
        found = list(islice(rows, limit) if limit else rows)
    if as_json:
        terminal.print_json({"items": found})
    else:
        listing.show_past(found)


def _put(kind: str, file: Path, key: str | None, more: Mapping[str, Any], *, as_json: bool) -> None:
    from drystone.cli import folders
    from drystone.cli.client import open_client

    if str(file) == "-" and key is None:
        raise typer.BadParameter("standard input has no name: say --key KEY", param_hint="--key")
    read = folders.read_file(file)
    change = {"kind": kind, "key": key or file.stem, "content": read.said}
    with open_client() as client:
        _apply(client, [change], [read], more, as_json=as_json)


def _change(kind: str, many: str, key: str, action: str, more: Mapping[str, Any]) -> None:
    from drystone.cli.client import open_client

    with open_client() as client:
        # Several may have had a key: an id is not taken for that of the one that was deleted last.
        named = key if action == "restore" else client.catalogue_key(many, key)
        change = {"kind": kind, "key": named, "action": action}
        _apply(client, [change], [None], more, as_json=False)


def _apply(
    client: Client,
    changes: Sequence[Mapping[str, Any]],
    files: Sequence[Manuscript | None],
    more: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    """Send a changeset and tell what became of it; problems with the lines of the files they come from."""
    from drystone.cli import listing, terminal
    from drystone.core.errors import DrystoneError

    try:
        done = client.change_catalogue({"changes": list(changes), **more})
    except DrystoneError as exc:
        if not exc.values.get("errors"):
            raise
        raise _told(exc, changes, files) from exc
    if as_json:
        terminal.print_json(done)
        return
    listing.show_done([each for each in done["changes"] if each["what"] != "unchanged"])
    same = sum(each["what"] == "unchanged" for each in done["changes"])
    what = "would be done" if done["dry_run"] else f"done: the catalogue is at revision {done['revision']}"
    terminal.say(f"{len(done['changes']) - same} {what}; {same} unchanged")


def _told(
    exc: DrystoneError, changes: Sequence[Mapping[str, Any]], files: Sequence[Manuscript | None]
) -> DrystoneError:
    """The same error, each problem on a line of its own with its file and line."""
    lines = []
    for error in exc.values["errors"]:
        is_of_shape = exc.code == "request.invalid"
        lines.append(f"{_origin(error['pointer'], changes, files, is_named=is_of_shape)}{error['detail']}")
        if is_of_shape and (quoted := _in_quotes(error, files)):
            lines.append(f"    {quoted}")
        if hint := _FIXES.get(error.get("code") or "", error.get("hint")):
            lines.append(f"    {hint}")
    count = len(exc.values["errors"])
    what = "Nothing was done: there is a problem." if count == 1 else f"Nothing was done: there are {count} problems."
    return type(exc)(exc.code, "\n".join((what, *lines)), status=exc.values.get("status"))


def _origin(
    pointer: str, changes: Sequence[Mapping[str, Any]], files: Sequence[Manuscript | None], *, is_named: bool
) -> str:
    """File and line of a problem. is_named: with the field, which what is said of it does not name; one that is missing is."""
    number, inner = _place(pointer, files)
    if number is None:
        return ""
    file, change = files[number], changes[number]
    if file is None:
        return f"{change['kind']} {change['key']}: "
    field = f"{'.'.join(map(str, inner))}: " if inner and (is_named or inner not in file.lines) else ""
    return f"{file.where(inner)}: {field}"


def _place(pointer: str, files: Sequence[Manuscript | None]) -> tuple[int | None, tuple[str | int, ...]]:
    """Which of the changes a pointer leads to, and where in its content."""
    from drystone.cli import yaml_files

    place = yaml_files.place_of(pointer)
    if len(place) < 2 or place[0] != "changes" or not isinstance(place[1], int) or place[1] >= len(files):
        return None, ()
    return place[1], place[3:]  # after changes, its number, content


def _in_quotes(error: Mapping[str, Any], files: Sequence[Manuscript | None]) -> str:
    """How to write what YAML takes for a number or a truth value and the API wants as a text."""
    number, inner = _place(error["pointer"], files)
    file = None if number is None else files[number]
    if file is None or "valid string" not in error["detail"]:
        return ""
    value: Any = file.said
    try:
        for part in inner:
            value = value[part]
    except (LookupError, TypeError):  # a name of digits, which a pointer does not tell from a place in a list
        return ""
    if not isinstance(value, bool | int | float):
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f'put it in quotes: {inner[-1]}: "{text}"'


def says_the_same(kind: str, said: Mapping[str, Any], there: Mapping[str, Any] | None) -> bool:
    """Whether a file says nothing that is not there already. One that cannot be read so is for the API to judge."""
    from drystone.catalogue import merging

    if there is None:
        return False
    try:
        given = content_of(kind, {"version": None, **said} if kind == "module" else said)
    except (TypeError, ValueError, AttributeError):
        return False
    return merging.says_nothing(given, content_of(kind, {name: there[name] for name in FIELDS[kind]}))


def content_of(kind: str, said: Mapping[str, Any]) -> Content:
    """What is said of one, by its fields."""
    from typing import cast

    from drystone.catalogue import content
    from drystone.catalogue.models import Kind

    return content.content_of(cast(Kind, kind), said)
