"""What others log among our lines."""

from __future__ import annotations

import logging

import pytest

from drystone.core import logging as ours


def test_that_there_are_no_descriptors_left_is_told_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    ours.configure("WARNING", "json")
    of_asyncio = logging.getLogger("asyncio")

    for _ in range(1000):
        of_asyncio.error("socket.accept() out of system resource\nsocket: 5")
        of_asyncio.error("Task was destroyed but it is pending!")

    said = capsys.readouterr().err.splitlines()
    assert sum("out of system resource" in line for line in said) < 100
    assert sum("was destroyed" in line for line in said) == 1000
