"""`drystone env`: the file from which all processes take their settings: made, compared, explained."""

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

    from drystone.stack import project, root

    project.write_environment(root.find(), sys.stderr, ports=ports.value)


@env.command("example")
def example() -> None:
    """Print .env.example as the code has it: every variable, with its meaning."""
    from drystone.core.settings import example as text

    typer.echo(text(), nl=False)


@env.command("check")
def check() -> None:
    """Compare .env with the settings and with what all its readers understand alike; ends with 1 if something is wrong.

    Changes nothing and needs no server.
    """
    import os

    from drystone.cli import doctor
    from drystone.core import logging
    from drystone.core.settings import variables
    from drystone.stack import root
    from drystone.stack.diagnosis import environment

    logging.configure("ERROR", "console")
    folder = root.find()
    findings = environment.findings(folder, os.environ)
    for finding in findings:
        doctor.print_finding(finding)
    if findings:
        raise typer.Exit(1)
    if (folder / ".env").is_file():
        typer.echo(f".env agrees with the {len(variables())} variables of Drystone.", err=True)
    else:
        typer.echo('There is no .env yet: "drystone up" writes it.', err=True)


@env.command("show")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Print every variable: value, and whether shell, .env or default said so; * marks what differs from the default.

    Secrets are masked, and so are passwords in URLs.
    """
    import dataclasses
    import os
    import sys

    from drystone.cli import terminal
    from drystone.core import logging
    from drystone.stack import root
    from drystone.stack.diagnosis import environment

    logging.configure("ERROR", "console")
    variables = environment.variables(root.find(), os.environ)
    if as_json:
        terminal.print_json([dataclasses.asdict(variable) for variable in variables])
        return
    names, sources = (max(len(getattr(each, what)) for each in variables) for what in ("name", "source"))
    for each in variables:
        mark = "*" if each.differs else " "
        line = f"{mark} {each.name:<{names}}  {each.source:<{sources}}  {terminal.clean(each.value)}".rstrip()
        typer.echo(terminal.wrapped(line, sys.stdout, indent=6))
