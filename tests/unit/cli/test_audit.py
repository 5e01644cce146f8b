from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

import drystone
from drystone.cli.audit import _cell, _write

ROW = {
    "id": 7,
    "at": "2026-11-22T10:00:00Z",
    "actor": "key:dsk_local",
    "action": "collection.create",
    "subject_kind": "collection",
    "subject_id": None,
    "request_id": "=cmd()",
    "before_sha256": None,
    "after_sha256": "ab",
    "details": {"name": 'größe, "quoted"\nand more'},
}


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1"])
def test_no_cell_begins_as_a_formula_does(value: str) -> None:
    assert _cell(value) == f"'{value}"


def test_other_cells_stay_as_they_are() -> None:
    assert [_cell(value) for value in (None, 7, "a=1", "")] == ["", "7", "a=1", ""]


def test_csv_is_read_as_it_was() -> None:
    target = io.StringIO(newline="")

    count = _write(iter([ROW]), target, is_csv=True)

    head, row = csv.reader(io.StringIO(target.getvalue(), newline=""))
    said = dict(zip(head, row, strict=True))
    assert count == 1
    assert (said["id"], said["subject_id"], said["request_id"]) == ("7", "", "'=cmd()")
    assert json.loads(said["details"]) == ROW["details"]


def test_lines_of_json_are_the_answers_of_the_api() -> None:
    target = io.StringIO()

    _write(iter([ROW, ROW]), target, is_csv=False)

    assert [json.loads(line) for line in target.getvalue().splitlines()] == [ROW, ROW]


def test_nothing_else_writes_csv() -> None:
    """Whoever writes another has to think of formulas, too."""
    sources = Path(drystone.__file__).parent.rglob("*.py")
    writing = [path.name for path in sources if re.search(r"csv\.writer|DictWriter", path.read_text())]

    assert writing == ["audit.py"]
