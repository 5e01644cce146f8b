"""`drystone`: all commands, and the one place where errors become exit codes.

Imports stay inside the commands: `drystone --help` and `drystone status` must not load a model.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from drystone import __version__
from drystone.cli import (
    answering,
    audit,
    backup,
    bundle,
    catalogue,
    data,
    database,
    deletions,
    demo,
    doctor,
    drafts,
    embedding,
    environment,
    evaluating,
    export,
    jobs,
    keys,
    mcp,
    metrics,
    observing,
    readers,
    snapshot,
    stack,
    terminal,
    upkeep,
    vectors,
    verify,
)
from drystone.core.errors import Conflict, Denied, DrystoneError, Invalid, NotFound, Unavailable

# As docs/guides/documents.md tells them.
_EXIT_CODES = ((NotFound, 4), (Conflict, 5), (Invalid, 2), (Denied, 3), (Unavailable, 69))

_HINTS: dict[type[OSError], str] = {
    FileNotFoundError: "is the path spelled right, and its disk mounted?",
    PermissionError: "this user may not: name another place, or change its permissions",
}

# Each has a range of ports, and there is room for two: SeaweedFS listens on one 10 008 above its own.
_TEST_PROCESSES = 2


# What people type where there are options for it.
_MEANT = {"help": "--help", "version": "--version"}


class _Commands(TyperGroup):
    """All commands. What is wrong with an option is told without the words that typer leaves of pydantic's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in _MEANT:
            meant, *rest = args
            args = [*rest, _MEANT[meant]]  # `help search` is the help of search
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as exc:
            exc.message = exc.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name="drystone",
    cls=_Commands,
    help="Documents in, kept safe, answered with passages you can check. No containers.",
    epilog="Begin with: drystone up, drystone add FOLDER, drystone search 'your question'. Exit codes: 0 done, 1 some of it "
    "failed, 2 not acceptable, 3 not allowed, 4 not found, 5 in conflict, 69 a server is away, 70 a fault of ours, 74 a file "
    "that the system refuses.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_STACK, _DATA, _THINGS, _CARE = "The stack", "Documents", "The catalogue", "Care"
for _name, _function in (("up", stack.up), ("down", stack.down), ("status", stack.status), ("logs", stack.logs)):
    app.command(_name, rich_help_panel=_STACK)(_function)
app.command("prepare", rich_help_panel=_CARE)(stack.prepare)
app.command("verify", rich_help_panel=_STACK)(verify.verify)
app.command("demo", rich_help_panel=_STACK)(demo.demo)
app.command("doctor", rich_help_panel=_STACK)(doctor.doctor)
app.command("add", rich_help_panel=_DATA)(data.add)
app.command("sync", rich_help_panel=_DATA)(upkeep.sync)
app.command("search", rich_help_panel=_DATA)(data.search)
app.command("ask", rich_help_panel=_DATA)(answering.ask)
app.command("eval", rich_help_panel=_DATA)(evaluating.evaluate)
app.command("collections", rich_help_panel=_DATA)(data.collections)
app.command("observe", rich_help_panel=_DATA)(observing.observe)
app.command("mcp", rich_help_panel=_DATA)(mcp.mcp)
app.add_typer(observing.series, name="series", rich_help_panel=_DATA)
app.add_typer(data.documents, name="documents", rich_help_panel=_DATA)
app.add_typer(jobs.jobs, name="jobs", rich_help_panel=_DATA)
app.add_typer(catalogue.entities, name="entities", rich_help_panel=_THINGS)
app.add_typer(catalogue.modules, name="modules", rich_help_panel=_THINGS)
app.add_typer(catalogue.profiles, name="profiles", rich_help_panel=_THINGS)
app.add_typer(catalogue.catalogue, name="catalogue", rich_help_panel=_THINGS)
app.add_typer(drafts.drafts, name="drafts", rich_help_panel=_THINGS)
app.add_typer(embedding.embedding, name="embedding", rich_help_panel=_CARE)
app.add_typer(database.db, name="db", rich_help_panel=_CARE)
app.add_typer(database.model, name="model", rich_help_panel=_CARE)
app.add_typer(vectors.vectors, name="vectors", rich_help_panel=_CARE)
app.add_typer(environment.env, name="env", rich_help_panel=_CARE)
app.add_typer(export.export, name="export", rich_help_panel=_CARE)
app.command("serve", hidden=True)(export.serve)
app.command("wait", hidden=True)(export.wait)
app.add_typer(snapshot.snapshot, name="snapshot", rich_help_panel=_CARE)
app.add_typer(backup.backup, name="backup", rich_help_panel=_CARE)
app.command("restore", rich_help_panel=_CARE)(backup.restore)
app.add_typer(bundle.bundle, name="bundle", rich_help_panel=_DATA)
app.add_typer(deletions.deletions, name="deletions", rich_help_panel=_CARE)
app.command("scrub", rich_help_panel=_CARE)(upkeep.scrub)
app.add_typer(audit.audit, name="audit", rich_help_panel=_CARE)
app.add_typer(keys.keys, name="keys", rich_help_panel=_CARE)
app.add_typer(readers.readers, name="readers", rich_help_panel=_CARE)
app.add_typer(metrics.metrics, name="metrics", rich_help_panel=_CARE)
app.command("reset", rich_help_panel=_CARE)(snapshot.reset)


@app.command("test", rich_help_panel=_CARE, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(context: typer.Context) -> None:
    """Run the test suite on a stack of its own; further arguments go to pytest. Without any, files are shared out to processes.

    Example: [bold]./drystone test -k search -x[/bold]
    """
    from drystone.stack import root

    os.chdir(root.find())
    arguments = context.args or _all_tests()
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])  # noqa: S606  no shell is wanted


def _all_tests() -> list[str]:
    """Each file in one process, in the order of the folders: the long ones come first, and nobody waits for the last."""
    processes = min(_TEST_PROCESSES, os.cpu_count() or 1)
    return ["-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"] if processes > 1 else []


@app.command("worker", hidden=True)
def worker() -> None:
    """Run the worker; the Procfile does."""
    from drystone.core.settings import load
    from drystone.worker import main as worker_main

    raise typer.Exit(worker_main.run(load()))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before any command."""


def main() -> None:
    """The entry point. A DrystoneError ends with its sentence, its hint and its exit code; nothing else is caught."""
    try:
        _run()
    except SystemExit as exc:
        _end_at_once(exc.code)
        raise


def _end_at_once(code: object) -> None:
    """Where the store was used: threads of its library may still let go of objects while Python takes itself apart, and then
    the process aborts, whatever it had done. Not the worker, which tidies up when it ends.
    """
    if "obstore" not in sys.modules or sys.argv[1:2] == ["worker"] or not isinstance(code, int | None):
        return
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code or 0)


def _run() -> None:
    try:
        _command()(prog_name=terminal.program())
    except DrystoneError as exc:
        _tell(str(exc))
        sys.exit(next((code for kind, code in _EXIT_CODES if isinstance(exc, kind)), 70))
    except UnicodeEncodeError:
        _tell("an argument holds bytes that are no UTF-8 text")
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as exc:
        _tell(_of_system(exc))
        sys.exit(74)
    except KeyboardInterrupt:
        sys.exit(130)


def _command() -> Any:
    """All commands, whose help names the program as it was typed."""
    command = typer.main.get_command(app)
    waiting: list[Any] = [command]
    while waiting:
        each = waiting.pop()
        each.help, each.epilog = (text and terminal.as_typed(text) for text in (each.help, each.epilog))
        waiting += getattr(each, "commands", {}).values()
    return command


def _tell(error: str) -> None:
    print(terminal.wrapped(f"error: {error}", sys.stderr), file=sys.stderr)  # noqa: T201


def _of_system(exc: OSError) -> str:
    """What the system refused, of which file, and what may help."""
    if not exc.filename or not exc.strerror:
        return str(exc)
    return f"{exc.filename}: {exc.strerror}.\nhint: {_HINTS.get(type(exc), 'look at the path, its disk and its permissions')}"


if __name__ == "__main__":
    main()
