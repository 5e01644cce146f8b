"""`drystone env`: the file from which all processes take their settings."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

env = typer.Typer(no_args_is_help=True, help="The environment.")


class Ports(StrEnum):
    """Which ports a new `.env` gets."""

    free = "free"
    default = "default"


@env.command("create")
def create(
    ports: Annotated[
        Ports,
        typer.Option(help="free: the usual ports where they are free, others where not. default: the usual ones."),
    ] = Ports.free,
) -> None:
    """Write .env with random secrets, or add the lines that it lacks. What stands in it is never changed."""
    import sys

    from drystone.stack import root, up

    up.write_environment(root.find(), sys.stderr, ports=ports.value)


@env.command("example")
def example() -> None:
    """Print .env.example as the code has it: every variable, with its meaning."""
    from drystone.core.settings import example as text

    typer.echo(text(), nl=False)
