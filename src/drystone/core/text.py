"""Text that can be stored: PostgreSQL takes neither NUL nor half a surrogate pair. And what a stranger wrote, made harmless."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from drystone.core.controls import is_steering


def is_storable(value: str) -> bool:
    """Whether the text holds only characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def clean(text: str) -> str:
    """Text without controls, marks that turn the direction, and halves of surrogate pairs, which nothing of ours can keep."""
    return "".join(c for c in text if c in _LINES or not is_steering(c))


def _check(value: str) -> str:
    if not is_storable(value):
        raise ValueError("holds a NUL character or half a surrogate pair")
    return value


_LINES = "\n\t\u2028\u2029"
# Of a document's title and external_id, wherever they are given.
MAX_TITLE, MAX_EXTERNAL_ID = 2000, 512
# A string of a request, refused with 422 when it could not be stored or compared.
Text = Annotated[str, AfterValidator(_check)]
