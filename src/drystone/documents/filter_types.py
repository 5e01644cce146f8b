"""Filters that name a schema: their values are held to what it says of attributes, and its days and moments compare as times.

`{"type": "eq", "key": "$schema", "value": "category:report"}` says so for all that must hold beside it. A filter that names none
compares values as they stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.catalogue.fitting import Datatype, type_of
from drystone.core.errors import Invalid, pointer_to
from drystone.documents import schemas
from drystone.documents.filters import Comparison, Compound, Filter, as_time
from drystone.documents.schemas import Schema

SCHEMA = "$schema"
# Schemas that one filter names: each is put together anew.
MOST_SCHEMAS = 16
# Schemas of which one holds: each group of those that must hold beside a comparison.
_Groups = Sequence[Sequence[Schema]]
_Known = Mapping[str, Schema]


async def typed(session: AsyncSession, workspace_id: UUID, given: Filter) -> Filter:
    """The filter, with comparisons of times where a schema in it says that they are.

    Raises Invalid for a schema that there never was, and for a value of another type than the schema has for its attribute.
    """
    found: dict[str, Schema] = {}
    for name, path in _named(given, ("filter",)):
        if name not in found:
            if len(found) == MOST_SCHEMAS:
                raise Invalid(
                    "filter.too_many_schemas",
                    f"The filter names more than {MOST_SCHEMAS} schemas.",
                    hint="name a profile whose categories they are, or ask in several requests",
                    pointer=pointer_to(*path),
                )
            found[name] = await schemas.find(session, workspace_id, name, pointer=pointer_to(*path))
    return _typed(given, (), ("filter",), found) if found else given


def _named(given: Filter, path: tuple[str | int, ...]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    if isinstance(given, Compound):
        for place, part in enumerate(given.filters):
            yield from _named(part, (*path, "filters", place))
    elif given.key == SCHEMA:
        yield from ((str(value), (*path, "value")) for value in given.values)


def _typed(given: Filter, groups: _Groups, path: tuple[str | int, ...], known: _Known) -> Filter:
    if isinstance(given, Comparison):
        return _compared(given, groups, path)
    if given.type == "and":
        groups = [*groups, *_groups(given, known)]
    parts = [_typed(part, groups, (*path, "filters", place), known) for place, part in enumerate(given.filters)]
    return given.model_copy(update={"filters": parts})


def _groups(given: Compound, known: _Known) -> Iterator[Sequence[Schema]]:
    """What must hold of all that this `and` joins, on whichever level."""
    for part in given.filters:
        if isinstance(part, Compound):
            if part.type == "and":
                yield from _groups(part, known)
        elif part.key == SCHEMA and part.type in ("eq", "in"):
            yield [known[str(value)] for value in part.values]


def _compared(given: Comparison, groups: _Groups, path: tuple[str | int, ...]) -> Comparison:
    if given.field is not None:
        return given
    for group in groups:
        said = [(each, each.datatypes.get(given.attribute)) for each in group]
        datatypes = [datatype for _, datatype in said if datatype is not None]
        if not datatypes or len(datatypes) < len(said):
            continue  # one of them allows anything there
        for value in _values(given):
            if not any(_fits(value, datatype) for datatype in datatypes):
                raise _wrong(given, value, group, datatypes, path)
        if all(datatype.form is not None for datatype in datatypes) and not isinstance(_first(given), list):
            return given.of_times()
    return given


def _values(given: Comparison) -> Sequence[Any]:
    """What the attribute is compared with, one after the other; a list as a whole, but for in and nin."""
    return given.values if given.type in ("in", "nin") else [given.value]


def _first(given: Comparison) -> Any:
    return next(iter(_values(given)), None)


def _fits(value: Any, datatype: Datatype) -> bool:
    if type_of(value) not in datatype.types:
        return False
    if datatype.form is None:
        return True
    try:
        as_time(value)
    except ValueError:
        return False
    return True


def _wrong(
    given: Comparison,
    value: Any,
    group: Sequence[Schema],
    datatypes: Sequence[Datatype],
    path: tuple[str | int, ...],
) -> Invalid:
    said = json.dumps(value, ensure_ascii=False)
    types = " or ".join(dict.fromkeys(map(str, datatypes)))
    return Invalid(
        "filter.wrong_type",
        f"{given.attribute!r} is {types} under {' or '.join(each.name for each in group)}, and is compared with"
        f" {said if len(said) <= 60 else said[:60] + '…'}.",
        hint=_hint(datatypes[0]),
        pointer=pointer_to(*path, "value"),
    )


def _hint(datatype: Datatype) -> str:
    if datatype.form is not None:
        return "compare it with a time in ISO 8601, such as 2024-01-31 or 2024-01-31T12:00:00Z"
    if "array" in datatype.types:
        return "compare it with a whole list, by eq or ne"
    if "object" in datatype.types:
        return "only values at the top can be filtered by"
    return f"compare it with {datatype}"
