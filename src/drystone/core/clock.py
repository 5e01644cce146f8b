"""Time for people and logs. Leases and orders use PostgreSQL's clock, never this one."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present, aware, in UTC."""
    return datetime.now(UTC)
