"""Every table on terminals of all widths: nothing fails, nothing runs over the edge, and of a number nothing is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from tests.unit.cli.conftest import OnTerminal

from drystone.access.models import Reader
from drystone.access.readers import Listed
from drystone.cli import listing, observing

ID = "01a20636-719b-78c4-a15e-391b3d2a1c8b"
AT = "2026-11-23T02:22:44Z"
WIDTHS = range(40, 201, 3)

ERROR = {"code": "parse.failed", "message": "The file is no PDF, whatever its name says."}
DOCUMENT = {
    "id": ID, "state": "failed", "title": "Air of a city " * 4, "name": "air.pdf", "external_id": "reports/air.pdf",
    "collection": "reports", "size_bytes": 123_456, "chunks": 12, "created_at": AT, "error": ERROR,
}  # fmt: skip
JOB = {
    "id": ID, "state": "failed", "kind": "documents.ingest", "document": DOCUMENT, "attempt": 3, "created_at": AT,
    "started_at": AT, "finished_at": AT, "error": ERROR,
}  # fmt: skip
VERSION = {
    "id": ID, "number": 3, "state": "ready", "is_current": True, "media_type": "application/pdf", "size_bytes": 123_456,
    "created_at": AT, "error": None,
}  # fmt: skip
COLLECTION = {
    "id": ID,
    "name": "reports of the town",
    "chunks": 1234,
    "documents": {"ready": 1, "pending": 2, "failed": 3},
}
KEY = {
    "prefix": "dsk_f9df8bnaai", "name": "website", "scopes": ["admin"], "collection_ids": [ID],
    "documents_per_day": 10_000, "bytes_per_day": 1_000_000, "expires_at": AT, "revoked_at": None, "last_used_at": AT,
    "previous_until": None, "is_from_settings": False,
}  # fmt: skip
READER = Listed(
    Reader(role="drystone_reader_h4m2kq7wyd", name="a notebook " * 4, collection_ids=[UUID(ID)], expires_at=None),
    "default",
    connections=5,
    in_use=1,
)
CHANGE = {
    "id": 1, "at": AT, "actor": "key:dsk_f9df8bnaai", "action": "document.replace", "subject_kind": "document",
    "subject_id": ID, "request_id": "r", "details": {"external_id": "a.txt", "number": 2},
}  # fmt: skip
ENTITY = {
    "id": ID, "key": "nitrogen-dioxide", "type": "property", "label": "Nitrogen dioxide", "number": 12,
    "published_at": AT, "deleted_at": AT, "version": "1.2.0", "entities": ["no2"], "modules": {"air": "^1.0.0"},
}  # fmt: skip
DONE = {
    "what": "created", "kind": "entity", "key": "nitrogen-dioxide", "version": None, "number": 1, "step": "major",
    "reasons": ["its label says something else", "no2 is gone"],
}  # fmt: skip
DRAFT = {
    "id": ID, "status": "submitted", "title": "ozone, too", "change_count": 12345, "expires_at": AT,
    "created_by": "key:dsk_f9df8bnaai",
}  # fmt: skip
DIFFERENCES: list[dict[str, Any]] = [
    {"kind": "entity", "key": "o3", "side": "ours", "path": "", "ours": {"type": "property", "label": "Ozone"}},
    {"kind": "entity", "key": "no2", "side": "ours", "path": "", "base": {"type": "property", "label": "Nitrogen dioxide"}, "theirs": {"type": "property", "label": "Nitrogen dioxide"}},
    {"kind": "entity", "key": "co", "side": "conflict", "path": "/label", "base": "CO", "ours": "Carbon", "theirs": "Monoxide"},
]  # fmt: skip
PAST = {
    "revision": 1234,
    "at": AT,
    "by": "key:dsk_f9df8bnaai",
    "action": "put",
    "version": None,
    "number": 3,
    "message": "m " * 40,
}
REVISION = {"revision": 1234, "at": AT, "by": "key:dsk_f9df8bnaai", "changes": 12345, "message": "m " * 40}
QUOTE = f"{'before ' * 30}Mill Lane{' after' * 30}"
PASSAGE = {
    "document": DOCUMENT, "quote": QUOTE, "start": 1000,
    "mentions": [{"start": 1000 + QUOTE.index("Mill"), "end": 1000 + QUOTE.index("Mill") + 9}],
}  # fmt: skip
MENTIONED = {"key": "mill-lane", "type": "category", "label": "Mill Lane", "mentions": 12345, "passages": 123}
MEASURED = {
    "metric": "temperature", "source": "default", "unit": "µg/m³", "latest": {"value": 203.123, "observed_at": AT},
    "bucket_start": AT, "count": 12345, "avg": 12345.6, "min": -98765.4, "max": 1.23457e+42,
}  # fmt: skip
OVERVIEW = {
    "at": AT,
    "entity": ENTITY | {"description": "d"},
    "profile": None,
    "measured": [MEASURED],
    "passages": [PASSAGE],
}
BACKUP = {
    "id": "2026-11-23T02-22-44Z-abcdef", "created_at": AT, "dump_bytes": 1_234_567, "is_whole": True,
    "schema_revision": "0020_mentions",
}  # fmt: skip
SERIES = [
    {
        "entity": f"station-{n}",
        "metric": "temperature",
        "source": "default",
        "unit": "°C",
        "values": [20.25, -1234.5, None],
    }
    for n in range(6)
]


def _rows(columns: Any, row: Any) -> None:
    listing.show_rows([row, row], columns)


def _buckets() -> None:
    observing._show_lines({"times": [AT, AT, AT], "series": SERIES}, False)


def _series() -> None:
    observing._show_series({"items": [each | {"first_at": AT, "last_at": None} for each in SERIES]}, False)


# What is shown, and what must be readable on a terminal of any width.
TABLES: dict[str, tuple[Callable[..., None], tuple[Any, ...], tuple[str, ...]]] = {
    "documents": (_rows, (listing.DOCUMENTS, DOCUMENT), (ID,)),
    "jobs": (_rows, (listing.JOBS, JOB), ("failed",)),
    "versions": (_rows, (listing.VERSIONS, VERSION), ("123 kB",)),
    "collections": (_rows, (listing.COLLECTIONS, COLLECTION), ("1234",)),
    "keys": (listing.show_keys, ([KEY], {ID: "reports"}), ("dsk_f9df8bnaai",)),
    "readers": (listing.show_readers, ([READER], {ID: "reports"}), (READER.reader.role, "active")),
    "audit": (listing.show_changes, ([CHANGE],), ()),
    "entities": (listing.show_catalogued, ([ENTITY], "entities"), ("nitrogen-dioxide",)),
    "modules": (listing.show_catalogued, ([ENTITY], "modules"), ("nitrogen-dioxide", "1.2.0")),
    "profiles": (listing.show_catalogued, ([ENTITY], "profiles"), ("nitrogen-dioxide",)),
    "done": (listing.show_done, ([DONE],), ("created", "nitrogen-dioxide", "major")),
    "drafts": (listing.show_drafts, ([DRAFT],), (ID, "submitted")),
    "proposals": (listing.show_proposals, ([DONE | {"action": "put", "content": ENTITY}],), ("nitrogen-dioxide",)),
    "differences": (listing.show_differences, (DIFFERENCES,), ("added", "deleted", "changed", "entity o3")),
    "past": (listing.show_past, ([PAST],), ("1234",)),
    "revisions": (listing.show_revisions, ([REVISION],), ("12345",)),
    "mentions": (listing.show_mentions, ([PASSAGE],), ("Mill Lane",)),
    "mentioned": (listing.show_mentioned, ([MENTIONED],), ("12345", "mill-lane")),
    "overview": (
        listing.show_overview,
        (OVERVIEW, "P1D"),
        ("203.123", "µg/m³", "12345.6", "-98765.4", "1.23457e+42", "Mill Lane"),
    ),
    "backups": (
        listing.show_backups,
        ([SimpleNamespace(**BACKUP, objects=SimpleNamespace(size_bytes=1_234_567))],),
        ("2026-11-23T02-22-44Z-abcdef", "1.2 MB"),
    ),
    "snapshots": (
        listing.show_snapshots,
        ([SimpleNamespace(name="n", created_at=AT, data_bytes=1_234_567, schema="s")],),
        ("1.2 MB",),
    ),
    "buckets": (
        _buckets,
        (),
        ("20.25", "-1234.5", "station-5"),
    ),
    "series": (
        _series,
        (),
        ("station-5", "temperature"),
    ),
    "document": (listing.show_one, (DOCUMENT,), ("parse.failed",)),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_whole_on_a_terminal_of_any_width(name: str, on_terminal: OnTerminal) -> None:
    show, given, needed = TABLES[name]

    for width in WIDTHS:
        lines = on_terminal(width, lambda: show(*given))
        text = "".join("".join(lines).split())  # what is too long for a line goes on in the next
        assert [line for line in lines if len(line) > width] == [], width
        assert [each for each in needed if "".join(each.split()) not in text] == [], "\n".join((str(width), *lines))


def test_series_go_to_programs_as_they_were_answered(capsys: pytest.CaptureFixture[str]) -> None:
    _buckets()

    head, first, *_ = capsys.readouterr().out.splitlines()
    assert head.split("\t")[:2] == ["from", "station-0 [°C]"]
    assert first.split("\t") == [AT, *["20.25"] * 6]


def test_every_table_is_among_them() -> None:
    tables = {name for name in vars(listing) if name.startswith("show_")} - {"show_rows", "show_report"}

    assert tables - {show.__name__ for show, _, _ in TABLES.values()} == set()


def test_a_place_of_a_draft_says_what_became_of_it(on_terminal: OnTerminal) -> None:
    lines = on_terminal(120, lambda: listing.show_differences(DIFFERENCES))

    assert [line.split() for line in lines] == [
        ["ours", "added", "entity", "o3", "(all)"],
        ["type", '"property"'],
        ["label", '"Ozone"'],
        [],
        ["ours", "deleted", "entity", "no2", "(all)"],
        ["type", '"property"'],
        ["label", '"Nitrogen', 'dioxide"'],
        [],
        ["conflict", "changed", "entity", "co", "/label"],
        ["base", '"CO"'],
        ["ours", '"Carbon"'],
        ["theirs", '"Monoxide"'],
    ]


@pytest.mark.parametrize("width", [40, 80, 300])
def test_what_is_to_be_approved_is_shown_whole(on_terminal: OnTerminal, width: int) -> None:
    made: dict[str, Any] = {
        "label": "Harmless",
        "description": f"{'what it is for ' * 80}and \u202ewhat\x9b it \x1b[2Jdoes",
        "parents": [f"parent-{n}" for n in range(50)],
        "schema_definition": {"properties": {f"name-{n}": {"maximum": 500 + n} for n in range(20)}},
    }
    at = {"kind": "entity", "key": "o3", "side": "ours"}
    shown: list[dict[str, Any]] = [
        at | {"path": "", "ours": made},
        at | {"path": "/description", "base": "a" * 500, "ours": "b" * 500},
    ]

    text = "".join("".join(on_terminal(width, lambda: listing.show_differences(shown))).split())

    for value in made.values():
        whole = json.dumps(value, ensure_ascii=False).replace("\u202e", "\\u202e").replace("\x9b", "\\u009b")
        assert "".join(whole.split()) in text
    assert "a" * 500 in text
    assert "b" * 500 in text
    assert not any(c in text for c in "\x1b\x9b\u202e")


def test_programs_are_told_of_a_place_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    listing.show_differences(DIFFERENCES)

    head, added, _, conflict = capsys.readouterr().out.splitlines()
    assert head.split("\t") == ["side", "of", "path", "base", "ours", "theirs"]
    assert added.split("\t") == ["ours", "entity o3", "(all)", "", '{"type": "property", "label": "Ozone"}', ""]
    assert conflict.split("\t") == ["conflict", "entity co", "/label", '"CO"', '"Carbon"', '"Monoxide"']


def test_what_is_empty_says_so_on_a_terminal(on_terminal: OnTerminal) -> None:
    assert on_terminal(80, lambda: listing.show_drafts([])) == ["none"]
