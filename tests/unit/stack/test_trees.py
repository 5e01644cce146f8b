"""Copies of folders: complete, and brought up to date when the source is written to meanwhile."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from drystone.core.errors import Conflict
from drystone.stack import trees
from drystone.stack.trees import Copy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / "a").write_bytes(b"first")
    (folder / "b").write_bytes(b"")
    (folder / "b").chmod(0o640)
    return folder


def grow_old(folder: Path) -> None:
    """Let the files be of an hour ago, so that their times tell whether they were written to since."""
    for path in folder.rglob("*"):
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)


def test_a_copy_holds_files_folders_and_modes(source: Path, tmp_path: Path) -> None:
    copy = Copy(source, tmp_path / "copy")

    copy.update()

    assert (tmp_path / "copy" / "sub" / "a").read_bytes() == b"first"
    assert (tmp_path / "copy" / "sub" / "empty").is_dir()
    assert {file.path: (file.mode, file.size_bytes) for file in copy.tree.files} == {
        "sub/a": (0o644, 5),
        "b": (0o640, 0),
    }


def test_an_update_takes_what_changed_came_and_went(source: Path, tmp_path: Path) -> None:
    copy = Copy(source, tmp_path / "copy")
    copy.update()

    (source / "sub" / "a").write_bytes(b"other")  # as long as before, and at once
    (source / "new").write_bytes(b"new")
    (source / "b").unlink()
    copy.update()

    assert (tmp_path / "copy" / "sub" / "a").read_bytes() == b"other"
    assert (tmp_path / "copy" / "new").read_bytes() == b"new"
    assert not (tmp_path / "copy" / "b").exists()
    assert {file.path for file in copy.tree.files} == {"sub/a", "new"}


def test_what_is_left_out_by_the_second_pass_goes(source: Path, tmp_path: Path) -> None:
    copy = Copy(source, tmp_path / "copy")
    copy.update()

    copy.update(without=lambda root, path: path == "sub")

    assert {file.path for file in copy.tree.files} == {"b"}
    assert not (tmp_path / "copy" / "sub" / "a").exists()


def test_sockets_are_passed_over(source: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(source)  # a socket's path may not be long
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)

        assert {file.path for file in trees.walk(source).files} == {"sub/a", "b"}


def test_a_symbolic_link_is_refused(source: Path) -> None:
    (source / "link").symlink_to("b")

    with pytest.raises(Conflict) as refused:
        trees.walk(source)

    assert str(source / "link") in refused.value.message


def test_a_copied_file_is_private_and_replaces(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(3_000_000))
    (tmp_path / "b").write_bytes(b"old")

    trees.copy_file(tmp_path / "a", tmp_path / "b")

    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600


def test_digests_are_sha_256_in_the_order_asked_for(source: Path) -> None:
    assert trees.digests(source, ["b", "sub/a"]) == [
        # of nothing: NIST's own example; of "first": sha256sum
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e",
    ]
