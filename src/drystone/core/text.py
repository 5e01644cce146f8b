"""Text that can be stored: PostgreSQL takes neither NUL nor half a surrogate pair."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def is_storable(value: str) -> bool:
    """Whether the text holds only characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _check(value: str) -> str:
    if not is_storable(value):
        raise ValueError("holds a NUL character or half a surrogate pair")
    return value


# Of a document's title, wherever it is given.
MAX_TITLE = 2000
# A string of a request, refused with 422 when it could not be stored or compared.
Text = Annotated[str, AfterValidator(_check)]
