"""A catalogue as a folder: whatever it is told to write stays in there, and nothing is written over unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from drystone.cli import folders
from drystone.core.errors import Conflict, Invalid

NAMES = ["entities", "modules"]


@pytest.mark.parametrize(
    "name",
    [
        "entities/../../x.yaml",
        "entities/../x.yaml",
        "/x.yaml",
        "entities//x.yaml",
        "entities/..yaml",
        "entities/.x.yaml",
        "entities/a/b.yaml",
        "entities/a\\b.yaml",
        "entities/a\nb.yaml",
        "entities/\x1b[2Jb.yaml",
        "entities/x.sh",
        "other/x.yaml",
        "x.yaml",
        "..",
    ],
)
@pytest.mark.parametrize("replace", [True, False])
def test_nothing_is_written_outside_of_its_folders(tmp_path: Path, name: str, replace: bool) -> None:
    with pytest.raises(Invalid, match="no name of a file"):
        folders.write(tmp_path / "a" / "b", NAMES, {"entities/no2.yaml": "", name: "x"}, replace=replace)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [b"mine", b"\xff\xfe"])
def test_what_is_there_is_written_over_only_when_told_to(tmp_path: Path, there: bytes) -> None:
    path = tmp_path / "entities" / "no2.yaml"
    path.parent.mkdir()
    path.write_bytes(there)

    with pytest.raises(Conflict):
        folders.write(tmp_path, NAMES, {"entities/no2.yaml": "theirs"}, replace=False)
    assert path.read_bytes() == there

    folders.write(tmp_path, NAMES, {"entities/no2.yaml": "theirs"}, replace=True)
    assert path.read_bytes() == b"theirs"


def test_a_link_that_leads_elsewhere_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    (folder / "entities").mkdir(parents=True)
    (folder / "entities" / "no2.yaml").symlink_to(outside)

    with pytest.raises(Conflict):
        folders.write(folder, NAMES, {"entities/no2.yaml": "theirs"}, replace=False)
    folders.write(folder, NAMES, {"entities/no2.yaml": "theirs"}, replace=True)

    assert not outside.exists()
    assert (folder / "entities" / "no2.yaml").read_bytes() == b"theirs"
