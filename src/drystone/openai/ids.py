"""Ids as OpenAI's clients see them: what it is, and the UUID without its hyphens. To clients they are opaque."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from drystone.core.errors import NotFound

FILE, STORE, BATCH, UPLOAD, PART = "file-", "vs_", "vsfb_", "upload_", "part_"


def shown(prefix: str, given: UUID) -> str:
    """An id as it is told."""
    return prefix + given.hex


def read(prefix: str, given: str, missing: Callable[[str], NotFound]) -> UUID:
    """The UUID of an id as it was told. Raises what `missing` makes of any other."""
    try:
        found = UUID(hex=given.removeprefix(prefix))
    except ValueError as exc:
        raise missing(given) from exc
    if shown(prefix, found) != given:
        raise missing(given)
    return found
