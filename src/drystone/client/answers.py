"""What an answer must be to be Drystone's, and what is read of it. Whatever else somebody answers is told as Broken, by this module alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drystone.client.errors import UNREADABLE, stranger

if TYPE_CHECKING:
    import httpx

    from drystone.client.steps import Kind


def check(response: httpx.Response, kind: Kind) -> None:
    """Raise Broken for a success that is not of this kind. Looks at its head only."""
    if not _IS_OF[kind](response):
        raise stranger(response)


@contextmanager
def understood(response: httpx.Response) -> Iterator[None]:
    """Reads the answer within the block. Raises Broken where it does not say what was looked for."""
    try:
        yield
    except UNREADABLE as exc:
        raise stranger(response) from exc


def content_of(response: httpx.Response) -> dict[str, Any]:
    """The object that an answer in JSON is. Raises ValueError where it is none."""
    answer = response.json()
    if not isinstance(answer, dict):
        raise ValueError(f"An object was expected, not {type(answer).__name__}.")  # noqa: TRY004  as of what is no JSON
    return answer


def _type_of(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


_IS_OF: Mapping[Kind, Callable[[httpx.Response], bool]] = {
    "json": lambda response: _type_of(response) == "application/json",
    "text": lambda response: _type_of(response) == "text/plain",
    "events": lambda response: _type_of(response) == "text/event-stream",
    # A file is of any type, and always an attachment.
    "file": lambda response: response.headers.get("content-disposition", "").startswith("attachment"),
    "nothing": lambda response: response.status_code == 204,
    "any": lambda response: True,
}
