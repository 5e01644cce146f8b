from __future__ import annotations

import re
from pathlib import Path

import pytest

from drystone.stack import fulldisk
from drystone.stack.fulldisk import NEVER_FULL, FullDisk, has_room

SAID = "write filerldb2/02/000001.log: no space left on device"


class _Disk:
    def __init__(self, folder: Path = Path("/nowhere")) -> None:
        self.has_room = True
        self.full = FullDisk(re.compile("no space left"), folder, lambda _: self.has_room)


def test_a_server_that_speaks_of_a_full_disk_when_there_is_room_has_not_got_over_it() -> None:
    disk = _Disk()
    disk.full.listen("volume grow")
    assert not disk.full.is_over()

    disk.full.listen(SAID)

    assert disk.full.is_over()


def test_while_the_disk_is_full_it_is_right() -> None:
    disk = _Disk()
    disk.has_room = False
    disk.full.listen(SAID)
    assert not disk.full.is_over()

    disk.has_room = True

    assert not disk.full.is_over()  # it has said nothing since
    disk.full.listen(SAID)
    assert disk.full.is_over()


def test_it_is_not_started_anew_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk()
    for expected in (True, False):
        disk.full.listen(SAID)
        assert disk.full.is_over() is expected

    monkeypatch.setattr(fulldisk, "AGAIN_S", 0.0)
    disk.full.listen(SAID)

    assert disk.full.is_over()


def test_what_a_server_keeps_is_no_longer_known_to_be_whole_once_it_spoke_of_a_full_disk(tmp_path: Path) -> None:
    disk = _Disk(tmp_path)
    (tmp_path / NEVER_FULL).touch()
    disk.full.listen("volume grow")
    assert (tmp_path / NEVER_FULL).exists()

    disk.full.listen(SAID)
    disk.full.listen(SAID)

    assert not (tmp_path / NEVER_FULL).exists()


def test_a_disk_with_space_has_room_and_a_folder_that_is_gone_has_none(tmp_path: Path) -> None:
    assert has_room(tmp_path)
    assert not has_room(tmp_path / "gone")
