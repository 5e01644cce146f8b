"""The commands that act on the native stack: up, down, status, logs. They talk on stderr; data goes to stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drystone.stack.commands import Row
    from drystone.stack.state import RunState

NOT_RUNNING = 3  # as in `systemctl status`
_TO_THE_RIGHT = (4, 6)  # which cells of a row
TOLD = 10  # restarts that `status` tells of


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when everything is healthy; the stack runs on.")
    ] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Restart web and worker when the source changes.")] = False,
    offline: Annotated[  # what it means the launcher does, before there is Python
        bool, typer.Option("--offline", help="Fetch nothing: use what was set up before, or say what is missing.")
    ] = False,
    extras: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="metrics", help="Prometheus beside it, and Grafana, as far as they are on PATH: metrics."
        ),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SERVICE=]PROVIDER",
            help="Where servers come from: wheel, nix, path, auto, or external (given by URL, not started). "
            "For all, or for postgres, redis or objects: --provider objects=path. May be repeated.",
        ),
    ] = None,
) -> None:
    """Start everything: PostgreSQL, Redis, the S3 store, migrations, web and worker.

    The first time it writes .env with random secrets. It stays in the foreground and shows all logs; Ctrl-C stops
    everything. What dies is started again, at most five times a minute. Running it twice is harmless.

    Data lives in .drystone/, and survives whatever happens to the processes.
    """
    import os
    import sys

    from drystone.stack import commands, root
    from drystone.stack.up import Plan

    os.environ.update(_provider_variables(provider or []))
    plan = Plan(root=root.find(), reload=reload, metrics=_wants_metrics(extras or []))
    if detach:
        raise typer.Exit(commands.run_detached(plan, talk=sys.stderr))
    raise typer.Exit(commands.run(plan, out=sys.stdout, talk=sys.stderr))


def _wants_metrics(extras: list[str]) -> bool:
    """Whether --with says so. Raises Invalid, and Unavailable where there is no program for it."""
    from drystone.core.errors import Invalid
    from drystone.stack import monitoring

    if unknown := [each for each in extras if each != "metrics"]:
        raise Invalid("stack.unknown_extra", f"--with {unknown[0]} is not understood.", hint="there is: --with metrics")
    if extras:
        monitoring.find_prometheus()
    return bool(extras)


def _provider_variables(options: list[str]) -> dict[str, str]:
    """What --provider says, as the variables it stands for: the shell beats the file. Raises Invalid."""
    from typing import get_args

    from drystone.core.errors import Invalid
    from drystone.core.settings import Provider

    variables = {"postgres": "POSTGRES_PROVIDER", "redis": "REDIS_PROVIDER", "objects": "S3_PROVIDER"}
    said: dict[str, str] = {}
    for option in options:
        service, _, provider = option.rpartition("=")
        if provider not in get_args(Provider) or service not in ("", *variables):
            raise Invalid(
                "stack.unknown_provider",
                f"--provider {option} is not understood.",
                hint=f"[{'|'.join(variables)}=]{'|'.join(get_args(Provider))}, such as --provider objects=path",
            )
        said |= {variable: provider for name, variable in variables.items() if service in ("", name)}
    return said


def prepare() -> None:
    """Make what Drystone needs in servers that run already: roles, database, extensions, the bucket; then ask each.

    For servers that somebody else starts: devenv, systemd, another host. Needs POSTGRES_SUPERUSER_PASSWORD. Harmless
    when all is there; `drystone db migrate` comes next.
    """
    from drystone.core.settings import load
    from drystone.stack import root
    from drystone.stack.supervise import prepare_running

    for name, seconds in prepare_running(load(root.find())):
        typer.echo(f"{name:<9} ready  {seconds:5.1f} s", err=True)


def down() -> None:
    """Stop everything that `up` started, wherever it runs. Harmless when nothing runs; no data is lost."""
    import sys

    from drystone.core.settings import SettingsError
    from drystone.stack import commands, root
    from drystone.stack.project import open_started

    folder = root.find()
    try:
        project = open_started(folder, talk=sys.stderr)
    except SettingsError:
        if (folder / ".env").exists():
            raise
        typer.echo("Nothing was running: there is no .env yet.", err=True)
        return
    was_running = commands.take_down(project, talk=sys.stderr)
    typer.echo("Stopped." if was_running else "Nothing was running.", err=True)


def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for programs.")] = False,
) -> None:
    """Show each server and process: state, pid, port, uptime, restarts, memory, where its program came from.

    Below them when and why what was started again; older ones are in `drystone logs up`.
    Ends with 0 if everything is healthy and with 3 if not.
    """
    import json
    import sys

    from drystone.core.settings import SettingsError
    from drystone.stack import commands, probes, root
    from drystone.stack.project import open_started

    folder = root.find()
    elsewhere = ""
    try:
        project = open_started(folder, talk=sys.stderr)
        last, rows = commands.status(project)
        elsewhere = commands.served(project)
    except SettingsError:
        if (folder / ".env").exists():
            raise
        last, rows = None, []
    answers = bool(last and last.status == "healthy" and probes.http_status(f"{last.url}/health/ready") == 200)
    healthy = answers and all(row.state in ("ready", "external") for row in rows)
    if as_json:
        about = {"healthy": healthy, "status": _overall(last, healthy), "url": last.url if last else None}
        about["reason"] = last.reason if last else ""
        typer.echo(json.dumps(about | {"services": [_as_json(row) for row in rows]}))
    else:
        _print_status(last, rows, healthy, elsewhere)
    raise typer.Exit(0 if healthy else NOT_RUNNING)


def logs(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="postgres, redis, objects, web, worker, honcho, migrate, model, prometheus, grafana or up."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    count: Annotated[int, typer.Option("-n", min=0, help="How many of the last lines to show.")] = 100,
) -> None:
    """Show what the processes said, merged by time; of all of them or of those named.

    Without names the S3 store's harmless chatter is left out. The files themselves are in .drystone/logs.
    """
    import contextlib
    import sys

    from drystone.core.errors import NotFound
    from drystone.stack import logs as files
    from drystone.stack import root
    from drystone.stack.project import open_project

    folder = open_project(root.find()).data_dir / "logs"
    known = files.names(folder)
    if unknown := [name for name in names or [] if name not in known]:
        raise NotFound(
            "stack.no_log", f"There is no log of {', '.join(unknown)}.", hint=f"there is: {', '.join(known) or 'none'}"
        )
    terminal = files.Terminal(sys.stdout)
    with contextlib.suppress(KeyboardInterrupt):
        for name, line in files.tail(folder, names or [], count):
            terminal.write(name, files.readable(line))
        if follow:
            for name, line in files.follow(folder, names or []):
                terminal.write(name, files.readable(line))
    terminal.close()


def _overall(last: RunState | None, healthy: bool) -> str:
    if not last:
        return "never started"
    return last.status if healthy or last.status != "healthy" else "unhealthy"


def _print_status(last: RunState | None, rows: list[Row], healthy: bool, elsewhere: str) -> None:
    for line in _lines([_cells(row) for row in rows]):
        typer.echo(_fitted(line))
    _print_story(rows)
    overall = _overall(last, healthy)
    reason = f": {last.reason}" if last and last.reason else ""
    hint = ""
    if elsewhere:
        hint = f"\nanother supervisor runs {elsewhere}: ask that one; under systemd: systemctl status 'drystone-*'"
    elif not healthy and overall in ("never started", "stopped", "failed"):
        hint = "\nhint: run ./drystone up"
    elif overall == "unhealthy":
        hint = "\nhint: ./drystone doctor looks for the cause; see also ./drystone logs web worker"
    typer.echo(_fitted(f"{overall}{reason}{f'  {last.url}' if last and healthy else ''}{hint}", err=True), err=True)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.state,
        f"pid {row.pid}" if row.pid else "",
        f"port {row.port}" if row.port else "",
        _duration(row.uptime_s),
        f"{row.restarts} restart{'s' if row.restarts != 1 else ''}",
        f"{row.memory_bytes / 1e6:.0f} MB" if row.memory_bytes else "",
        row.provider,
    )


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Cells below each other, no wider than they are; spans and sizes to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        aligned = (
            f"{cell:>{width}}" if number in _TO_THE_RIGHT else f"{cell:<{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(aligned).rstrip()


def _fitted(text: str, *, err: bool = False) -> str:
    import sys

    from drystone.cli import terminal

    return terminal.wrapped(text, sys.stderr if err else sys.stdout)


def _print_story(rows: list[Row]) -> None:
    """When and why what was started again, the latest last."""
    from drystone.stack.commands import story

    told = story(rows)
    if len(told) > TOLD:
        typer.echo(f"{len(told) - TOLD} earlier restarts: see drystone logs up")
    for restart, names in told[-TOLD:]:
        typer.echo(_fitted(f"{_time(restart.at)}  {', '.join(names)} started again: {restart.reason}"))


def _as_json(row: Row) -> dict[str, object]:
    import dataclasses

    story = [{"at": _time(restart.at), "reason": restart.reason} for restart in row.story]
    return dataclasses.asdict(row) | {"story": story}


def _time(unix_s: float) -> str:
    """As in the log files, to the second."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
