"""The deletion log as a file: appended whole or not at all, read back but for what was taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from drystone.core.errors import Unavailable
from drystone.documents import deletions


def _line(number: int, at: str = "2026-11-21T10:00:00+00:00") -> str:
    return json.dumps({"id": number, "kind": "document", "subject_id": str(UUID(int=number)), "at": at})


def _read(path: Path) -> list[Any]:
    return [line["id"] for line in deletions.read(path)]


def test_lines_come_back_in_order_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "deletions.jsonl"
    deletions.append(path, [_line(1), _line(2)])
    deletions.append(path, [_line(3)])

    assert _read(path) == [1, 2, 3]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_cut_short_by_a_crash_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "deletions.jsonl"
    deletions.append(path, [_line(1)])
    with path.open("a") as file:
        file.write(_line(2)[:20])
    deletions.append(path, [_line(2), _line(3)])

    assert _read(path) == [1, 2, 3]


def test_what_is_no_deletion_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "deletions.jsonl"
    path.write_bytes(b'\n[]\n7\n{"at": 7}\n{"at": "yesterday"}\n\xff\xfe\n' + _line(1).encode() + b"\n")

    assert _read(path) == [1]
    assert _read(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"subject_id": "nope"},
        {"subject_id": 1},
        {"subject_id": None},
        {"subject_id": ...},
        {"kind": "planet"},
        {"kind": ...},
        {"undone_since": "xx"},
        {"undone_since": 5},
        {"at": None},
    ],
)
def test_a_line_that_does_not_say_what_it_must_is_left_out(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "deletions.jsonl"
    line = {name: value for name, value in (json.loads(_line(1)) | changes).items() if value is not ...}
    deletions.append(path, [json.dumps(line), _line(2)])

    assert _read(path) == [2]


def test_a_line_that_is_nested_too_deeply_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "deletions.jsonl"
    deletions.append(path, ["[" * 100_000, _line(1)])

    assert _read(path) == [1]


def test_a_file_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for act in (deletions.append, deletions.write):
        with pytest.raises(Unavailable, match="hint: make its folder"):
            act(tmp_path / "none" / "log", [_line(1)])


def test_taking_back_touches_what_was_deleted_since_and_only_until_now(tmp_path: Path) -> None:
    path = tmp_path / "deletions.jsonl"
    deletions.append(path, [_line(1, "2026-11-21T09:00:00+00:00"), _line(2, "2026-11-21T12:00:00+02:00")])
    deletions.undo(path, since="2026-11-21T09:30:00+00:00")
    deletions.append(path, [_line(3, "2026-11-21T11:00:00+00:00")])

    assert _read(path) == [1, 3]
