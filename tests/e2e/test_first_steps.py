"""The first hour, as its guide says it: an example, documents of one's own, a key for a program, and an end."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.e2e.conftest import ROOT, Stack

GUIDE = (ROOT / "docs" / "guides" / "first-steps.md").read_text()


def test_the_first_hour(up: Stack, tmp_path: Path) -> None:
    start, status, example, asking, documents, program, end = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "lichen.md").write_text("# Lichen\n\nThey found that lichen grows slower beside the road.\n")
    assert start.splitlines()[1:] == ["./drystone up --detach"], "what the fixture has done"

    assert "web" in up.follow(tmp_path, status)
    assert "ozone" in up.follow(tmp_path, example).partition("readings: 103750 new")[0]
    assert "[1]" in up.follow(tmp_path, asking)
    told = up.follow(tmp_path, documents.replace("~/papers", str(papers)))
    assert "ready\t1\n" in told
    assert "slower beside the road" in told
    answer = up.follow(tmp_path, program)
    found, _ = json.JSONDecoder().raw_decode(answer[answer.index("{") :])
    assert [hit["document"]["title"] for hit in found["hits"]] == ["Lichen"], (
        "the key sees this collection and no other"
    )

    assert end == "./drystone down\n"
    up.run("demo", "--remove")
