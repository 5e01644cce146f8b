"""Where a question looks that names no collection, and what to say when there is nothing: only then is asked what there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from drystone.cli.answers import Collection
from drystone.cli.client import Client
from drystone.cli.data import DEFAULT_COLLECTION
from drystone.core.errors import NotFound

_TOLD = 10
_ADD = '"drystone add FOLDER" adds documents'


@contextmanager
def looking(client: Client, named: Sequence[str] | None) -> Iterator[list[str]]:
    """The collections to look into. Where nobody named one and the usual one is not there, what there is is told instead."""
    try:
        yield list(named or [DEFAULT_COLLECTION])
    except NotFound as exc:
        if named or exc.code != "collection.not_found":
            raise
        raise _nothing_there(client.collections()) from exc


def elsewhere(collections: Sequence[Collection]) -> str:
    """Other collections, as they are named on the command line, the fullest first; empty where none holds anything."""
    names = [each["name"] for each in _filled(collections) if each["name"] != DEFAULT_COLLECTION]
    return ", ".join(f"-c {name}" for name in names[:_TOLD]) + (", …" if len(names) > _TOLD else "")


def nothing(what: str, looked_in: Sequence[str], collections: Sequence[Collection], *, named: bool) -> str:
    """What is said where nothing was found. collections: all there are. named: whether somebody said where to look."""
    if not named and not _filled(collections):
        return f"there are no documents yet: {_ADD}"
    pending = sum(each["documents"]["pending"] for each in collections if each["name"] in looked_in)
    waiting = f" (still pending: {pending})" if pending else ""
    others = "" if named else elsewhere(collections)
    return f"no {what} in {', '.join(looked_in)}{waiting}" + (f"; elsewhere with {others}" if others else "")


def _nothing_there(collections: Sequence[Collection]) -> NotFound:
    if others := elsewhere(collections):
        return NotFound(
            "collection.not_found",
            f"There is no collection {DEFAULT_COLLECTION!r}, where is looked when none is named.",
            hint=f"name one: {others}",
        )
    return NotFound("collection.none", "There are no documents yet.", hint=_ADD)


def _filled(collections: Sequence[Collection]) -> list[Collection]:
    filled = [each for each in collections if sum(each["documents"].values())]
    return sorted(filled, key=lambda each: (-sum(each["documents"].values()), each["name"]))
