"""`drystone bundle`: collections in open formats, out of one installation and into another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drystone.bundle.importing import Imported
    from drystone.bundle.schema import BundleManifest
    from drystone.core.settings import Settings

bundle = typer.Typer(
    no_args_is_help=True,
    help="""Carry collections, the catalogue and observations to another installation, in open formats. docs/reference/bundle.md

    [bold]Examples[/bold]
    drystone bundle export papers.zip --collection papers
    drystone bundle check papers.zip
    drystone bundle import papers.zip --into papers-2026""",
)

Names = Annotated[
    list[str] | None, typer.Option("--collection", "-c", metavar="NAME", help="Only these; may be repeated.")
]
Workspace = Annotated[str, typer.Option("--workspace", help="Of which workspace.")]
TakeOrSkip = Annotated[
    Literal["take", "skip"] | None, typer.Option(help="Default: take, unless collections are named.")
]
Given = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .zip file, or a folder.")]


@bundle.command("export")
def export(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A new .zip file, or else a new folder.")],
    names: Names = None,
    catalogue: Annotated[
        bool | None, typer.Option("--catalogue/--no-catalogue", help="Default: unless collections are named.")
    ] = None,
    observations: Annotated[
        bool | None, typer.Option("--observations/--no-observations", help="Default: unless collections are named.")
    ] = None,
    workspace: Workspace = "default",
) -> None:
    """Write collections with documents, versions, passages, vectors and files, the catalogue and observations, as they are at this moment.

    PostgreSQL and the object store must be up; the stack goes on working. It is there when it is whole.
    """
    import asyncio

    from drystone.cli import terminal

    made = asyncio.run(_export(_settings(), path, names or [], workspace, catalogue, observations))
    terminal.say(f"{path}: {_told(made)}, {made.blobs} blobs of {terminal.size(made.blob_bytes)}")


@bundle.command("check")
def check(path: Given) -> None:
    """Read a bundle whole, and say whether it is one: sizes, hashes, every line. Needs no server, changes nothing."""
    from drystone.bundle import checking, container
    from drystone.cli import terminal

    with container.opened(path) as opened:
        checking.check(opened)
        made = opened.manifest
    terminal.say(
        f"{path} is whole: {_told(made)}, made by drystone {made.software} at {made.created_at:%Y-%m-%d %H:%M}"
    )


@bundle.command("import")
def import_(
    path: Given,
    names: Names = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="NAME", help="The collection that the only one goes into.")
    ] = None,
    catalogue: TakeOrSkip = None,
    observations: TakeOrSkip = None,
    workspace: Workspace = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Import what is in a bundle, or some collections of it. All of it is checked first; of one that is wrong anywhere nothing is imported.

    Documents that are here already are left alone, so it may be repeated, and be interrupted. Vectors are taken over where
    the model is the same; otherwise the worker embeds the documents anew.
    """
    import asyncio
    import dataclasses

    from drystone.cli import terminal

    takes = {"catalogue": _takes(catalogue), "observations": _takes(observations)}
    done = asyncio.run(_import(_settings(), path, names or [], into, workspace, takes))
    if as_json:
        terminal.print_json(dataclasses.asdict(done))
    waiting = f", of which {done.waiting} wait for a worker" if done.waiting else ""
    terminal.say(f"{done.documents} documents imported{waiting}; {done.already} were here already")
    if done.without_schema:
        terminal.say(f"{done.without_schema} of them are under no schema here: the catalogue has none of its name")
    if done.defined or done.already_defined:
        terminal.say(f"{done.defined} of the catalogue imported; {done.already_defined} were here already")
    if done.series:
        old = f"; {done.too_old} are older than what is kept here" if done.too_old else ""
        terminal.say(f"{done.observations} observations imported; {done.already_observed} were here already{old}")


def _told(made: BundleManifest) -> str:
    said = f"{made.collections} collections, {made.documents} documents, {made.chunks} passages"
    if made.entities or made.modules or made.profiles:
        said += f", {made.entities} entities, {made.modules} modules, {made.profiles} profiles"
    return said + (f", {made.observations} observations" if made.series else "")


def _takes(said: str | None) -> bool | None:
    return None if said is None else said == "take"


async def _export(
    settings: Settings,
    path: Path,
    names: list[str],
    workspace: str,
    catalogue: bool | None,
    observations: bool | None,
) -> BundleManifest:
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
        return await export(
            make_sessions(engine),
            objects,
            path,
            names,
            workspace=workspace,
            catalogue=catalogue,
            observations=observations,
            say=terminal.say,
        )


async def _import(
    settings: Settings,
    path: Path,
    names: list[str],
    into: str | None,
    workspace: str,
    takes: Mapping[str, bool | None],
) -> Imported:
    from datetime import UTC, datetime, time

    from drystone.bundle import container
    from drystone.bundle.importing import Place, import_
    from drystone.cli import terminal
    from drystone.core import crash_points
    from drystone.core.db import make_engine, make_sessions
    from drystone.observations import months
    from drystone.observations.rows import EARLIEST
    from drystone.resources import open_resources

    crash_points.arm(settings.general.crash_points)
    url = settings.database.migration_url.get_secret_value()
    engine = make_engine(url, pool_size=5, application_name="drystone-bundle")
    first = months.first_kept(settings.observations.keep_months, datetime.now(UTC))
    oldest = max(datetime.combine(first, time(), UTC), EARLIEST) if first else EARLIEST
    try:
        async with open_resources(settings, name="bundle", searches=False) as resources:
            spool = settings.general.data_dir / "spool"
            place = Place(
                make_sessions(engine),
                resources.objects,
                resources.embedders,
                resources.nudger,
                spool,
                oldest,
                has_graph=settings.vectors.store == "pgvector",
            )
            with container.opened(path) as bundle:
                return await import_(
                    place, bundle, names=names, into=into, workspace=workspace, **takes, say=terminal.say
                )
    finally:
        await engine.dispose()


def _settings() -> Settings:
    from drystone.core import logging
    from drystone.core.settings import load
    from drystone.stack import root

    os.umask(0o077)
    logging.configure("WARNING", "console")
    return load(root.find())
