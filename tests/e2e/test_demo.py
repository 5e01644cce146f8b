"""The example, as its guide walks through it: loaded, looked at, loaded again, away."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from tests.e2e.conftest import ROOT, Stack

GUIDE = (ROOT / "docs" / "guides" / "example.md").read_text()
MENTIONS = (ROOT / "docs" / "guides" / "mentions.md").read_text()


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

    loaded = up.follow(tmp_path, loading.replace("./drystone up --detach\n", ""))
    assert "catalogue: 21 new of 21" in loaded
    assert "readings: 103750 new, 0 there already" in loaded
    assert "drystone ask -c demo " in loaded
    assert f"DRYSTONE_API_KEY of .env: http://127.0.0.1:{up.settings.api.port}/\n" in loaded
    again = up.follow(tmp_path, "./drystone demo")
    assert "catalogue: 0 new of 21" in again
    assert "readings: 0 new, 103750 there already" in again

    found = up.follow(tmp_path, documents)
    assert "18 times" in found
    assert found.count("demo/") >= 11

    up.follow(tmp_path, catalogue)
    assert "Mill Lane" in (tmp_path / "air.svg").read_text()
    assert "mill-lane" in (tmp_path / "city-air.schema.json").read_text()

    measured = up.follow(tmp_path, observations)
    assert re.search(r"2025-01-15\S*\t12\.\d+\t99\.\d+\n", measured)

    _settled(up)
    seen = up.follow(tmp_path, together)
    assert "Mill Lane at the kerb, Castle Park on a lawn" in seen, "a mention"
    assert "193 µg/m³ at Castle Park" in seen, "a hit"
    assert json.loads(up.run("documents", "--schema", "category:report", "--fits", "--json").stdout)["items"][3]
    assert "not in the catalogue then" in seen
    assert "Air of a city, version 1" in seen
    assert "of the P1D that begins 2025-07-14" in seen
    mentioned = up.follow(tmp_path, re.findall(r"```sh\n(.*?)```", MENTIONS, re.DOTALL)[0])
    assert "no2\tproperty\t" in mentioned
    assert "mentions.state\tcurrent" in mentioned

    gone = up.follow(tmp_path, away)
    assert "deleted: 103750 readings, the collection demo, 21 entities, modules and profiles" in gone
    assert up.follow(tmp_path, "./drystone entities list").count("\n") == 1, "its head"


def test_what_was_changed_by_now_and_what_it_refers_to_is_kept(up: Stack, tmp_path: Path) -> None:
    up.run("demo", "--remove")
    up.run("demo")
    (tmp_path / "no2.yaml").write_text(
        up.run("entities", "show", "no2").stdout.replace("Nitrogen dioxide", "NO2 of ours")
    )
    up.run("entities", "put", str(tmp_path / "no2.yaml"), "--bump")
    (tmp_path / "own.md").write_text("# Not of the example\n\nIt stays.\n")
    up.run("add", str(tmp_path / "own.md"), "-c", "demo")

    again = up.run("demo", check=False)
    removed = up.run("demo", "--remove")
    left = {line.split("\t")[0] for line in up.run("entities", "list").stdout.splitlines()[1:]}
    twice = up.run("demo", "--remove")

    assert (again.returncode, "entity no2, module substances. Nothing was done" in " ".join(again.stderr.split())) == (
        5,
        True,
    )
    assert "deleted: 103750 readings, 11 documents of the collection demo, which holds others, 14 " in removed.stderr
    assert left == {"averaging-period", "limit-value", "no2", "o3", "pm10", "pm25"}, (
        "members of the module that was changed"
    )
    assert "module substances" in removed.stderr.partition("kept")[2]
    assert "own.md" in up.run("documents", "list", "-c", "demo").stdout
    assert "deleted: 0 readings, 0 documents of the collection demo, which holds others, 0 " in twice.stderr
    up.run("modules", "delete", "substances")
    for key in ("limit-value", *sorted(left - {"limit-value"})):  # it names others
        up.run("entities", "delete", key)


def test_entries_of_one_s_own_are_left_as_they_are(up: Stack, tmp_path: Path) -> None:
    for key in ("no2", "name", "station"):
        (tmp_path / f"{key}.yaml").write_text("type: property\nlabel: My own\nschema_definition: {type: string}\n")
        up.run("entities", "put", str(tmp_path / f"{key}.yaml"))
    (tmp_path / "air.yaml").write_text("label: Air\nversion: 1.1.0\nentities: [name, no2]\n")
    up.run("modules", "put", str(tmp_path / "air.yaml"))

    refused = up.run("demo", check=False)
    removed = up.run("demo", "--remove")

    assert refused.returncode == 5
    assert "entity name, entity no2, entity station" in " ".join(refused.stderr.split())
    assert "0 entities, modules and profiles" in removed.stderr
    assert "My own" in up.run("entities", "show", "no2").stdout
    assert up.run("series", "list").stdout.count("\n") == 1, "its head"
