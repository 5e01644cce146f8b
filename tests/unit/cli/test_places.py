"""What is said where a question finds nothing: of collections that somebody named, and of the one that nobody did."""

from __future__ import annotations

import pytest
from tests.scripted import Scripted, as_json, problem

from drystone.cli import places
from drystone.cli.answers import Collection
from drystone.cli.client import Client
from drystone.core.errors import NotFound


def _collection(name: str, ready: int = 0, pending: int = 0) -> Collection:
    return {"id": name, "name": name, "documents": {"ready": ready, "pending": pending, "failed": 0}, "chunks": 0}


EMPTY, NOTES, PAPERS = _collection("default"), _collection("notes", 1), _collection("papers", 7)


@pytest.mark.parametrize(
    ("looked_in", "named", "there_are", "said"),
    [
        (["default"], False, [EMPTY], 'there are no documents yet: "drystone add FOLDER" adds documents'),
        (["default"], False, [EMPTY, NOTES, PAPERS], "no hits in default; elsewhere with -c papers, -c notes"),
        (["default"], False, [_collection("default", 3, 2)], "no hits in default (still pending: 2)"),
        (["notes"], True, [NOTES, PAPERS], "no hits in notes"),
        (["notes"], True, [_collection("notes", 0, 1), PAPERS], "no hits in notes (still pending: 1)"),
    ],
)
def test_nothing_found_says_where_else_there_is_something(
    looked_in: list[str], named: bool, there_are: list[Collection], said: str
) -> None:
    assert places.nothing("hits", looked_in, there_are, named=named) == said


def test_many_collections_are_told_in_part() -> None:
    many = [_collection(f"c{number:02}", 1) for number in range(12)]

    assert places.elsewhere(many).startswith("-c c00, -c c01, ")
    assert places.elsewhere(many).endswith("-c c09, …")


MISSING = problem(404, "collection.not_found")


@pytest.mark.parametrize(
    ("there_are", "message", "hint"),
    [
        ([], "There are no documents yet.", '"drystone add FOLDER" adds documents'),
        ([PAPERS], "There is no collection 'default', where is looked when none is named.", "name one: -c papers"),
    ],
)
def test_a_missing_default_that_nobody_named_is_told_by_what_there_is(
    there_are: list[Collection], message: str, hint: str
) -> None:
    with (
        Scripted(MISSING, as_json({"items": there_are})).running() as server,
        Client(server.url, "ds_key") as client,
        pytest.raises(NotFound) as told,
        places.looking(client, None) as collections,
    ):
        client.search({"query": "bees", "collections": collections})

    assert (told.value.message, told.value.hint) == (message, hint)


def test_what_somebody_named_is_told_as_it_is_and_nothing_else_is_asked() -> None:
    with (
        Scripted(MISSING).running() as server,
        Client(server.url, "ds_key") as client,
        pytest.raises(NotFound),
        places.looking(client, ["papres"]) as collections,
    ):
        client.search({"query": "bees", "collections": collections})

    assert len(server.asked) == 1
