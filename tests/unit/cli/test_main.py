"""What the command line says of arguments that are not acceptable, and of files that the system refuses."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drystone.cli import main


def test_a_word_that_is_no_choice_is_told_plainly() -> None:
    refused = CliRunner().invoke(main.app, ["keys", "create", "website", "-s", "reed"])

    told = re.sub(r"[^\w'-]+", " ", refused.output)
    assert refused.exit_code == 2
    assert "'reed' is not one of 'read' 'write' 'admin'" in told
    assert "Value error" not in told


def test_what_the_system_refuses_is_told_with_its_file_and_a_hint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        (tmp_path / "none").open()

    assert main._of_system(refused.value) == (
        f"{tmp_path / 'none'}: No such file or directory.\nhint: is the path spelled right, and its disk mounted?"
    )
    assert main._of_system(OSError(errno.EIO, "Input/output error")) == "[Errno 5] Input/output error"
