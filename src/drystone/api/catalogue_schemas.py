"""What goes over the wire of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from drystone.catalogue.applying import MOST_CHANGES, Applied, Done, Wanted
from drystone.catalogue.bodies import NO2, EntityBody, ModuleBody, ProfileBody
from drystone.catalogue.bounds import Key, Message
from drystone.catalogue.content import Content, EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.models import Action, EntityType, Kind
from drystone.catalogue.queries import Past, View
from drystone.catalogue.queries import Reference as Referring
from drystone.catalogue.rules import Change
from drystone.catalogue.service import Overview
from drystone.core.numbers import MAX_INTEGER, WHOLE

StepName = Literal["none", "patch", "minor", "major"]
What = Literal["created", "changed", "unchanged", "deleted", "restored"]


class _Shown(BaseModel):
    id: UUID
    key: str
    revision: int = Field(description="Counts what was done to it.")
    number: int = Field(description="Of the version that is shown.")
    label: str
    description: str
    published_at: datetime = Field(description="Of the version that is shown.")
    published_by: str
    created_at: datetime
    created_by: str
    updated_at: datetime
    deleted_at: datetime | None


def _shown(view: View) -> dict[str, Any]:
    names = (
        "id",
        "key",
        "revision",
        "number",
        "published_at",
        "published_by",
        "created_at",
        "created_by",
        "updated_at",
    )
    return {name: getattr(view, name) for name in (*names, "deleted_at")}


class Entity(_Shown):
    """A thing there is: a category of things, a property that they have, or a subobject within them."""

    type: EntityType
    aliases: dict[str, list[str]]
    parents: list[str]
    schema_definition: dict[str, Any]

    @classmethod
    def of(cls, view: View) -> Entity:
        content = view.content
        assert isinstance(content, EntityContent)
        return cls(
            **_shown(view),
            type=content.type,
            label=content.label,
            description=content.description,
            aliases=dict(content.aliases),
            parents=content.parents,
            schema_definition=dict(content.schema_definition),
        )


class Module(_Shown):
    """Entities that are versioned together."""

    version: str = Field(examples=["1.2.0"])
    entities: list[str]
    dependencies: dict[str, str]

    @classmethod
    def of(cls, view: View) -> Module:
        content = view.content
        assert isinstance(content, ModuleContent)
        return cls(
            **_shown(view),
            version=content.version or "",
            label=content.label,
            description=content.description,
            entities=content.entities,
            dependencies=dict(content.dependencies),
        )


class Profile(_Shown):
    """Modules that are chosen for a purpose."""

    modules: dict[str, str]

    @classmethod
    def of(cls, view: View) -> Profile:
        content = view.content
        assert isinstance(content, ProfileContent)
        return cls(**_shown(view), label=content.label, description=content.description, modules=dict(content.modules))


class Entities(BaseModel):
    """One page of entities, by key."""

    items: list[Entity]
    next_cursor: str | None


class Modules(BaseModel):
    """One page of modules, by key."""

    items: list[Module]
    next_cursor: str | None


class Profiles(BaseModel):
    """One page of profiles, by key."""

    items: list[Profile]
    next_cursor: str | None


class CatalogueEvent(BaseModel):
    """One thing that was done to one of them."""

    revision: int = Field(description="Of the catalogue.")
    at: datetime
    by: str
    message: str
    action: Action
    number: int | None = Field(description="Of the version that was current then; null after a deletion.")
    version: str | None = Field(description="Of a module.")

    @classmethod
    def of(cls, past: Past) -> CatalogueEvent:
        return cls(
            revision=past.revision,
            at=past.at,
            by=past.actor,
            message=past.message,
            action=past.action,
            number=past.number,
            version=past.version,
        )


class CatalogueHistory(BaseModel):
    """One page of what was done, newest first."""

    items: list[CatalogueEvent]
    next_cursor: str | None

    @classmethod
    def of(cls, found: Sequence[Past], limit: int) -> CatalogueHistory:
        cursor = str(found[limit - 1].revision) if len(found) > limit else None
        return cls(items=[CatalogueEvent.of(past) for past in found[:limit]], next_cursor=cursor)


class Reference(BaseModel):
    """Somebody who refers, or is referred to."""

    kind: Kind
    key: str
    id: UUID
    label: str
    type: EntityType | None = Field(description="Of an entity.")
    role: str = Field(
        description="`parent`, `required`, `optional` of entities; `member`, `dependency` of modules; `module` of profiles.",
        examples=["required"],
    )

    @classmethod
    def of(cls, found: Referring) -> Reference:
        return cls(kind=found.kind, key=found.key, id=found.id, label=found.label, type=found.type, role=found.role)


class References(BaseModel):
    """Whom one refers to, and who refers to it."""

    refers_to: list[Reference]
    referred_by: list[Reference]

    @classmethod
    def of(cls, found: tuple[list[Referring], list[Referring]]) -> References:
        outward, inward = found
        return cls(
            refers_to=[Reference.of(each) for each in outward], referred_by=[Reference.of(each) for each in inward]
        )


class _ChangeBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: Key
    action: Action = Field("put", description="A put needs content, the others have none.")
    revision: Annotated[int, Ge(0), Le(MAX_INTEGER), WHOLE] | None = Field(
        None, description="Go on only if it is at this revision; 0: only if it does not exist. Else 412."
    )


class EntityChange(_ChangeBody):
    """What is to become of an entity."""

    kind: Literal["entity"]
    content: EntityBody | None = None


class ModuleChange(_ChangeBody):
    """What is to become of a module."""

    kind: Literal["module"]
    content: ModuleBody | None = None


class ProfileChange(_ChangeBody):
    """What is to become of a profile."""

    kind: Literal["profile"]
    content: ProfileBody | None = None


class Changeset(BaseModel):
    """Changes that are applied together: all of them, or none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "message": "Nitrogen dioxide, and who measures it",
                    "changes": [
                        {"kind": "entity", "key": "no2", "action": "put", "content": NO2},
                        {"kind": "module", "key": "air", "content": {"label": "Air quality", "entities": ["no2"]}},
                    ],
                }
            ]
        },
    )

    changes: Annotated[
        list[Annotated[EntityChange | ModuleChange | ProfileChange, Field(discriminator="kind")]], Len(1, MOST_CHANGES)
    ]
    message: Message = Field("", description="Why, for the history.")
    bump_modules: StrictBool = Field(
        False, description="Give modules the next version by themselves whose members change."
    )
    dry_run: StrictBool = Field(False, description="Say what would be done, and do nothing.")

    def wanted(self) -> list[Wanted]:
        return [_wanted(change) for change in self.changes]


def _wanted(change: EntityChange | ModuleChange | ProfileChange) -> Wanted:
    content: Content | None = None if change.content is None else change.content.content()
    return Wanted(Change(change.kind, change.key, change.action, content), change.revision)


class ChangeDone(BaseModel):
    """What became of one, or would."""

    kind: Kind
    key: str
    id: UUID | None = Field(description="null where a dry run would have made it.")
    what: What
    number: int = Field(description="Of its version from then on.")
    version: str | None = Field(description="Of a module.")
    step: StepName = Field(description="How far it goes for those who rely on it.")
    reasons: list[str] = Field(description="Why, what goes farthest first.")
    is_implied: bool = Field(description="No change asked for it: its members changed.")

    @classmethod
    def of(cls, done: Done) -> ChangeDone:
        outcome = done.outcome
        content = outcome.content
        return cls(
            kind=outcome.kind,
            key=outcome.key,
            id=done.id,
            what=_what(done),
            number=done.number,
            version=content.version if isinstance(content, ModuleContent) else None,
            step=outcome.step.name.lower(),
            reasons=list(outcome.reasons[:20]),
            is_implied=outcome.is_implied,
        )


def _what(done: Done) -> What:
    outcome = done.outcome
    if outcome.action == "delete":
        return "deleted"
    if outcome.action == "restore":
        return "restored"
    return "created" if outcome.is_new else "unchanged" if outcome.is_unchanged else "changed"


class ChangesetDone(BaseModel):
    """What became of a changeset, or would."""

    revision: int = Field(description="Of the catalogue from then on.")
    dry_run: bool
    changes: list[ChangeDone]

    @classmethod
    def of(cls, applied: Applied, *, dry_run: bool) -> ChangesetDone:
        return cls(revision=applied.revision, dry_run=dry_run, changes=[ChangeDone.of(done) for done in applied.done])


class Catalogue(BaseModel):
    """The catalogue in a few numbers."""

    revision: int = Field(description="Of its newest change; 0 before the first.")
    changed_at: datetime | None
    changed_by: str | None
    message: str | None
    entities: int
    modules: int
    profiles: int

    @classmethod
    def of(cls, found: Overview) -> Catalogue:
        return cls(
            revision=found.revision,
            changed_at=found.at,
            changed_by=found.actor,
            message=found.message,
            entities=found.entities,
            modules=found.modules,
            profiles=found.profiles,
        )


class CatalogueRevision(BaseModel):
    """A changeset that was applied."""

    revision: int
    at: datetime
    by: str
    message: str
    changes: int


class CatalogueRevisions(BaseModel):
    """One page of revisions, newest first."""

    items: list[CatalogueRevision]
    next_cursor: str | None
