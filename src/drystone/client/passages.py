"""Passages of collections whose vectors are yours: put and deleted by ids, found by vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from drystone.client.models import Collection, DeletedDocuments, Filter, Passage, PassageHit, PutPassage
from drystone.client.operations import call
from drystone.client.room import Room, change, given, part
from drystone.client.steps import Flow, Request

T = TypeVar("T")

MOST_AT_ONCE = 1000
_MOST_WITH_VECTORS = 250  # of the most numbers that one has: a million at once
_MOST_BYTES = 7 << 20  # of the 8 MiB that a body of JSON may have


class Passages(Room):
    """Passages with vectors of yours, in a collection that was made with a `dimension`."""

    @call
    def put(self, collection: str | UUID, passages: Sequence[Mapping[str, Any]]) -> Flow[list[PutPassage]]:
        """Put passages (id, text, vector, attributes), each in place of the one that has its id. They can be found at once.

        Any number: sent in as many requests as they need, each of which is put as a whole.
        """
        done: list[PutPassage] = []
        for body in _bodies(passages):
            request = change("PUT", _path(collection), content=body, headers={"Content-Type": "application/json"})
            done += yield from self._all(request, PutPassage, "passages")
        return done

    @call
    def get(self, collection: str | UUID, ids: Sequence[str], *, with_vectors: bool = False) -> Flow[list[Passage]]:
        """Those of these ids, in this order; those that are not there are left out."""
        found: list[Passage] = []
        for some in _by(ids, _MOST_WITH_VECTORS if with_vectors else MOST_AT_ONCE):
            body = {"ids": some, "with_vectors": with_vectors}
            found += yield from self._all(_asked(f"{_path(collection)}/get", body), Passage, "passages")
        return found

    @call
    def delete(self, collection: str | UUID, ids: Sequence[str]) -> Flow[int]:
        """Delete those of these ids; how many there were."""
        deleted = 0
        for some in _by(ids, MOST_AT_ONCE):
            request = change("POST", f"{_path(collection)}/delete", {"ids": some})
            deleted += yield from self._read(request, lambda answer: int(answer["deleted"]))
        return deleted

    @call
    def delete_all(self, collection: str | UUID) -> Flow[int]:
        """Delete all that a collection has; how many there were. Raises Conflict where it is one of files."""
        found = yield from self._get(f"/collections/{part(collection)}", Collection)
        # Whose vectors are made there the API refuses to tell passages of. By id: another may take the name meanwhile.
        yield from self._send(_asked(f"{_path(found.id)}/get", {"ids": ["-"]}))
        request = change("POST", "/documents/delete", {"collection": found.id})
        return (yield from self._one(request, DeletedDocuments)).count

    @call
    def search(
        self,
        collection: str | UUID,
        vector: Sequence[float],
        *,
        limit: int = 10,
        filter: Filter | None = None,
        with_vectors: bool = False,
    ) -> Flow[list[PassageHit]]:
        """Those nearest to a vector, best first."""
        body = given(vector=[float(each) for each in vector], limit=limit, filter=filter, with_vectors=with_vectors)
        return (yield from self._all(_asked(f"{_path(collection)}/search", body), PassageHit, "hits"))


def _path(collection: str | UUID) -> str:
    return f"/collections/{part(collection)}/passages"


def _asked(path: str, body: Mapping[str, Any]) -> Request:
    """A question, which changes nothing."""
    return Request("POST", path, json=body, is_repeatable=True)


def _bodies(passages: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    """Bodies with as many as one request may have."""
    some: list[bytes] = []
    size = 0
    for passage in passages:
        said = json.dumps(dict(passage) | {"vector": [float(each) for each in passage["vector"]]}).encode()
        if some and (len(some) == MOST_AT_ONCE or size + len(said) > _MOST_BYTES):
            yield b'{"passages":[' + b",".join(some) + b"]}"
            some, size = [], 0
        some.append(said)
        size += len(said) + 1
    if some:
        yield b'{"passages":[' + b",".join(some) + b"]}"


def _by(values: Sequence[T], number: int) -> Sequence[list[T]]:
    left = iter(values)
    return [some for _ in range(0, len(values), number) if (some := list(islice(left, number)))]
