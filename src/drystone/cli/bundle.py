"""`drystone bundle`: collections in open formats, out of one installation and into another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drystone.bundle.importing import Imported
    from drystone.bundle.schema import BundleManifest
    from drystone.core.settings import Settings

bundle = typer.Typer(
    no_args_is_help=True,
    help="""Carry collections to another installation, in open formats. docs/reference/bundle.md

    [bold]Examples[/bold]
    drystone bundle export papers.zip --collection papers
    drystone bundle check papers.zip
    drystone bundle import papers.zip --into papers-2026""",
)

Names = Annotated[
    list[str] | None, typer.Option("--collection", "-c", metavar="NAME", help="Only these; may be repeated.")
]
Workspace = Annotated[str, typer.Option("--workspace", help="Of which workspace.")]
Given = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .zip file, or a folder.")]


@bundle.command("export")
def export(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A new .zip file, or else a new folder.")],
    names: Names = None,
    workspace: Workspace = "default",
) -> None:
    """Write collections with documents, versions, passages, vectors and files, as they are at this moment.

    PostgreSQL and the object store must be up; the stack goes on working. It is there when it is whole.
    """
    import asyncio

    from drystone.cli import terminal

    made = asyncio.run(_export(_settings(), path, names or [], workspace))
    terminal.say(
        f"{path}: {made.collections} collections, {made.documents} documents, {made.chunks} passages,"
        f" {made.blobs} blobs of {terminal.size(made.blob_bytes)}"
    )


@bundle.command("check")
def check(path: Given) -> None:
    """Read a bundle whole, and say whether it is one: sizes, hashes, every line. Needs no server, changes nothing."""
    from drystone.bundle import checking, container
    from drystone.cli import terminal

    with container.opened(path) as opened:
        checking.check(opened)
        made = opened.manifest
    terminal.say(
        f"{path} is whole: {made.collections} collections, {made.documents} documents, {made.chunks} passages,"
        f" made by drystone {made.software} at {made.created_at:%Y-%m-%d %H:%M}"
    )


@bundle.command("import")
def import_(
    path: Given,
    names: Names = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="NAME", help="The collection that the only one goes into.")
    ] = None,
    workspace: Workspace = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Import collections of a bundle. All of it is checked first; of one that is wrong anywhere nothing is imported.

    Documents that are here already are left alone, so it may be repeated, and be interrupted. Vectors are taken over where
    the model is the same; otherwise the worker embeds the documents anew.
    """
    import asyncio
    import dataclasses

    from drystone.cli import terminal

    done = asyncio.run(_import(_settings(), path, names or [], into, workspace))
    if as_json:
        terminal.print_json(dataclasses.asdict(done))
    waiting = f", of which {done.waiting} wait for a worker" if done.waiting else ""
    terminal.say(f"{done.documents} documents imported{waiting}; {done.already} were here already")


async def _export(settings: Settings, path: Path, names: list[str], workspace: str) -> BundleManifest:
    from contextlib import AsyncExitStack

    from drystone.adapters.objects import Objects
    from drystone.bundle.exporting import export
    from drystone.cli import terminal
    from drystone.core.db import make_engine, make_sessions

    async with AsyncExitStack() as stack:
        engine = make_engine(
            settings.database.migration_url.get_secret_value(),
            pool_size=1,
            application_name="drystone-bundle",
            command_timeout_s=3600,
        )
        stack.push_async_callback(engine.dispose)
        objects = Objects.open_s3(settings.s3)
        return await export(make_sessions(engine), objects, path, names, workspace=workspace, say=terminal.say)


async def _import(settings: Settings, path: Path, names: list[str], into: str | None, workspace: str) -> Imported:
    from drystone.bundle import container
    from drystone.bundle.importing import Place, import_
    from drystone.cli import terminal
    from drystone.core import crash_points
    from drystone.core.db import make_engine, make_sessions
    from drystone.resources import open_resources

    crash_points.arm(settings.general.crash_points)
    url = settings.database.migration_url.get_secret_value()
    engine = make_engine(url, pool_size=5, application_name="drystone-bundle")
    try:
        async with open_resources(settings, name="bundle", searches=False) as resources:
            spool = settings.general.data_dir / "spool"
            place = Place(make_sessions(engine), resources.objects, resources.embedders, resources.nudger, spool)
            with container.opened(path) as bundle:
                return await import_(place, bundle, names=names, into=into, workspace=workspace, say=terminal.say)
    finally:
        await engine.dispose()


def _settings() -> Settings:
    from drystone.core import logging
    from drystone.core.settings import load
    from drystone.stack import root

    os.umask(0o077)
    logging.configure("WARNING", "console")
    return load(root.find())
