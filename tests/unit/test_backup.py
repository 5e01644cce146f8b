"""Which backups stay, what a target may be called, and a deletion log that is brought together with another."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from drystone.backup.manifest import Manifest, Objects
from drystone.backup.pruning import Rules, kept
from drystone.backup.target import new_id, open_target
from drystone.core.errors import Conflict, DrystoneError, Invalid, NotFound
from drystone.core.settings import BackupSettings
from drystone.documents import deletions


def made(at: datetime, *, whole: bool = True) -> Manifest:
    objects = Objects(
        count=0, size_bytes=0, new=0, new_bytes=0, gone=[], missing=[] if whole else ["ab" * 32], wrong=[]
    )
    return Manifest(
        id=new_id(at),
        created_at=at.isoformat(),
        finished_at=at.isoformat(),
        software="0",
        schema_revision="0001",
        postgres="18",
        names={},
        dump=[],
        catalogue=[],
        deletions=[],
        objects=objects,
        counts={},
        golden=[],
    )


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
# Twice a day for sixty days, the oldest first.
MANY = [made(NOON - timedelta(hours=12 * n)) for n in reversed(range(120))]


def days_ago(ids: set[str]) -> list[float]:
    return sorted((NOON - each.time) / timedelta(days=1) for each in MANY if each.id in ids)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules(last=3), [0, 0.5, 1]),
        (Rules(daily=3), [0, 1, 2]),
        # 2026-11-22 is a Sunday, the end of its week in ISO 8601; midnight before belongs to it, too.
        (Rules(weekly=2), [0, 7]),
        (Rules(monthly=3), [0, 22, 53]),
        (Rules(last=1, daily=2, monthly=2), [0, 1, 22]),
    ],
)
def test_rules_keep_the_newest_of_each_span(rules: Rules, expected: list[float]) -> None:
    assert days_ago(kept(MANY, rules)) == expected


def test_one_that_is_not_whole_is_no_backup_of_its_day_and_the_newest_whole_one_stays() -> None:
    whole, broken = made(NOON - timedelta(days=1)), made(NOON, whole=False)

    assert kept([whole, broken], Rules(daily=1)) == {whole.id}
    assert kept([whole, broken], Rules(last=1)) == {whole.id, broken.id}
    with pytest.raises(Invalid, match="Nothing says"):
        Rules().check()


def test_a_manifest_comes_back_as_it_was_and_one_that_was_changed_does_not() -> None:
    one = made(NOON)

    assert Manifest.parse(one.id, one.as_bytes()) == one
    for wrong in (
        one.as_bytes().replace(b"0001", b"0002"),
        one.as_bytes()[:-9],
        b"[]",
        b'{"sha256": 1}',
        b"[" * 100_000,
        b"\xff\xfe",
    ):
        with pytest.raises(Invalid, match="is damaged"):
            Manifest.parse(one.id, wrong)
    with pytest.raises(Invalid, match="is damaged"):
        Manifest.parse(new_id(NOON), one.as_bytes())


@pytest.mark.parametrize("name", ["s3://", "s3://b", "s3://bucket/../x", "s3://bucket/a b", "https://x", "s3:/bucket"])
def test_what_names_no_place_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        open_target(name, BackupSettings())


def test_a_store_without_settings_is_told_by_their_names() -> None:
    with pytest.raises(DrystoneError, match="BACKUP_S3_ENDPOINT_URL"):
        open_target("s3://bucket/prefix", BackupSettings())


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").touch()

    with pytest.raises(Conflict, match="something else"):
        open_target(str(tmp_path), BackupSettings(), is_new=True)
    with pytest.raises(NotFound, match="no folder"):
        open_target(str(tmp_path / "none"), BackupSettings())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters.txt"]


def gone(number: int, at: str) -> str:
    return json.dumps({"kind": "document", "subject_id": str(UUID(int=number)), "at": at})


async def test_two_logs_become_one_in_which_what_was_taken_back_stays_so(tmp_path: Path) -> None:
    """Document 1 was deleted on the 1st, which was taken back on the 3rd; 2 on the 2nd elsewhere; 4 on the 4th elsewhere."""
    log = tmp_path / "log"
    undone = json.dumps({"undone_since": "2026-01-01T00:00:00+00:00", "at": "2026-01-03T00:00:00+00:00"})
    log.write_text("\n".join((gone(1, "2026-01-01T12:00:00+00:00"), undone, gone(5, "2026-01-05T00:00:00+00:00"))))
    others = [
        gone(1, "2026-01-01T12:00:00.000+00:00"),
        gone(2, "2026-01-02T00:00:00+00:00"),
        "no line of a log",
        gone(4, "2026-01-04T00:00:00+00:00"),
        gone(5, "2026-01-05T01:00:00+01:00"),
    ]

    async def theirs() -> AsyncIterator[str]:
        for line in others:
            yield line

    (tmp_path / "both").write_text("\n".join([line async for line in deletions.merged(log, theirs)]))

    holding = [UUID(line["subject_id"]).int for line in deletions.read(tmp_path / "both")]
    assert holding == [5, 4], "1 and 2 were taken back on the 3rd; 5 is there once"
