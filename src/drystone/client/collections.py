"""Collections: documents, or passages with vectors of yours, that are searched together."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from drystone.client.models import Collection
from drystone.client.operations import call
from drystone.client.room import Room, change, delete, given, part, read
from drystone.client.steps import Flow


class Collections(Room):
    """What is searched together."""

    @call
    def create(
        self,
        name: str,
        *,
        description: str | None = None,
        language: str | None = None,
        schema: str | None = None,
        dimension: int | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Collection]:
        """An empty collection. dimension: its vectors are yours, and `passages` are put with them.

        Raises Conflict where there is one of this name.
        """
        vectors = None if dimension is None else {"source": "caller", "dimension": dimension}
        body = given(name=name, description=description, language=language, schema=schema, vectors=vectors)
        return (yield from self._one(change("POST", "/collections", body, key=idempotency_key), Collection))

    @call
    def list(self) -> Flow[list[Collection]]:
        """All that the key may see."""
        return (yield from self._all(read("/collections"), Collection))

    @call
    def get(self, collection: str | UUID) -> Flow[Collection]:
        """One by name or id."""
        return (yield from self._get(f"/collections/{part(collection)}", Collection))

    @call
    def update(
        self,
        collection: str | UUID,
        *,
        description: str | None = None,
        schema: str | Literal[False] | None = None,
        if_match: str | None = None,
    ) -> Flow[Collection]:
        """Change what is given; schema False: none."""
        body: dict[str, Any] = given(description=description, schema=schema)
        if schema is False:
            body["schema"] = None
        path = f"/collections/{part(collection)}"
        return (yield from self._one(change("PATCH", path, body, if_match=if_match), Collection))

    @call
    def delete(self, collection: str | UUID, *, if_match: str | None = None) -> Flow[None]:
        """Delete one with all that is in it."""
        yield from self._send(delete(f"/collections/{part(collection)}", if_match=if_match))
