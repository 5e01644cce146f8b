"""The one filter language over attributes and documents' own fields, in OpenAI's shape: checked here, turned into SQL here.

{"type": "eq|ne|gt|gte|lt|lte|in|nin", "key": "year", "value": 2020}
{"type": "and|or", "filters": [ … ]}

`condition` is what a filter means. `narrowing` is what an index knows of it: never less than what passes, often more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from annotated_types import Len
from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from drystone.core.text import Text

Scalar = Text | int | Annotated[float, AllowInfNan(False)] | bool
MAX_FILTERS = 64
# Of a whole filter, however it is nested: each comparison takes a few of PostgreSQL's 32 767 parameters and some planning.
MAX_COMPARISONS = 256
MAX_DEPTH = 8
# Of `in` and `nin`.
MAX_VALUES = 1000

# What begins with this is a document's own field; twice, an attribute whose name begins with it.
FIELD = "$"
# So many of the filters joined by `and` are looked up in an index; the others are asked of what those leave.
MAX_NARROWING = 4
# Characters of a string that the index holds: the `left(…)` of the trigger in migrations/.
INDEXED_CHARACTERS = 256

_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_CAST = {"boolean": "boolean", "time": "timestamptz"}
_NARROWING = {"eq": "=", "gt": ">=", "gte": ">=", "lt": "<=", "lte": "<="}


def _as_text(value: Scalar) -> str:
    if not isinstance(value, str):
        raise ValueError("is compared with a string")  # noqa: TRY004  # what pydantic tells the caller
    return value


def _as_language(value: Scalar) -> str:
    """A language's code as documents have it. Case does not count."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]{2,3}", value):
        raise ValueError("is compared with a code of two or three letters, such as en or de")
    return value.lower()


def as_time(value: Scalar) -> str:
    """A moment, as PostgreSQL reads it. One without an offset is of UTC, a day alone is its first moment."""
    try:
        given = datetime.fromisoformat(value.upper()) if isinstance(value, str) else None
        if given is not None:
            return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        pass
    raise ValueError("is compared with a time in ISO 8601, such as 2024-01-31 or 2024-01-31T12:00:00Z")


def _as_truth(value: Scalar) -> str:
    if not isinstance(value, bool):
        raise ValueError("is compared with true or false")  # noqa: TRY004  # what pydantic tells the caller
    return json.dumps(value)


def _as_schema(value: Scalar) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"(category|profile):[^:\s]+", value):
        raise ValueError("is compared with category:KEY or profile:KEY")
    return value


@dataclass(frozen=True)
class OwnField:
    """A field that every document has. sql: over a row `document`. read: what it is compared with, or ValueError.

    is_many: sql selects documents, `{which}` of them, that have one of `{keys}`, of which one that is equal is enough. which: SQL
    that chooses a row `document`, or all of the collections `collection_ids`.
    """

    sql: str
    type: Literal["text", "timestamptz", "boolean"] = "text"
    read: Callable[[Scalar], str] = _as_text
    which: tuple[str, str] = ("", "")

    @property
    def is_many(self) -> bool:
        return bool(self.which[0])


def _of_version(column: str) -> str:
    """Of the version that search sees; of the newest while none is ready."""
    return (
        f"(select {column} from versions as version join files as file on file.id = version.file_id"
        " where version.id = coalesce(document.current_version_id, document.latest_version_id))"
    )


# Documents whose passages name an entity of one of these keys.
_MENTIONED = (
    "select mention.document_id from mentions as mention join entities as entity on entity.id = mention.entity_id"
    " where {which} and entity.deleted_at is null and entity.key = any(cast({keys} as text[]))"
)
_MENTIONING = (
    "mention.document_id = document.id and entity.workspace_id = document.workspace_id",
    "mention.collection_id = any(cast(:collection_ids as uuid[])) and entity.workspace_id in"
    " (select workspace_id from collections where id = any(cast(:collection_ids as uuid[])))",
)
# Documents under one of these schemas, deleted ones too: what they are under is told by its name, whatever became of it.
_UNDER = (
    "select under.id from documents as under where {which} and under.schema_id in ("
    "select id from entities where type = 'category' and 'category:' || key = any(cast({keys} as text[]))"
    " union all select id from profiles where 'profile:' || key = any(cast({keys} as text[])))"
)
_BEING_UNDER = (
    "under.id = document.id",
    "under.collection_id = any(cast(:collection_ids as uuid[])) and under.deleted_at is null",
)

ENTITY = "$entity"
FIELDS = {
    "$collection": OwnField("(select name from collections where id = document.collection_id)"),
    "$created_at": OwnField("document.created_at", "timestamptz", as_time),
    ENTITY: OwnField(_MENTIONED, which=_MENTIONING),
    "$external_id": OwnField("document.external_id"),
    "$fits": OwnField(
        "(case when document.schema_id is not null then document.schema_problem is null end)", "boolean", _as_truth
    ),
    "$language": OwnField(_of_version("version.detected_language"), read=_as_language),
    "$media_type": OwnField(_of_version("file.media_type")),
    "$name": OwnField(_of_version("coalesce(version.name, document.name)")),
    "$schema": OwnField(_UNDER, read=_as_schema, which=_BEING_UNDER),
    "$title": OwnField(_of_version("coalesce(document.title, version.title, version.name, document.name)")),
    "$updated_at": OwnField("document.updated_at", "timestamptz", as_time),
}


class Comparison(BaseModel):
    """One attribute or field against one value, or a list of values for `in` and `nin`."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: Annotated[Text, Len(1, 256)] = Field(
        description=f"An attribute, or one of {', '.join(FIELDS)}; `$$x` is the attribute `$x`."
    )
    value: Scalar | Annotated[list[Scalar], Len(0, MAX_VALUES)]
    _is_time: bool = PrivateAttr(False)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.type in _COMPARISONS and isinstance(self.value, list):
            raise ValueError(f"{self.type} takes one value; only in and nin take a list")
        if (field := self.field) is None:
            return self
        if isinstance(self.value, list) and self.type not in ("in", "nin"):
            raise ValueError(f"{self.key} is compared with one value; only in and nin take a list")
        if field.is_many and self.type in _COMPARISONS:
            raise ValueError(f"{self.key} is compared by eq, ne, in and nin")
        for value in self.values:
            try:
                field.read(value)
            except ValueError as exc:
                raise ValueError(f"{self.key} {exc}") from exc
        return self

    @property
    def values(self) -> list[Scalar]:
        return self.value if isinstance(self.value, list) else [self.value]

    @property
    def field(self) -> OwnField | None:
        """The document's own field that is meant; None: an attribute. Raises ValueError for one that there is not."""
        if not self.key.startswith(FIELD) or self.key.startswith(FIELD * 2):
            return None
        if self.key not in FIELDS:
            raise ValueError(
                f"there is no field {self.key}; there are {', '.join(FIELDS)}."
                f" An attribute of that name is written {FIELD}{self.key}"
            )
        return FIELDS[self.key]

    @property
    def attribute(self) -> str:
        """The name of the attribute that is meant."""
        return self.key.removeprefix(FIELD)

    @property
    def is_of_times(self) -> bool:
        """Whether the attribute's values, and those it is compared with, count as the times that they say."""
        return self._is_time

    def of_times(self) -> Comparison:
        """The same as a comparison of times. Raises ValueError for values that are none."""
        for value in self.values:
            as_time(value)
        made = self.model_copy()
        made._is_time = True
        return made


class Compound(BaseModel):
    """Several filters together."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["and", "or"]
    filters: Annotated[list[Filter], Len(1, MAX_FILTERS)]
    _comparisons: int = PrivateAttr(0)
    _depth: int = PrivateAttr(0)

    @model_validator(mode="after")
    def _is_small(self) -> Self:
        inner = [part for part in self.filters if isinstance(part, Compound)]
        self._comparisons = len(self.filters) - len(inner) + sum(part._comparisons for part in inner)
        self._depth = 1 + max((part._depth for part in inner), default=0)
        if self._comparisons > MAX_COMPARISONS or self._depth > MAX_DEPTH:
            raise ValueError(f"a filter has at most {MAX_COMPARISONS} comparisons and {MAX_DEPTH} levels")
        return self


EXAMPLE = """{"type": "gte", "key": "year", "value": 1960}"""
Filter = Annotated[Comparison | Compound, Field(discriminator="type")]
Compound.model_rebuild()


def condition(given: Comparison | Compound, parameters: dict[str, Any]) -> str:
    """SQL over a row `document`: true where it passes. Adds its values to `parameters` under names of its own.

    A comparison holds only between values of one JSON type; `ne` and `nin` hold also where the attribute is absent.
    Strings are ordered by code point, whatever the database's collation.
    """
    if isinstance(given, Compound):
        joiner = f" {given.type} "
        return "(" + joiner.join(condition(part, parameters) for part in given.filters) + ")"
    if (field := given.field) is not None:
        return _of_field(given, field, parameters)
    return _of_attribute(given, parameters)


def _of_attribute(given: Comparison, parameters: dict[str, Any]) -> str:
    name = f"cast({_bind(parameters, given.attribute)} as text)"
    attribute = f"(document.attributes -> {name})"
    if given.is_of_times:
        return _of_times(given, f"indexed_time(document.attributes ->> {name})", parameters)
    if given.type in ("in", "nin"):
        listed = _json(parameters, given.values)
        found = f"exists (select 1 from jsonb_array_elements({listed}) as listed (value) where value = {attribute})"
        return found if given.type == "in" else f"not {found}"
    if given.type in _COMPARISONS and isinstance(given.value, str):
        constant = f"cast({_bind(parameters, given.value)} as text)"
        return (
            f"(jsonb_typeof({attribute}) = 'string'"
            f' and (document.attributes ->> {name}) collate "C" {_COMPARISONS[given.type]} {constant})'
        )
    constant = _json(parameters, given.value)
    if given.type == "eq":
        return f"({attribute} = {constant})"
    if given.type == "ne":
        return f"({attribute} is distinct from {constant})"
    return (
        f"(jsonb_typeof({attribute}) = jsonb_typeof({constant}) and {attribute} {_COMPARISONS[given.type]} {constant})"
    )


def _of_times(given: Comparison, time: str, parameters: dict[str, Any]) -> str:
    values = [as_time(value) for value in given.values]
    if given.type in ("in", "nin"):
        found = f"({time} = any(cast(cast({_bind(parameters, values)} as text[]) as timestamptz[])))"
        return f"({found} is true)" if given.type == "in" else f"({found} is not true)"
    operator = {"eq": "=", "ne": "is distinct from"}.get(given.type) or _COMPARISONS[given.type]
    return f"({time} {operator} cast(cast({_bind(parameters, values[0])} as text) as timestamptz))"


def _of_field(given: Comparison, field: OwnField, parameters: dict[str, Any]) -> str:
    values = [field.read(value) for value in given.values]
    if field.is_many:
        found = f"exists ({field.sql.format(which=field.which[0], keys=_bind(parameters, values))})"
        return found if given.type in ("eq", "in") else f"(not {found})"
    if given.type in ("in", "nin"):
        found = f"({field.sql} = any(cast(cast({_bind(parameters, values)} as text[]) as {field.type}[])))"
        return found if given.type == "in" else f"({found} is not true)"
    constant = f"cast(cast({_bind(parameters, values[0])} as text) as {field.type})"
    if given.type == "eq":
        return f"({field.sql} = {constant})"
    if given.type == "ne":
        return f"({field.sql} is distinct from {constant})"
    collated = f'{field.sql} collate "C"' if field.type == "text" else field.sql
    return f"({collated} {_COMPARISONS[given.type]} {constant})"


def attributes(given: Comparison | Compound) -> dict[tuple[str, str], None]:
    """Each attribute that must be there for a comparison to hold, with the type it is compared with, in order."""
    if isinstance(given, Compound):
        return {each: None for part in given.filters for each in attributes(part)}
    if given.field is not None or given.type in ("ne", "nin"):
        return {}
    return {(given.attribute, "time" if given.is_of_times else _column(value)): None for value in given.values}


def entity_keys(given: Comparison | Compound) -> dict[str, None]:
    """The keys of entities that a filter names, in order."""
    if isinstance(given, Compound):
        return {each: None for part in given.filters for each in entity_keys(part)}
    return {str(value): None for value in given.values} if given.key == ENTITY else {}


def narrowing(given: Comparison | Compound, parameters: dict[str, Any]) -> list[str]:
    """Further SQL over a row `document`, for its index: each holds for every document that passes, and for others.

    The parameter `collection_ids` names the collections asked. Adds values to `parameters`, as `condition` does.
    """
    parts = _flat(given) if isinstance(given, Compound) and given.type == "and" else [given]
    return [f"document.id in ({ids})" for part in _most_telling(parts) if (ids := _ids(part, parameters)) is not None]


def _flat(given: Compound) -> list[Comparison | Compound]:
    """Everything that must hold, joined by `and` on whichever level."""
    parts: list[Comparison | Compound] = []
    for part in given.filters:
        parts += _flat(part) if isinstance(part, Compound) and part.type == "and" else [part]
    return parts


def _most_telling(parts: list[Comparison | Compound]) -> list[Comparison | Compound]:
    """Those that an index knows, the probably rarer first, at most MAX_NARROWING."""
    order = ("eq", "in", "gt", "gte", "lt", "lte", "and", "or")
    known = [part for part in parts if _is_indexed(part)]
    return sorted(known, key=lambda part: order.index(part.type))[:MAX_NARROWING]


def _is_indexed(given: Comparison | Compound) -> bool:
    if isinstance(given, Compound):
        return (any if given.type == "and" else all)(map(_is_indexed, given.filters))
    if given.type in ("ne", "nin"):
        return False
    if given.field is not None:
        return given.field.is_many
    return given.type == "in" or not isinstance(given.value, list)


def _ids(given: Comparison | Compound, parameters: dict[str, Any]) -> str | None:
    """SQL of ids of documents, all among them that pass; None where no index knows."""
    if not _is_indexed(given):
        return None
    if isinstance(given, Comparison) and given.field is not None:
        keys = _bind(parameters, [given.field.read(value) for value in given.values])
        return given.field.sql.format(which=given.field.which[1], keys=keys)
    if isinstance(given, Comparison):
        return _looked_up(given, parameters)
    parts = _most_telling(_flat(given)) if given.type == "and" else given.filters
    joiner = " intersect " if given.type == "and" else " union "
    return joiner.join(f"({_ids(part, parameters)})" for part in parts)


def _looked_up(given: Comparison, parameters: dict[str, Any]) -> str:
    """Ids from `document_attributes`, which holds numbers as double precision and the beginnings of strings."""
    known = (
        "select attribute.document_id from document_attributes as attribute"
        " where attribute.collection_id = any(cast(:collection_ids as uuid[]))"
        f" and attribute.key = cast({_bind(parameters, given.attribute)} as text)"
    )
    if given.is_of_times:
        return f"{known} and {_compared('time', given.type, list(map(as_time, given.values)), parameters)}"
    by_column: dict[str, list[str]] = {}
    for value in given.values:
        by_column.setdefault(_column(value), []).append(_indexed(value))
    found = [f"{known} and {_compared(column, given.type, values, parameters)}" for column, values in by_column.items()]
    return " union all ".join(found) or f"{known} and false"


def _compared(column: str, type_: str, values: list[str], parameters: dict[str, Any]) -> str:
    if type_ == "in":
        listed = f"cast({_bind(parameters, values)} as text[])"
        if column == "number":
            listed = f"array(select indexed_number(cast(value as numeric)) from unnest({listed}) as listed (value))"
        elif column in _CAST:
            listed = f"cast({listed} as {_CAST[column]}[])"
        return f"attribute.{column} = any({listed})"
    constant = f"cast({_bind(parameters, values[0])} as text)"
    if column == "number":
        constant = f"indexed_number(cast({constant} as numeric))"
    elif column in _CAST:
        constant = f"cast({constant} as {_CAST[column]})"
    return f"attribute.{column} {_NARROWING[type_]} {constant}"


def _column(value: Scalar) -> str:
    """That of `document_attributes` which holds values of this type."""
    return "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"


def _indexed(value: Scalar) -> str:
    return value[:INDEXED_CHARACTERS] if isinstance(value, str) else json.dumps(value)


def _json(parameters: dict[str, Any], value: Any) -> str:
    return f"cast(cast({_bind(parameters, json.dumps(value))} as text) as jsonb)"


def _bind(parameters: dict[str, Any], value: str | list[str]) -> str:
    name = f"filter_{len(parameters)}"
    parameters[name] = value
    return f":{name}"
