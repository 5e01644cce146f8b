"""What is said of an entity, a module, a profile: values that know their canonical form and its hash. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID

from drystone.catalogue.models import EntityType, Kind
from drystone.core.numbers import MAX_JSON

# Lower case, so that no two keys are one file where file names have no case.
KEY = r"[a-z0-9][a-z0-9._-]{0,99}"
_KEY = re.compile(KEY)
SHAPE_OF_KEY = "1 to 100 small letters, digits, dots, hyphens and underscores, a letter or digit first, and no UUID"


def is_key(text: str) -> bool:
    """Whether it may be a key: no UUID, so that a key and an id are told apart."""
    if not _KEY.fullmatch(text):
        return False
    try:
        UUID(text)
    except ValueError:
        return True
    return False


@dataclass(frozen=True)
class Content:
    """What its author wrote, in one form however it was written: two that say the same are equal."""

    kind: ClassVar[Kind]

    def said(self) -> dict[str, Any]:
        """Its fields by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def canonical(self) -> str:
        """As JSON: names sorted, numbers in their shortest form."""
        return json.dumps(self.said(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.canonical.encode()).digest()

    def __eq__(self, other: object) -> bool:
        # Python holds 1, 1.0 and true for equal; JSON does not.
        return type(self) is type(other) and isinstance(other, Content) and self.canonical == other.canonical

    def __hash__(self) -> int:
        return hash(self.canonical)


@dataclass(frozen=True, eq=False)
class EntityContent(Content):
    """An entity. aliases: language -> names. parents: keys. schema_definition: see `definitions`."""

    kind = "entity"
    type: EntityType
    label: str
    description: str = ""
    aliases: Mapping[str, list[str]] = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)
    schema_definition: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema_definition", normal(dict(self.schema_definition)))
        object.__setattr__(self, "aliases", {language: list(names) for language, names in self.aliases.items()})
        object.__setattr__(self, "parents", list(self.parents))


@dataclass(frozen=True, eq=False)
class ModuleContent(Content):
    """A module. version: None: the least that its changes demand. entities: keys; dependencies: module -> range."""

    kind = "module"
    version: str | None
    label: str
    description: str = ""
    entities: list[str] = field(default_factory=list)
    dependencies: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A set of entities: in which order they were written says nothing.
        object.__setattr__(self, "entities", sorted(self.entities))
        object.__setattr__(self, "dependencies", dict(self.dependencies))


@dataclass(frozen=True, eq=False)
class ProfileContent(Content):
    """A profile. modules: key -> range."""

    kind = "profile"
    label: str
    description: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", dict(self.modules))


def content_of(kind: Kind, said: Mapping[str, Any]) -> Content:
    """The content of a kind with these fields."""
    made: dict[Kind, type[Content]] = {"entity": EntityContent, "module": ModuleContent, "profile": ProfileContent}
    return made[kind](**said)


def normal(value: Any) -> Any:
    """JSON as the database gives it back: 1.0 is 1, and what is too large to be told apart is a double."""
    if isinstance(value, Mapping):
        return {name: normal(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [normal(inner) for inner in value]
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_JSON:
        return int(value)
    if isinstance(value, int) and abs(value) > MAX_JSON:
        try:
            return float(value)
        except OverflowError:
            return math.inf  # none that can be stored: definitions say so
    return value
