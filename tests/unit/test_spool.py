"""The spool counts and hashes what comes, in memory or on disk, and tells of a full disk in our words."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from drystone.core.errors import Unavailable
from drystone.core.spool import HEAD_BYTES, MEMORY_BYTES, Spool, telling_full_disk


@pytest.mark.parametrize("size", [0, 1, MEMORY_BYTES - 1, MEMORY_BYTES, 3 * MEMORY_BYTES + 7])
async def test_what_was_written_stands_there_counted_and_hashed(tmp_path: Path, size: int) -> None:
    body = bytes(i % 251 for i in range(size))
    spool = Spool(tmp_path / "spool")
    for begin in range(0, size, 65_536):
        await spool.write(body[begin : begin + 65_536])

    await spool.finish()

    assert (spool.size_bytes, spool.sha256) == (size, hashlib.sha256(body).digest())
    assert (spool.head, spool.body.read()) == (body[:HEAD_BYTES], body)
    assert not (tmp_path / "spool").exists() or list((tmp_path / "spool").iterdir()) == []
    assert (tmp_path / "spool").exists() == (size >= MEMORY_BYTES)
    spool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_told_with_a_status_and_a_hint(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as raised, telling_full_disk(tmp_path):
        Path("/dev/full").write_bytes(b"x")

    assert (raised.value.code, raised.value.values["status"]) == ("storage.spool_full", 507)
    assert raised.value.hint


def test_other_faults_of_a_disk_are_not_called_full(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), telling_full_disk(tmp_path):
        (tmp_path / "nowhere" / "file").write_bytes(b"x")
