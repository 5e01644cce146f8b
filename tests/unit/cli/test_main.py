"""What the command line says of arguments that are not acceptable, and of files that the system refuses."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drystone import __version__
from drystone.cli import main, terminal


def test_a_word_that_is_no_choice_is_told_plainly() -> None:
    refused = CliRunner().invoke(main.app, ["keys", "create", "website", "-s", "reed"])

    told = re.sub(r"[^\w'-]+", " ", refused.output)
    assert refused.exit_code == 2
    assert "'reed' is not one of 'read' 'write' 'admin'" in told
    assert "Value error" not in told


def test_help_and_version_are_understood_as_words_too() -> None:
    def said(*words: str) -> str:
        return CliRunner().invoke(main.app, list(words), prog_name="drystone").output

    assert said("version") == said("--version") == f"{__version__}\n"
    assert "Usage: drystone [OPTIONS] COMMAND" in said("help")
    assert "Usage: drystone readers create" in said("help", "readers", "create")


def test_what_the_system_refuses_is_told_with_its_file_and_a_hint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        (tmp_path / "none").open()

    assert main._of_system(refused.value) == (
        f"{tmp_path / 'none'}: No such file or directory.\nhint: is the path spelled right, and its disk mounted?"
    )
    assert main._of_system(OSError(errno.EIO, "Input/output error")) == "[Errno 5] Input/output error"


def test_commands_are_named_as_they_were_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(*arguments: str) -> str:
        argv = (sys.executable, "-m", "drystone.cli.main", *arguments)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    monkeypatch.setenv("DRYSTONE_ROOT", str(tmp_path))
    monkeypatch.delenv("DRYSTONE_API_KEY", raising=False)
    monkeypatch.setenv("DRYSTONE_PROGRAM", "./drystone")
    in_folder, help_ = said("demo"), said("entities", "--help")
    monkeypatch.delenv("DRYSTONE_PROGRAM")

    assert 'run "./drystone up --detach" first' in in_folder
    assert "./drystone entities list" in help_
    assert 'run "drystone up --detach" first' in said("demo")


def test_every_command_is_known_where_texts_name_them() -> None:
    named = {command.name for command in main.app.registered_commands}
    named |= {group.name for group in main.app.registered_groups}

    assert set(terminal._COMMANDS) == named
    assert terminal.as_typed("this version of drystone reads drystone-up and drystone.up") == (
        "this version of drystone reads drystone-up and drystone.up"
    )


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["nothing"], 2)])
def test_where_the_store_was_used_python_does_not_take_itself_apart(arguments: list[str], code: int) -> None:
    """Threads of the store's library may be at work still, and a process that did all it should would abort."""
    said = (
        "import atexit, sys, obstore; atexit.register(print, 'taken apart'); from drystone.cli.main import main; main()"
    )

    done = subprocess.run([sys.executable, "-c", said, *arguments], capture_output=True, text=True, check=False)

    assert (done.returncode, "taken apart" in done.stdout) == (code, False)
    assert done.stdout + done.stderr != ""
