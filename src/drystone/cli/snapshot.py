"""`drystone snapshot` and `drystone reset`: the data of the whole stack, kept, put back, or thrown away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drystone.core.settings import Settings
    from drystone.stack.data.manifest import Manifest

snapshot = typer.Typer(
    no_args_is_help=True,
    help="""Keep the data of the whole stack, and put it back.

    [bold]Examples[/bold]
    drystone snapshot save before-import
    drystone snapshot list
    drystone down && drystone snapshot restore before-import && drystone up""",
)

Name = Annotated[str, typer.Argument(help="Up to 64 letters, digits and . _ -")]


@snapshot.command("save")
def save(name: Name) -> None:
    """Keep PostgreSQL, Redis and the S3 store as they are now, as one consistent set with checksums.

    Works while the stack is down, and while it runs: then everything is halted for a moment, which is told. `.env` is
    not part of it.
    """
    from drystone.stack.data import snapshot as stack

    began = time.monotonic()
    made = stack.save(_settings(), name)
    pause = f"; the stack was halted for {made.pause_s:.2f} s" if made.pause_s else ""
    typer.echo(f"saved {_told(made)} in {time.monotonic() - began:.1f} s{pause}", err=True)


@snapshot.command("restore")
def restore(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    undelete: Annotated[
        bool, typer.Option("--undelete", help="Bring back, too, what was deleted after the snapshot was made.")
    ] = False,
) -> None:
    """Put a snapshot in the place of the present data, which is gone afterwards. The stack must be down.

    All of it is checked first; an interruption leaves either the present data or the snapshot's. Passwords follow
    `.env` at the next `up`. Streams of events begin anew. What was deleted since stays deleted: the deletion log is no
    part of a snapshot, and the next start applies it.
    """
    from drystone import schema
    from drystone.documents import deletions
    from drystone.jobs import events
    from drystone.stack import root
    from drystone.stack.data import rest
    from drystone.stack.data import snapshot as stack

    settings = _settings()
    found = stack.read(settings, name)
    rest.check(settings, "Restoring a snapshot")
    _ask(f"Replace the present data by {_told(found)} of {found.created_at}?", yes)
    began = time.monotonic()
    stack.restore(
        settings,
        name,
        schemas=schema.revisions(root.find()),
        statement=events.RENEW_TIMELINE,
        before_swap=lambda: _keep_deletions(settings),
    )
    if undelete:
        deletions.undo(deletions.path_of(settings), since=found.created_at)
    stays = "comes back, too" if undelete else "is deleted again"
    typer.echo(
        f"restored {_told(found)} in {time.monotonic() - began:.1f} s; what was deleted since {stays} at the next start"
        "\nhint: run ./drystone up",
        err=True,
    )


@snapshot.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the programs that made each.")] = False,
) -> None:
    """List the snapshots, oldest first: name, when it was made, size, schema. Contents are checked by `restore` only."""
    from drystone.cli import listing, terminal
    from drystone.core.errors import DrystoneError
    from drystone.stack.data import snapshot as stack

    found = stack.every(_settings())
    made = [each for each in found if not isinstance(each, DrystoneError)]
    if as_json:
        terminal.print_json([_as_json(each) for each in made])
    elif made and terminal.is_terminal():
        listing.show_snapshots(made)
    else:
        for each in made:
            terminal.print_row(each.name, each.created_at, each.data_bytes, each.schema)
    for unreadable in found:
        if isinstance(unreadable, DrystoneError):
            terminal.say(unreadable.message)
    if not found:
        typer.echo("There are no snapshots. Make one: ./drystone snapshot save NAME", err=True)


@snapshot.command("rm")
def remove(name: Name) -> None:
    """Remove a snapshot."""
    from drystone.stack.data import snapshot as stack

    stack.remove(_settings(), name)
    typer.echo(f"removed {name}", err=True)


def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Remove all data of the stack: PostgreSQL, Redis and the S3 store. The stack must be down.

    `.env`, snapshots, models and logs stay. The next `up` begins with an empty stack.
    """
    from drystone.stack.data import reset as stack
    from drystone.stack.data import rest

    settings = _settings()
    rest.check(settings, "Removing the data")
    names = stack.names(settings)
    if not names:
        typer.echo("There is no data.", err=True)
        return
    _ask(f"Remove {', '.join(names)} in {settings.general.data_dir} for ever?", yes)
    typer.echo(f"removed {', '.join(stack.reset(settings))}", err=True)


def _keep_deletions(settings: Settings) -> None:
    """Add to the deletion log what the present database has not yet written there; without one that can be read, go on."""
    from drystone.core.errors import DrystoneError
    from drystone.documents import deletions
    from drystone.stack.data import snapshot as stack

    try:
        lines = stack.ask_present(settings, deletions.UNEXPORTED)
    except DrystoneError as exc:
        typer.echo(f"the last deletions of the present data, if any, are not in the log: {exc.message}", err=True)
        return
    if lines:
        deletions.append(deletions.path_of(settings), [bytes.fromhex(line).decode() for line in lines])


def _settings() -> Settings:
    from drystone.core.settings import load
    from drystone.stack import root

    return load(root.find())


def _ask(question: str, yes: bool) -> None:
    """Go on if the person says so. Raises Invalid where there is nobody to ask."""
    import sys

    from drystone.core.errors import Invalid

    if yes:
        return
    if not sys.stdin.isatty():
        raise Invalid("cli.nobody_to_ask", "This removes data, and there is nobody to ask.", hint="add --yes")
    typer.confirm(question, abort=True, err=True)


def _told(manifest: Manifest) -> str:
    from drystone.cli import terminal

    return f"{manifest.name} ({terminal.size(manifest.data_bytes)}, {len(manifest.files)} files)"


def _as_json(manifest: Manifest) -> dict[str, object]:
    return {
        "name": manifest.name,
        "created_at": manifest.created_at,
        "size_bytes": manifest.data_bytes,
        "files_bytes": manifest.size_bytes,
        "schema": manifest.schema,
        "pause_s": manifest.pause_s,
        "made_by": {part: str(made) for part, made in manifest.made_by.items()},
    }
