"""The page of reasons says what the code says."""

from __future__ import annotations

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
