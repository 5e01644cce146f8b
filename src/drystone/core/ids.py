"""Identifiers: UUID version 7, so that they sort by the time they were made."""

from __future__ import annotations

import os
import time
from uuid import UUID

# One as it is written, in a regular expression.
PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def new_id() -> UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, 74 random bits. Source: RFC 9562, section 5.7."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & ((1 << 48) - 1)) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)
