"""Numbers that can be stored, and that every reader of JSON takes for the same number."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator

# PostgreSQL's integer and bigint hold no more.
MAX_INTEGER = 2**31 - 1
MAX_BIGINT = 2**63 - 1
# JSON's numbers are doubles to many readers, /openapi.json among them: whole ones beyond this are not told apart (RFC 8259, 6).
MAX_JSON = 2**53 - 1


def _check(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("is a whole number, neither a boolean nor a string")  # noqa: TRY004  # what pydantic tells the caller
    return value


# Marks a whole number in the body of a request: 7 or 7.0, but not "7" nor true. Last, lest /openapi.json loses its range.
WHOLE = BeforeValidator(_check)
