"""`drystone deletions`: the log of what was deleted, taken out of a database and applied to one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drystone.core.settings import Settings

deletions = typer.Typer(
    no_args_is_help=True,
    help="""What was deleted, kept apart from what a snapshot or a backup restores.

    The stack does this by itself with `deletions.jsonl` in its data folder; these are for a database elsewhere.

    [bold]Examples[/bold]
    drystone deletions export deletions.jsonl
    drystone deletions replay deletions.jsonl""",
)


@deletions.command("export")
def export(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Made anew; standard output if left out.")
    ] = None,
) -> None:
    """Write all deletions that the database knows, a line of JSON each. PostgreSQL must be up."""
    import asyncio

    from drystone.cli import terminal

    lines = asyncio.run(_every(_settings()))
    if file is None:
        typer.echo("".join(f"{line}\n" for line in lines), nl=False)
        return
    from drystone.documents import deletions as room

    room.write(file, lines)
    terminal.say(f"{len(lines)} deletions in {file}")


@deletions.command("replay")
def replay(file: Annotated[Path, typer.Argument(metavar="FILE", help="As `export` or the stack wrote it.")]) -> None:
    """Delete again what the file says and the database still has. Harmless when done before.

    Web and worker should be down, so that nobody sees meanwhile what is to go.
    """
    import asyncio

    from drystone.cli import terminal
    from drystone.core.errors import NotFound

    if not file.is_file():
        raise NotFound("deletions.no_file", f"There is no file {file}.", hint="the stack's own is deletions.jsonl")
    terminal.say(f"deleted again: {asyncio.run(replayed(_settings(), file))}")


async def replayed(settings: Settings, path: Path) -> int:
    """Replay the log; how many documents and collections were deleted again."""
    from drystone.core.db import make_engine, make_sessions
    from drystone.documents import deletions as room
    from drystone.jobs.broker import Nudger

    engine = make_engine(settings.database.url.get_secret_value(), pool_size=1, application_name="drystone-deletions")
    nudger = Nudger(settings.redis)
    try:
        return await room.replay(make_sessions(engine), nudger, path)
    finally:
        nudger.close()
        await engine.dispose()


async def _every(settings: Settings) -> list[str]:
    from drystone.core.db import make_engine, make_sessions
    from drystone.documents import deletions as room

    engine = make_engine(settings.database.url.get_secret_value(), pool_size=1, application_name="drystone-deletions")
    try:
        return [line async for line in room.every(make_sessions(engine))]
    finally:
        await engine.dispose()


def _settings() -> Settings:
    from drystone.core.settings import load
    from drystone.stack import root

    return load(root.find())
