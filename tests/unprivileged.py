"""A way to run a program for which the modes of files hold, whoever runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def prefix() -> list[str]:
    """What stands before a command so that it may read and write only what modes allow; skips where that cannot be had."""
    if os.geteuid() != 0:
        return []
    found = [shutil.which("setpriv") or "setpriv", "--bounding-set=-all"]
    try:
        subprocess.run([*found, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is root, and setpriv(1) cannot take its capabilities away")
    return found
