"""Which files `add` finds behind the paths it is given."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from drystone.cli import files
from drystone.core.errors import Invalid, NotFound


def _make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def _labels(*paths: Path) -> list[str]:
    return [source.label for source in files.find([str(path) for path in paths])]


def test_a_folder_is_walked_in_order_without_hidden_files_and_folders(tmp_path: Path) -> None:
    _make(tmp_path, "b.txt", "a/z.txt", "a/.secret/x.txt", ".hidden", "a/deep/er/y.txt")

    assert _labels(tmp_path) == [str(tmp_path / name) for name in ("a/deep/er/y.txt", "a/z.txt", "b.txt")]


def test_a_hidden_file_that_is_named_is_sent(tmp_path: Path) -> None:
    _make(tmp_path, ".notes.txt")

    assert _labels(tmp_path / ".notes.txt") == [str(tmp_path / ".notes.txt")]


def test_links_that_lead_back_up_end(tmp_path: Path) -> None:
    _make(tmp_path, "a/one.txt")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")

    found = _labels(tmp_path)

    assert found == [str(tmp_path / "a" / "one.txt"), str(tmp_path / "self")]


def test_a_link_that_leads_nowhere_is_told_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")

    assert _labels(tmp_path) == [str(tmp_path / "gone.txt")]


def test_pipes_and_sockets_in_a_folder_are_left_out(tmp_path: Path) -> None:
    _make(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))

        assert _labels(tmp_path) == [str(tmp_path / "a.txt")]


def test_a_pipe_that_is_named_is_refused_with_the_way_to_send_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(Invalid) as refused:
        _labels(tmp_path / "pipe")

    assert refused.value.code == "file.not_regular"
    assert "add -" in (refused.value.hint or "")


def test_a_file_named_twice_is_sent_once(tmp_path: Path) -> None:
    _make(tmp_path, "a.txt")

    assert len(_labels(tmp_path, tmp_path / "a.txt")) == 1


def test_a_missing_path_is_found_out_before_anything_is_sent(tmp_path: Path) -> None:
    _make(tmp_path, "a.txt")

    with pytest.raises(NotFound, match=r"Cannot find .*missing"):
        _labels(tmp_path / "a.txt", tmp_path / "missing")
