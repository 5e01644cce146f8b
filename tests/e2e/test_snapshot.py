"""A whole stack is saved while it works, put back, and finds what it found before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drystone.stack.data.snapshot import ask_present
from tests.e2e.conftest import Stack


def hits(up: Stack, question: str) -> list[dict[str, Any]]:
    """What a search finds."""
    answer: list[dict[str, Any]] = json.loads(up.run("search", "--json", question).stdout)["hits"]
    return answer


def found(up: Stack, question: str) -> list[str]:
    """The passages a search finds."""
    return [hit["quote"] for hit in hits(up, question)]


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
    assert (refused.returncode, "hint: run drystone down" in refused.stderr) == (5, True)

    up.run("down")
    timeline = ask_present(up.settings, "SELECT id::text AS line FROM timeline")
    nobody_to_ask = up.run("reset", check=False)
    assert (nobody_to_ask.returncode, "hint: add --yes" in nobody_to_ask.stderr) == (2, True)
    up.run("reset", "--yes")
    up.run("snapshot", "restore", "first", "--yes")
    renewed = ask_present(up.settings, "SELECT id::text AS line FROM timeline")
    assert (len(timeline), len(renewed), timeline == renewed) == (1, 1, False), "streams begin anew"
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


def test_what_was_deleted_after_a_snapshot_stays_deleted_unless_it_is_wanted_back(up: Stack, tmp_path: Path) -> None:
    (tmp_path / "regretted.md").write_text("# Regretted\n\nThe cellist of Bergen hid her diary in a violin case.\n")
    up.run("up", "--detach")
    up.run("add", "--json", str(tmp_path / "regretted.md"))
    (hit,) = [hit for hit in hits(up, "cellist diary violin") if "cellist" in hit["quote"]]
    up.run("snapshot", "save", "regrets")
    log = up.settings.general.data_dir / "deletions.jsonl"
    log.unlink(missing_ok=True)
    log.mkdir()  # nothing can be written there
    up.run("documents", "delete", hit["document"]["id"])
    up.run("down")
    log.rmdir()

    up.run("snapshot", "restore", "regrets", "--yes")
    assert hit["document"]["id"] in log.read_text(), "asked of the old database before it was replaced"
    up.run("up", "--detach")
    assert not any("cellist" in text for text in found(up, "cellist diary violin"))

    up.run("down")
    up.run("snapshot", "restore", "regrets", "--yes", "--undelete")
    up.run("up", "--detach")
    assert any("cellist" in text for text in found(up, "cellist diary violin"))
    up.run("snapshot", "rm", "regrets")
