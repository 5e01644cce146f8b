"""Folders as one thing: listed, copied, hashed; and archived while somebody still writes to them."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from drystone.core.errors import Conflict
from drystone.stack.data import trees
from drystone.stack.data.archive import Archive


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / "a").write_bytes(b"first")
    (folder / "b").write_bytes(b"")
    (folder / "b").chmod(0o640)
    return folder


def unpack(archive: Path, into: Path) -> Path:
    """What tar itself makes of it."""
    into.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", into], check=True)
    return into / "source"


def test_an_archive_holds_files_folders_and_modes_and_tar_reads_it(source: Path, tmp_path: Path) -> None:
    with Archive(tmp_path / "tar") as archive:
        archive.add(source)

    unpacked = unpack(tmp_path / "tar", tmp_path / "out")
    assert (unpacked / "sub" / "a").read_bytes() == b"first"
    assert (unpacked / "sub" / "empty").is_dir()
    assert (unpacked / "b").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "tar").stat().st_mode & 0o777 == 0o600


def test_what_changed_since_is_added_again_and_what_went_is_not_in_it(source: Path, tmp_path: Path) -> None:
    with Archive(tmp_path / "tar") as archive:
        archive.add(source)
        (source / "sub" / "a").write_bytes(b"other")  # as long as before, and at once
        (source / "new").write_bytes(b"new" * 1000)
        (source / "b").unlink()
        copied = archive.add(source)

    assert copied == 5 + 3000
    assert archive.files["source"].keys() == {"sub/a", "new"}
    unpacked = unpack(tmp_path / "tar", tmp_path / "out")
    assert (unpacked / "sub" / "a").read_bytes() == b"other"
    assert (unpacked / "new").read_bytes() == b"new" * 1000


def test_what_has_not_changed_for_a_while_is_not_added_again(source: Path, tmp_path: Path) -> None:
    with Archive(tmp_path / "tar") as archive:
        archive.add(source)
        members = archive.files["source"]
        archive.files["source"] = {
            path: replace(each, added_ns=each.added_ns + 10**10) for path, each in members.items()
        }

        assert archive.add(source) == 0

        with (source / "sub" / "a").open("ab") as file:
            file.write(b"!")
        assert archive.add(source) == 6


def test_a_file_that_shrinks_while_it_is_added_leaves_the_archive_whole(source: Path, tmp_path: Path) -> None:
    def shrink(root: Path, path: str) -> bool:
        (root / path).write_bytes(b"")  # its length has been noted by then
        return False

    (source / "sub" / "a").write_bytes(b"x" * 5000)
    with Archive(tmp_path / "tar") as archive:
        archive.add(source, without=lambda root, path: path == "sub/a" and shrink(root, path))
        assert archive.files["source"]["sub/a"].entry.size_bytes == 5000
        archive.add(source)

    unpacked = unpack(tmp_path / "tar", tmp_path / "out")
    assert (unpacked / "sub" / "a").read_bytes() == b""


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


def test_copying_ends_where_it_is_told_to_or_where_the_source_ends(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(3_000_000))

    with (tmp_path / "a").open("rb") as reading, (tmp_path / "b").open("wb") as writing:
        assert trees.copy(reading.fileno(), writing.fileno(), 1_000_001) == 1_000_001
        assert trees.copy(reading.fileno(), writing.fileno(), 9_000_000) == 1_999_999

    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_digests_are_sha_256_of_pieces_in_the_order_asked_for(source: Path) -> None:
    assert trees.digests([(source / "b", 0, 0), (source / "sub" / "a", 0, 5), (source / "sub" / "a", 1, 3)]) == [
        # of nothing: NIST's own example; of "first" and "irs": sha256sum
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e",
        "384c0b6dc96e6cefe4c53959267583d261cdab098a4d65dae45b01ae610bf66f",
    ]
