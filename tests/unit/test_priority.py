"""A process that stands back: in its session, and with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STANDS_BACK = """
import os
from pathlib import Path
from drystone.core import priority

priority.stand_back(7)
print(os.getpriority(os.PRIO_PROCESS, 0))
print(Path("/proc/self/autogroup").read_text().split()[-1])
"""
autogroups = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel does not schedule sessions as groups"
)


@autogroups
@pytest.mark.parametrize(("is_leader", "of_session"), [(True, 7), (False, 0)])
def test_a_leader_takes_its_session_along_and_nobody_else_does(is_leader: bool, of_session: int) -> None:
    # A session of its own in either case: the run's may have any value. This process may have one already, too.
    before = os.getpriority(os.PRIO_PROCESS, 0)
    argv = (
        [sys.executable, "-c", STANDS_BACK]
        if is_leader
        else ["sh", "-c", '"$0" -c "$1"; :', sys.executable, STANDS_BACK]
    )

    done = subprocess.run(argv, start_new_session=True, capture_output=True, text=True, check=True)

    assert [int(said) for said in done.stdout.split()] == [min(before + 7, 19), of_session and min(before + 7, 19)]
