"""A whole stack is saved while it works, put back, and finds what it found before."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import Stack


def found(up: Stack, question: str) -> list[str]:
    """The titles or names of the documents a search finds."""
    return [hit["quote"] for hit in json.loads(up.run("search", "--json", question).stdout)["hits"]]


def test_a_snapshot_of_the_working_stack_brings_back_documents_and_search(up: Stack, tmp_path: Path) -> None:
    (tmp_path / "kept.md").write_text("# Kept\n\nThe lighthouse keeper counted seventeen gannets before breakfast.\n")
    (tmp_path / "later.md").write_text("# Later\n\nA plumber in Ghent repaired the copper boiler at midnight.\n")
    up.run("add", str(tmp_path / "kept.md"))
    before = up.status()

    saved = up.run("snapshot", "save", "first")

    assert "the stack was halted for " in saved.stderr
    assert {name: row["pid"] for name, row in up.status().items()} == {name: row["pid"] for name, row in before.items()}
    up.run("add", str(tmp_path / "later.md"))
    assert any("boiler" in text for text in found(up, "copper boiler"))
    refused = up.run("snapshot", "restore", "first", "--yes", check=False)
    assert (refused.returncode, "hint: run ./drystone down" in refused.stderr) == (5, True)

    up.run("down")
    nobody_to_ask = up.run("reset", check=False)
    assert (nobody_to_ask.returncode, "hint: add --yes" in nobody_to_ask.stderr) == (2, True)
    up.run("reset", "--yes")
    up.run("snapshot", "restore", "first", "--yes")
    up.run("up", "--detach")

    assert any("gannets" in text for text in found(up, "gannets before breakfast"))
    assert not any("boiler" in text for text in found(up, "copper boiler"))
    assert json.loads(up.run("verify", "--json").stdout)["ok"]
    (listed,) = json.loads(up.run("snapshot", "list", "--json").stdout)
    assert listed["name"] == "first"
    assert listed["schema"]
    assert up.run("snapshot", "list").stdout.split("\t")[0] == "first"
    up.run("snapshot", "rm", "first")
    assert json.loads(up.run("snapshot", "list", "--json").stdout) == []
