"""A document and a job that have failed, as the API tells them."""

from __future__ import annotations

from typing import Any

FAILURE = {"code": "document.no_text", "message": "There is no text in it.", "hint": None}
DOCUMENT: dict[str, Any] = {
    "id": "d",
    "collection": "notes",
    "external_id": None,
    "title": None,
    "name": "a.txt",
    "media_type": "text/plain",
    "size_bytes": 3,
    "sha256": "00",
    "attributes": {"year": 1962},
    "schema": None,
    "schema_version": None,
    "schema_problem": None,
    "state": "failed",
    "error": FAILURE,
    "version": 1,
    "version_id": "v",
    "serving_version": None,
    "serving_version_id": None,
    "is_searchable": False,
    "chunks": None,
    "pages": None,
    "characters": None,
    "language": None,
    "archive": None,
    "dated_on": "2026-11-23",
    "created_at": "2026-11-23T00:00:00Z",
    "updated_at": "2026-11-23T00:00:00Z",
    "moons": 3,
}
JOB: dict[str, Any] = {
    "id": "j",
    "kind": "parse",
    "subject_id": "v",
    "document": None,
    "collection": None,
    "state": "failed",
    "attempt": 1,
    "lease": None,
    "progress": None,
    "tries": {},
    "error": FAILURE,
    "waiting_s": None,
    "created_at": "2026-11-23T00:00:00Z",
    "run_after": "2026-11-23T00:00:00Z",
    "started_at": None,
    "finished_at": None,
}
