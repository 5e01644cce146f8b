"""The catalogue: what things there are, put one by one or as changesets, and where documents mention them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from drystone.client.models import CatalogueState, ChangesetDone, Entity, EntityType, MentioningPassage, Module, Profile
from drystone.client.operations import call, many
from drystone.client.room import Room, change, delete, given, part
from drystone.client.steps import Flow, Many


class Catalogue(Room):
    """The catalogue as a whole, its modules and profiles."""

    @call
    def get(self) -> Flow[CatalogueState]:
        """Its revision, and how much there is."""
        return (yield from self._get("/catalogue", CatalogueState))

    @call
    def apply(
        self,
        changes: Sequence[Mapping[str, Any]],
        *,
        message: str | None = None,
        bump_modules: bool = False,
        dry_run: bool = False,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[ChangesetDone]:
        """Apply changes together, all or none: each has kind, key, action (put) and content."""
        body = given(changes=list(changes), message=message, bump_modules=bump_modules, dry_run=dry_run)
        request = change("POST", "/catalogue/changes", body, key=idempotency_key, if_match=if_match)
        return (yield from self._one(request, ChangesetDone))

    @many
    def modules(self, *, q: str | None = None, as_of: str | datetime | None = None) -> Many[Module]:
        """Modules by key. q: words of key or label."""
        yield from self._pages("/modules", Module, q=q, as_of=as_of)

    @call
    def module(self, key: str | UUID, *, as_of: str | datetime | None = None) -> Flow[Module]:
        """A module by key or id."""
        return (yield from self._get(f"/modules/{part(key)}", Module, as_of=as_of))

    @many
    def profiles(self, *, q: str | None = None, as_of: str | datetime | None = None) -> Many[Profile]:
        """Profiles by key. q: words of key or label."""
        yield from self._pages("/profiles", Profile, q=q, as_of=as_of)

    @call
    def profile(self, key: str | UUID, *, as_of: str | datetime | None = None) -> Flow[Profile]:
        """A profile by key or id."""
        return (yield from self._get(f"/profiles/{part(key)}", Profile, as_of=as_of))


class Entities(Room):
    """The things there are."""

    @many
    def list(
        self,
        *,
        type: EntityType | None = None,
        module: str | None = None,
        q: str | None = None,
        deleted: bool = False,
        as_of: str | datetime | None = None,
        page: int | None = None,
    ) -> Many[Entity]:
        """Those that fit, by key. q: words of key or label."""
        yield from self._pages(
            "/entities", Entity, page=page, type=type, module=module, q=q, deleted=deleted or None, as_of=as_of
        )

    @call
    def get(self, key: str | UUID, *, as_of: str | datetime | None = None) -> Flow[Entity]:
        """One by key or id, as it is, or was at a time."""
        return (yield from self._get(f"/entities/{part(key)}", Entity, as_of=as_of))

    @call
    def put(
        self,
        key: str,
        *,
        type: EntityType,
        label: str,
        description: str | None = None,
        aliases: Mapping[str, Sequence[str]] | None = None,
        parents: Sequence[str] | None = None,
        schema_definition: Mapping[str, Any] | None = None,
        message: str | None = None,
        bump_modules: bool = False,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Entity]:
        """Make one, or have it say this from now on: what is left out is empty. The same again changes nothing."""
        body = given(
            type=type,
            label=label,
            description=description,
            aliases=aliases,
            parents=parents,
            schema_definition=schema_definition,
        )
        params = {"message": message, "bump_modules": bump_modules or None}
        path = f"/entities/{part(key)}"
        request = change("PUT", path, body, key=idempotency_key, if_match=if_match, params=params)
        return (yield from self._one(request, Entity))

    @call
    def delete(self, key: str | UUID, *, message: str | None = None, if_match: str | None = None) -> Flow[None]:
        """Delete one that nobody refers to; it can be restored."""
        yield from self._send(delete(f"/entities/{part(key)}", if_match=if_match, message=message))

    @call
    def restore(self, key: str | UUID, *, message: str | None = None) -> Flow[Entity]:
        """Bring back one that was deleted."""
        request = change("POST", f"/entities/{part(key)}/restore", params={"message": message})
        return (yield from self._one(request, Entity))

    @many
    def passages(
        self,
        key: str | UUID,
        *,
        collection: str | None = None,
        from_: str | date | None = None,
        until: str | date | None = None,
        page: int | None = None,
    ) -> Many[MentioningPassage]:
        """Passages where its label or an alias stands, those of the newest documents first."""
        path = f"/entities/{part(key)}/passages"
        yield from self._pages(path, MentioningPassage, page=page, collection=collection, from_=from_, until=until)
