"""Tools that speak SQL, as their guide tells it: a role is made, psql asks, a graph is built, the role is removed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from drystone.stack.data import clients
from tests import canaries
from tests.e2e.conftest import ROOT, Stack, shell_of

GUIDE = (ROOT / "docs" / "guides" / "sql.md").read_text()


def _follow(stack: Stack, folder: Path, block: str) -> str:
    """Do what a block of the guide says; what was printed."""
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
    return done.stdout


def test_the_guide_can_be_followed(up: Stack, tmp_path: Path) -> None:
    making, asking, exporting, building = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    counting, nearest, alike = re.findall(r"```(?:sql|text)\n(.*?)```", GUIDE, re.DOTALL)
    program, _ = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "drystone").write_text(f'#!/bin/sh\nexec {sys.executable} -m drystone.cli.main "$@"\n')
    (tmp_path / "drystone").chmod(0o755)
    (tmp_path / ".env").symlink_to(up.folder / ".env")
    (tmp_path / "shells.md").write_text("# Shells\n\nThin shells buckle under pressure.\n")
    (tmp_path / "birds.md").write_text("# Birds\n\nThe kingfisher dives for fish.\n")
    up.run("add", str(tmp_path / "shells.md"), str(tmp_path / "birds.md"), "--collection", "papers")
    up.run("add", str(tmp_path / "birds.md"), "--collection", "others")

    listed = _follow(up, tmp_path, f'{making}\nprintf %s "$URL" > url')
    for name, statements in {"counting": counting, "nearest": nearest, "alike": alike}.items():
        (tmp_path / f"{name}.sql").write_text(statements)
    (tmp_path / "program.py").write_text(program)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    known, strictly = "URL=$(cat url)", "-v ON_ERROR_STOP=1 -At"
    counted = _follow(up, tmp_path, f'{known}\n./drystone db psql "$URL" {strictly} -f counting.sql')
    found = _follow(up, tmp_path, f"{known}\n{asking.rstrip()} {strictly} -f nearest.sql")
    near = _follow(up, tmp_path, f'{known}\n./drystone db psql "$URL" {strictly} -f alike.sql')
    said = _follow(up, tmp_path, f"{known}\n{exporting}\n.venv/bin/python program.py")
    _follow(up, tmp_path, building)

    assert re.findall(r"papers +\| (\w+)", listed) == ["Birds", "Shells"]
    assert "others" not in listed
    assert "Thin shells buckle" in counted
    assert [line.partition("|")[0] for line in found.splitlines() if "|" in line] == ["Shells", "Birds"]
    assert [line.partition("|")[0] for line in near.splitlines() if "|" in line] == ["Shells", "Birds"]
    assert [line.split()[0] for line in said.splitlines() if line.startswith(("Shells", "Birds"))] == [
        "Shells",
        "Birds",
    ]

    (reader,) = json.loads(up.run("readers", "list", "--json").stdout)["items"]
    assert (reader["name"], reader["state"], reader["connections"]) == ("notebook", "active", 5)
    assert reader["role"] in up.run("readers", "list").stdout
    assert '"reader.create"' in up.run("audit", "list", "--action", "reader.*", "--json").stdout
    another = up.run("readers", "rotate", "notebook").stdout.strip()
    up.run("readers", "remove", "notebook")
    for url in ((tmp_path / "url").read_text(), another):
        refused = subprocess.run(
            [clients.find(up.settings, "psql")["psql"], url, "-c", "select 1"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode != 0
    assert up.run("readers", "remove", reader["role"], check=False).returncode == 4
