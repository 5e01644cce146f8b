"""`drystone export`: the stack for other supervisors; and the two commands by which these run it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

export = typer.Typer(no_args_is_help=True, help="Run it under another supervisor.")


@export.callback()
def _several() -> None:
    """Keeps `systemd` a word of its own while there is only one."""


@export.command("systemd")
def systemd(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the units are written.")],
    user: Annotated[
        bool, typer.Option("--user", help="Units for `systemctl --user`, not for the whole system.")
    ] = False,
    run_as: Annotated[
        str, typer.Option("--run-as", metavar="NAME", help="System units: who runs it. Default: the project's owner.")
    ] = "",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only these, such as: --only web --only worker. May be repeated."),
    ] = None,
) -> None:
    """Write systemd units that run this project on this host, and say how to install them. They hold no secret.

    Servers that the settings place elsewhere get no unit. What was written before is replaced.

    Example: [bold]./drystone export systemd units --run-as drystone[/bold]
    """
    import sys

    from drystone.stack import export as units
    from drystone.stack import root
    from drystone.stack.project import open_project, write_environment

    project_root = root.find()
    write_environment(project_root, sys.stderr)
    project = open_project(project_root, shell={})
    site = units.look_around(project, run_as=None if user else run_as, only=only or [])
    for path in units.write(site, folder):
        typer.echo(path)
    typer.echo(units.how_to_install(site, folder), err=True)


def serve(name: Annotated[str, typer.Argument(help="postgres, redis, objects, web or worker.")]) -> None:
    """Become one server or process, in the foreground; for a supervisor other than `up`."""
    from drystone.stack import root
    from drystone.stack.project import open_project
    from drystone.stack.serve import serve as become

    become(open_project(root.find()), name)


def wait(
    name: Annotated[str, typer.Argument(help="postgres, redis, objects or web.")],
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds.")] = 60.0,
    pid: Annotated[int | None, typer.Option(help="Its process; when it is gone, waiting is over.")] = None,
) -> None:
    """Return when a server is ready and has what we need in it."""
    from drystone.stack import root
    from drystone.stack.project import open_project
    from drystone.stack.serve import wait as wait_for

    wait_for(open_project(root.find()), name, timeout_s=timeout_s, pid=pid)
