"""Numbers that can be stored: PostgreSQL's integer and bigint hold no more."""

from __future__ import annotations

MAX_INTEGER = 2**31 - 1
MAX_BIGINT = 2**63 - 1
