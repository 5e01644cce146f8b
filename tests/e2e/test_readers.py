"""Tools that speak SQL, as their guide tells it: a role is made, psql asks, a graph is built, the role is removed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from drystone.stack.data import clients
from tests import canaries
from tests.e2e.conftest import ROOT, Stack, shell_of

GUIDE = (ROOT / "docs" / "guides" / "sql.md").read_text()


def _follow(stack: Stack, folder: Path, block: str) -> str:
    """Do what a block of the guide says; what was printed. psql is the one beside the server."""
    psql = clients.find(stack.settings, "psql")["psql"]
    done = subprocess.run(
        ["bash", "-ec", block],
        cwd=folder,
        env=shell_of(stack.folder) | {"PATH": f"{psql.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    canaries.note(stack.folder, ("guide",), done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_guide_can_be_followed(up: Stack, tmp_path: Path) -> None:
    making, building = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    counting, nearest = re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "drystone").write_text(f'#!/bin/sh\nexec {sys.executable} -m drystone.cli.main "$@"\n')
    (tmp_path / "drystone").chmod(0o755)
    (tmp_path / ".env").symlink_to(up.folder / ".env")
    (tmp_path / "shells.md").write_text("# Shells\n\nThin shells buckle under pressure.\n")
    (tmp_path / "birds.md").write_text("# Birds\n\nThe kingfisher dives for fish.\n")
    up.run("add", str(tmp_path / "shells.md"), str(tmp_path / "birds.md"), "--collection", "papers")
    up.run("add", str(tmp_path / "birds.md"), "--collection", "others")

    listed = _follow(up, tmp_path, f'{making}\nprintf %s "$URL" > url')
    (tmp_path / "question.sql").write_text(nearest)
    (tmp_path / "counting.sql").write_text(counting)
    asking = 'psql "$(cat url)" -v ON_ERROR_STOP=1'
    counted = _follow(up, tmp_path, f"{asking} -f counting.sql")
    _follow(up, tmp_path, building)
    own = _follow(
        up, tmp_path, f"{asking} -At -c \"select embedding from passages_1 where text like '%buckle%'\""
    ).strip()
    found = _follow(up, tmp_path, f"{asking} -At -v question='{own}' -f question.sql")

    assert re.findall(r"papers +\| (\w+)", listed) == ["Birds", "Shells"]
    assert "others" not in listed
    assert "Thin shells buckle" in counted
    assert [line.partition("|")[0] for line in found.splitlines() if "|" in line] == ["Shells", "Birds"]

    (reader,) = json.loads(up.run("readers", "list", "--json").stdout)["items"]
    assert (reader["name"], reader["state"], reader["connections"]) == ("notebook", "active", 5)
    assert reader["role"] in up.run("readers", "list").stdout
    assert '"reader.create"' in up.run("audit", "list", "--action", "reader.*", "--json").stdout
    another = up.run("readers", "rotate", reader["role"]).stdout.strip()
    up.run("readers", "remove", reader["role"])
    for url in ((tmp_path / "url").read_text(), another):
        refused = subprocess.run(
            [clients.find(up.settings, "psql")["psql"], url, "-c", "select 1"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode != 0
    assert up.run("readers", "remove", reader["role"], check=False).returncode == 4
