from __future__ import annotations

import json
from pathlib import Path

import pytest

from drystone.core.errors import Invalid
from drystone.stack.data import manifest
from drystone.stack.data.manifest import Manifest


@pytest.mark.parametrize("text", ["", "null", '"text"', "12", "[]", "{}", "[" * 100_000, "\x00", '{"sha256": 1}'])
def test_a_manifest_that_is_none_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / manifest.FILE).write_text(text)

    with pytest.raises(Invalid, match="is damaged"):
        Manifest.read(tmp_path)


GOOD = {
    "format": manifest.FORMAT,
    "name": "good",
    "created_at": "2026-11-21T12:00:00Z",
    "schema": None,
    "size_bytes": 0,
    "data_bytes": 0,
    "pause_s": 0.0,
    "made_by": {part: {"program": part, "version": "1"} for part in ("postgres", "redis", "objects")},
    "names": {},
    "folders": [["postgres", 448], ["redis", 448], ["objects", 448]],
    "files": [],
}


def write(folder: Path, body: dict[str, object]) -> None:
    (folder / manifest.FILE).write_text(json.dumps({**body, "sha256": manifest._checksum(body)}))


def test_a_manifest_that_is_whole_is_read(tmp_path: Path) -> None:
    write(tmp_path, GOOD)

    assert Manifest.read(tmp_path).name == "good"


@pytest.mark.parametrize(
    "wrong",
    [
        {"created_at": None},
        {"size_bytes": "abc"},
        {"data_bytes": -1},
        {"names": []},
        {"made_by": {"redis": {"program": "redis", "version": "1"}}},
        {"folders": [["redis", 448]]},
        {"folders": []},
        {"files": [{"path": "redis/a", "mode": "x", "offset": 0, "size_bytes": 0, "sha256": ""}]},
        {"files": [{"path": "redis/a", "mode": 384, "offset": 10**30, "size_bytes": 0, "sha256": ""}]},
        {"files": [{"path": "../a", "mode": 384, "offset": 0, "size_bytes": 0, "sha256": ""}]},
    ],
)
def test_a_manifest_with_a_right_checksum_and_wrong_contents_is_damaged(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    write(tmp_path, GOOD | wrong)

    with pytest.raises(Invalid, match="is damaged"):
        Manifest.read(tmp_path)
