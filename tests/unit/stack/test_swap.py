"""Putting new data folders in place: killed after every single step, what is found is the old set or the new one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drystone.stack.data import swap

# Runs a function of `swap` and dies, as by `kill -9`, when it is about to take its n-th step on the file system.
RUN = """
import os, signal, sys
from pathlib import Path
from drystone.stack.data import swap
left = int(sys.argv[1])
def step(event, args):
    global left
    if event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(step)
{what}
"""


def run_until_step(number: int, data_dir: Path, what: str) -> bool:
    """Run it, to be killed at this step; True if it came to its end before."""
    words = [sys.executable, "-c", RUN.format(what=what), str(number), str(data_dir)]
    code = subprocess.run(words, check=False, timeout=60).returncode
    assert code in (0, -9)
    return code == 0


def make(folder: Path, said: str, *parts: str) -> None:
    for part in parts:
        (folder / part / "inner").mkdir(parents=True)
        (folder / part / "inner" / "file").write_text(said)


def said(data_dir: Path) -> list[str]:
    """What the parts say that are there."""
    return [path.read_text() for part in swap.PARTS if (path := data_dir / part / "inner" / "file").exists()]


def test_killed_at_any_step_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    outcomes = []
    for number in range(1, 100):
        data_dir = tmp_path / str(number)
        make(data_dir, "old", *swap.PARTS)
        make(data_dir / "incoming.new", "new", *swap.PARTS)

        came_to_its_end = run_until_step(number, data_dir, "swap.commit(Path(sys.argv[2]))")
        swap.finish(data_dir)  # as the next start does

        outcomes.append(said(data_dir))
        assert outcomes[-1] in (["old"] * 3, ["new"] * 3)
        assert sorted(path.name for path in data_dir.iterdir()) == sorted(swap.PARTS)
        if came_to_its_end:
            break
    assert len(outcomes) > 15
    assert outcomes[0] == ["old"] * 3
    assert outcomes[1:] == [["new"] * 3] * (len(outcomes) - 1)


def test_the_next_start_may_be_killed_as_well(tmp_path: Path) -> None:
    make(tmp_path, "old", *swap.PARTS)
    make(tmp_path / "incoming.new", "new", *swap.PARTS)
    run_until_step(4, tmp_path, "swap.commit(Path(sys.argv[2]))")

    # Each attempt makes `outgoing` if need be, takes one more step and dies.
    finished = [run_until_step(3, tmp_path, "swap.finish(Path(sys.argv[2]))") for _ in range(20)]

    assert not any(finished[:5])
    assert finished[-1]
    assert said(tmp_path) == ["new"] * 3


def test_an_old_folder_that_is_to_be_kept_is_kept_wherever_it_is_killed(tmp_path: Path) -> None:
    for number in range(1, 100):
        data_dir = tmp_path / str(number)
        make(data_dir, "old", *swap.PARTS)
        make(data_dir / "incoming.new", "new", "postgres")
        (data_dir / "incoming.new" / swap.KEEP).write_text("postgres-17.old")

        came_to_its_end = run_until_step(number, data_dir, "swap.commit(Path(sys.argv[2]))")
        swap.finish(data_dir)

        kept = data_dir / "postgres-17.old" / "inner" / "file"
        assert said(data_dir) == (["old"] * 3 if number == 1 else ["new", "old", "old"])
        assert kept.exists() == (number > 1)
        if came_to_its_end:
            assert kept.read_text() == "old"
            return
    pytest.fail("it never came to its end")


def test_what_failed_before_it_was_complete_is_cleared_away(tmp_path: Path) -> None:
    make(tmp_path, "old", *swap.PARTS)

    def fail() -> None:
        with swap.staging(tmp_path) as stage:
            make(stage, "new", "postgres")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert said(tmp_path) == ["old"] * 3
    assert not (tmp_path / "incoming.new").exists()


def test_discarded_folders_are_whole_or_gone_wherever_it_is_killed(tmp_path: Path) -> None:
    for number in range(1, 100):
        data_dir = tmp_path / str(number)
        make(data_dir, "old", *swap.PARTS)

        came_to_its_end = run_until_step(
            number, data_dir, "swap.discard(Path(sys.argv[2]), ['postgres', 'redis', 'objects'])"
        )
        swap.finish(data_dir)

        there = [part for part in swap.PARTS if (data_dir / part).exists()]
        assert said(data_dir) == ["old"] * len(there)
        if came_to_its_end:
            assert there == []
            return
    pytest.fail("it never came to its end")
