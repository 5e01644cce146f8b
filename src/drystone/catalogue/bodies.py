"""What is said of entities, modules and profiles, and proposed of them, as every edge reads it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SkipValidation, StrictBool, TypeAdapter

from drystone.catalogue.bounds import (
    Aliases,
    Definition,
    Description,
    Key,
    Label,
    Members,
    Message,
    Parents,
    Ranges,
    Version,
)
from drystone.catalogue.content import EntityContent, ModuleContent, ProfileContent
from drystone.catalogue.drafts import MOST_CHANGES, Edit, Words
from drystone.catalogue.models import Action, EntityType, Kind
from drystone.core.text import Text

_SCHEMA = {"type": "number", "unit": "µg/m³", "minimum": 0}
NO2: dict[str, Any] = {
    "type": "property",
    "label": "Nitrogen dioxide",
    "description": "Hourly mean of the concentration in ambient air.",
    "aliases": {"en": ["NO2"], "de": ["Stickstoffdioxid"]},
    "schema_definition": _SCHEMA,
}
_AIR: dict[str, Any] = {"label": "Air quality", "entities": ["no2", "station"], "dependencies": {"core": "^1.0"}}
_CITY: dict[str, Any] = {"label": "Monitoring of a city", "modules": {"air": "^1.2"}}


class EntityBody(BaseModel):
    """What is said of an entity."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [NO2]})

    type: EntityType = Field(description="For good: an entity never becomes one of another type.")
    label: Label
    description: Description = ""
    aliases: Aliases = Field({}, description="Other names, by language (BCP 47).")
    parents: Parents = Field(
        [], description="Keys of entities of the same type, whose definitions hold for this one, too."
    )
    schema_definition: Definition = Field(
        {},
        description="JSON Schema 2020-12, with `unit` besides. Of a property: its value. Of a category or subobject: an "
        "object whose names are keys of properties and subobjects.",
        examples=[_SCHEMA, {"required": ["name", "place"], "properties": {"no2": {}}}],
    )

    def content(self) -> EntityContent:
        return EntityContent(
            self.type, self.label, self.description, self.aliases, self.parents, self.schema_definition
        )


class ModuleBody(BaseModel):
    """What is said of a module."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_AIR]})

    label: Label
    description: Description = ""
    version: Version | None = Field(
        None,
        description="Semantic version. Left out: the least that the changes demand; 1.0.0 of a new one.",
        examples=["1.2.0"],
    )
    entities: Members = Field([], description="Keys. Each is pinned as it is now.")
    dependencies: Ranges = Field(
        {}, description="Keys of modules, and which versions of them will do.", examples=[{"core": "^1.0"}]
    )

    def content(self) -> ModuleContent:
        return ModuleContent(self.version, self.label, self.description, self.entities, self.dependencies)


class ProfileBody(BaseModel):
    """What is said of a profile."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_CITY]})

    label: Label
    description: Description = ""
    modules: Ranges = Field(
        {}, description="Keys of modules, and which versions of them will do.", examples=[{"air": "^1.2"}]
    )

    def content(self) -> ProfileContent:
        return ProfileContent(self.label, self.description, self.modules)


Title = Annotated[Text, Len(1, 200)]
End = Annotated[
    AwareDatetime | None, Field(description="When the draft and its link end; within a year. Left out: in two weeks.")
]

_CHANGE: dict[str, Any] = {"kind": "entity", "key": "no2", "action": "put", "content": NO2}


class _ProposedBody(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_CHANGE]})

    key: Key
    action: Action = Field("put", description="A put needs content, the others have none.")


class ProposedEntity(_ProposedBody):
    """What a draft would have become of an entity."""

    kind: Literal["entity"]
    content: EntityBody | None = None


class ProposedModule(_ProposedBody):
    """What a draft would have become of a module."""

    kind: Literal["module"]
    content: ModuleBody | None = None


class ProposedProfile(_ProposedBody):
    """What a draft would have become of a profile."""

    kind: Literal["profile"]
    content: ProfileBody | None = None


Proposed = Annotated[ProposedEntity | ProposedModule | ProposedProfile, Field(discriminator="kind")]
_PROPOSED: TypeAdapter[ProposedEntity | ProposedModule | ProposedProfile] = TypeAdapter(Proposed)
_Changes = Annotated[list[Proposed], Len(0, MOST_CHANGES)]


class NamedChange(BaseModel):
    """What a draft would have become of one whose kind and key stand in the path, and may be said again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"content": NO2}]})

    kind: Kind | None = None
    key: Key | None = None
    action: Action = Field("put", description="A put needs content, the others have none.")
    # Read by `proposed`, which knows of what kind it is.
    content: SkipValidation[EntityBody | ModuleBody | ProfileBody | None] = None

    def proposed(self, kind: Kind, key: str) -> ProposedEntity | ProposedModule | ProposedProfile:
        """The change of this one. Raises ValidationError where the content is not of its kind."""
        return _PROPOSED.validate_python({"kind": kind, "key": key, "action": self.action, "content": self.content})


def edit_of(body: ProposedEntity | ProposedModule | ProposedProfile) -> Edit:
    return Edit(body.kind, body.key, body.action, None if body.content is None else body.content.content())


class DraftBody(BaseModel):
    """All that a draft says."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"title": "Nitrogen dioxide in ppb, too", "changes": [_CHANGE]}]},
    )

    title: Title
    message: Message = Field("", description="Why, for the history of the catalogue.")
    bump_modules: StrictBool = Field(
        False, description="Give modules the next version by themselves whose members change."
    )
    changes: _Changes = []

    def words(self) -> Words:
        return Words(self.title, self.message, self.bump_modules)

    def edits(self) -> list[Edit]:
        return [edit_of(each) for each in self.changes]


class NewDraft(DraftBody):
    """A draft to be made."""

    expires_at: End = None
