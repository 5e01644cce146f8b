from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from drystone.core.errors import Conflict
from drystone.stack import commands, dotenv
from drystone.stack.project import open_project
from drystone.stack.state import RunLock


def test_a_lock_tells_who_holds_it_and_what_for(tmp_path: Path) -> None:
    mine, other = RunLock(tmp_path), RunLock(tmp_path)

    assert mine.acquire("Restoring a snapshot")
    assert (other.holder(), other.doing(), other.acquire()) == (os.getpid(), "Restoring a snapshot", False)
    mine.release()
    assert other.acquire()
    assert (mine.holder(), mine.doing()) == (os.getpid(), "")
    other.release()
    assert (mine.holder(), mine.killed()) == (None, None)


def test_neither_down_nor_up_cuts_short_what_works_on_the_data(tmp_path: Path) -> None:
    dotenv.create(tmp_path / ".env")
    project = open_project(tmp_path)
    lock = RunLock(project.run_dir)
    assert lock.acquire("Restoring a snapshot")

    with pytest.raises(Conflict, match=f"Process {os.getpid()} works on the data of this stack: Restoring a snapshot"):
        commands.take_down(project, talk=io.StringIO())
    with pytest.raises(Conflict, match="Restoring a snapshot"):
        commands.wait_for_other(project, io.StringIO())
    lock.release()
