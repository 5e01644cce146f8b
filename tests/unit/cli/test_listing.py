"""Tables of keys and of the audit, on terminals and through a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

import pytest
from tests.unit.cli.conftest import OnTerminal

from drystone.cli import listing
from drystone.cli.answers import Change, Key

DOCUMENT = "01a20636-719b-78c4-a15e-391b3d2a1c8b"


@pytest.fixture(autouse=True)
def _in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TZ", "UTC0")
        time.tzset()
        yield
    time.tzset()


def change(action: str, subject_id: str = DOCUMENT, **details: object) -> Change:
    row = {"id": 1, "at": "2026-11-23T02:22:44.7Z", "actor": "key:dsk_f9df8bnaai", "action": action}
    row |= {"subject_kind": action.partition(".")[0], "subject_id": subject_id, "request_id": "r"}
    return cast(Change, row | {"before_sha256": None, "after_sha256": None, "details": details})


def key(prefix: str, **fields: object) -> Key:
    row: dict[str, object] = {"prefix": prefix, "name": "website", "scopes": ["read"], "collection_ids": None}
    row |= dict.fromkeys(("documents_per_day", "bytes_per_day", "expires_at", "revoked_at", "last_used_at"))
    row |= {"previous_until": None, "is_from_settings": False}
    return cast(Key, row | fields)


def test_a_change_is_told_whole_in_80_columns(on_terminal: OnTerminal) -> None:
    rows = [
        change("key.change", prefix="dsk_q5bwp2rv8i", name="website", scopes=["read", "write"], expires_at=None),
        change("collection.describe"),
    ]

    assert on_terminal(80, lambda: listing.show_changes(rows)) == [
        "time                 who             what                 of",
        "2026-11-23 02:22:44  dsk_f9df8bnaai  key.change           dsk_q5bwp2rv8i",
        "                     name website, scopes read + write",
        "2026-11-23 02:22:44  dsk_f9df8bnaai  collection.describe",
        f"                     of {DOCUMENT}",
    ]


def test_details_stand_in_the_line_where_they_fit(on_terminal: OnTerminal) -> None:
    _, line = on_terminal(
        120, lambda: listing.show_changes([change("document.replace", external_id="a.txt", number=2)])
    )

    assert line == "2026-11-23 02:22:44  dsk_f9df8bnaai  document.replace  a.txt  number 2"


def test_a_long_detail_is_wrapped_below_its_row(on_terminal: OnTerminal) -> None:
    _, line, *below = on_terminal(80, lambda: listing.show_changes([change("key.create", prefix="p", name="x" * 90)]))

    assert line.endswith("  p")
    assert {part[:21] for part in below} == {" " * 21}
    assert "".join(part[21:] for part in below) == "name" + "x" * 90


def test_keys_tell_rights_end_and_former_ones_in_80_columns(on_terminal: OnTerminal) -> None:
    keys = [
        key("dsk_local", name="first key", scopes=["read", "write", "admin"], is_from_settings=True),
        key("dsk_former", name="first key", revoked_at="2026-11-23T02:22:44Z", is_from_settings=True),
        key("dsk_f9df8bnaai", scopes=["write"], expires_at="2999-06-30T00:00:00Z", documents_per_day=10_000),
    ]

    narrow = on_terminal(80, lambda: listing.show_keys(keys, {}))
    wide = on_terminal(120, lambda: listing.show_keys(keys, {}))

    assert [line.split("  ")[-1].strip() for line in narrow[2:]] == ["never", "2026-11-23 02:22", "2999-06-30 00:00"]
    assert "read, write  " in narrow[4]
    assert [name in line for name, line in (("first key  ", wide[2]), ("first key (former)", wide[3]))] == [True, True]
    assert wide[4].endswith("10000 documents")


def test_programs_are_given_code_and_message_only_of_what_can_fail(capsys: pytest.CaptureFixture[str]) -> None:
    listing.show_keys([], {})
    listing.show_changes([])
    listing.show_rows([], listing.JOBS)

    keys, changes, jobs = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert [head[-2:] for head in (keys, changes, jobs)] == [
        ["last used", "a day"],
        ["details", "request"],
        ["code", "message"],
    ]
