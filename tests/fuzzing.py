"""What Schemathesis is told beside the OpenAPI, by its hooks: loaded by tests/integration/test_openapi.py in its process."""

from __future__ import annotations

import os
import re
from itertools import count
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.generation.meta import TestPhase

# Pydantic's own words for what a JSON schema can say; what we refuse for reasons of our own is told in ours.
_OF_SCHEMA = re.compile(
    r"Input should|Field required|(String|List|Dictionary|Value|Data) should|There is no such field|Extra"
)


_SENT = count()


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], **_sending: Any) -> None:
    """In sequences each request is the first under its Idempotency-Key: one that was sent before is answered as it was then,
    with the id of what an earlier sequence may have deleted. Where a link is asked for, it is shown instead of the key."""
    is_of_link = case.path == "/api/v1/draft" or case.path.startswith("/api/v1/draft/")
    if is_of_link and case.headers is not None and "Authorization" in case.headers:
        case.headers["Authorization"] = f"Draft {os.environ['DRAFT']}"
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if case.meta is not None and case.meta.phase.name == TestPhase.STATEFUL and isinstance(key, str) and key:
        case.headers["Idempotency-Key"] = f"{key[:200]}-{next(_SENT)}"


@schemathesis.check
def what_the_schema_allows_is_refused_for_a_reason_of_its_own(
    _context: CheckContext, response: Response, case: Case[Any]
) -> None:
    """A name may be taken, a tag stale, a file unreadable: no schema says that. But nothing else may be wrong with it."""
    if (
        case.meta is None
        or not case.meta.generation.mode.is_positive
        or response.status_code not in (400, 405, 406, 422)
    ):
        return
    problem = response.json()
    details = [error["detail"] for error in problem.get("errors", [])]
    is_of_schema = problem["code"] == "request.invalid" and any(_OF_SCHEMA.match(each) for each in details)
    if is_of_schema or problem["code"] in ("request.unknown_parameter", "request.unknown_field", "request.not_json"):
        raise AssertionError(f"the schema allows what is refused: {problem['code']} {details}")
