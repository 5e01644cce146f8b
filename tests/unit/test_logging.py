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


def test_no_field_of_a_line_steers_the_terminal_that_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    ours.configure("INFO", "console")
    steering = "\x1b[31m\x1b]0;pwn\x07\x00\x9b\r\u202e"

    ours.get_logger("test").info(f"event{steering}", path=f"/{steering}", agent=f"a b{steering}", told=[steering])
    logging.getLogger("uvicorn.error").warning("said %s", steering)
    try:
        raise ValueError(steering)
    except ValueError:
        ours.get_logger("test").exception("failed", **{f"name{steering}": 1})

    said = capsys.readouterr().err
    assert not set(steering) - set("[31m]0;pwn") & set(said)
    assert "path='/\\x1b[31m" in said
    assert "Traceback" in said


def test_a_line_keeps_its_letters_and_a_traceback_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    ours.configure("INFO", "console")

    try:
        raise ValueError("Größe 測試 👩\u200d🔧")
    except ValueError:
        ours.get_logger("test").exception("failed")

    assert "\nValueError: Größe 測試 👩\u200d🔧\n" in capsys.readouterr().err
