"""The page of reasons says what the code says."""

from __future__ import annotations

import ast
from pathlib import Path

from drystone.adapters.parsing import failures
from drystone.cli import reasons

_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "reasons.md"


def test_the_page_is_in_step_with_the_code() -> None:
    assert _PAGE.read_text() == reasons.page(), "./drystone jobs reasons > docs/reference/reasons.md"


def test_every_reason_of_a_parser_is_found() -> None:
    codes = {reason.code for reason in reasons.find()}

    assert {
        "document.no_text",
        "parse.timeout",
        "document.quarantined",
        "job.cancelled",
        "worker.lost_too_often",
    } <= codes
    assert all(not failures.is_known(code) or code in codes for code in failures._REASONS)


def test_every_reason_has_a_sentence_and_what_ends_a_job_has_a_hint() -> None:
    found = reasons.find()

    assert [reason.code for reason in found if not reason.sentence.strip(" ….")] == []
    ends_a_job = ("parse.", "worker.", "webhook.", "job.")
    assert [reason.code for reason in found if reason.code.startswith(ends_a_job) and not reason.hint] == []


def test_every_pointer_in_the_code_is_a_json_pointer() -> None:
    root = Path(reasons.__file__).parents[1]
    rooms = [root / room for room in ("access", "api", "core", "documents", "jobs", "search", "webhooks")]
    calls = [
        node
        for room in rooms
        for path in room.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "pointer"
    ]
    plain = [call.value.value for call in calls if isinstance(call.value, ast.Constant)]

    assert len(plain) >= 15
    assert [pointer for pointer in plain if not str(pointer).startswith("/")] == []
