"""The example, as its guide walks through it: loaded, looked at, loaded again, away."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from tests import canaries
from tests.e2e.conftest import ROOT, Stack, shell_of

GUIDE = (ROOT / "docs" / "guides" / "example.md").read_text()


def _follow(stack: Stack, folder: Path, block: str) -> str:
    """Do what a block of the guide says, in a folder where `./drystone` is that of the stack; what was printed."""
    launcher = folder / "drystone"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m drystone.cli.main "$@"\n')
    launcher.chmod(0o755)
    done = subprocess.run(
        ["bash", "-ec", block],
        cwd=folder,
        env=shell_of(stack.folder),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    canaries.note(stack.folder, ("guide",), done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _settled(stack: Stack) -> None:
    """Until documents were looked through for the names of the example."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if json.loads(stack.run("catalogue", "status", "--json").stdout)["mentions"]["state"] == "current":
            return
        time.sleep(0.2)
    raise AssertionError("names are still looked for")


def test_the_guide_walks_through_it(up: Stack, tmp_path: Path) -> None:
    loading, documents, catalogue, observations, together, away = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)

    loaded = _follow(up, tmp_path, loading.replace("./drystone up --detach\n", ""))
    assert "catalogue: 21 new of 21" in loaded
    assert "readings: 103750 new, 0 there already" in loaded
    again = _follow(up, tmp_path, "./drystone demo")
    assert "catalogue: 0 new of 21" in again
    assert "readings: 0 new, 103750 there already" in again

    found = _follow(up, tmp_path, documents)
    assert "18 times" in found
    assert found.count("demo/") >= 11

    _follow(up, tmp_path, catalogue)
    assert "Mill Lane" in (tmp_path / "air.svg").read_text()
    assert "mill-lane" in (tmp_path / "city-air.schema.json").read_text()

    measured = _follow(up, tmp_path, observations)
    assert re.search(r"2025-01-15\S*\t12\.\d+\t99\.\d+\n", measured)

    _settled(up)
    seen = _follow(up, tmp_path, together)
    assert "Mill Lane at the kerb, Castle Park on a lawn" in seen, "a mention"
    assert "193 µg/m³ at Castle Park" in seen, "a hit"
    assert "not in the catalogue then" in seen
    assert "Air of a city, version 1" in seen

    gone = _follow(up, tmp_path, away)
    assert "deleted: 103750 readings, the collection demo, 21 entities, modules and profiles" in gone
    assert _follow(up, tmp_path, "./drystone entities list").count("\n") == 1, "its head"


def test_entries_of_one_s_own_are_left_as_they_are(up: Stack, tmp_path: Path) -> None:
    (tmp_path / "no2.yaml").write_text("type: property\nlabel: My own\nschema_definition: {type: string}\n")
    up.run("entities", "put", str(tmp_path / "no2.yaml"))

    refused = up.run("demo", check=False)

    assert refused.returncode == 5
    assert "entity no2" in refused.stderr
    assert "My own" in up.run("entities", "show", "no2").stdout
    assert up.run("series", "list").stdout.count("\n") == 1, "its head"
