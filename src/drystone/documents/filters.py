"""The one filter language over attributes, in OpenAI's shape: checked here, turned into SQL here.

{"type": "eq|ne|gt|gte|lt|lte|in|nin", "key": "year", "value": 2020}
{"type": "and|or", "filters": [ … ]}
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from annotated_types import Len
from pydantic import AllowInfNan, BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from drystone.core.text import Text

Scalar = Text | int | Annotated[float, AllowInfNan(False)] | bool
MAX_FILTERS = 64
# Of a whole filter, however it is nested: each comparison takes two of PostgreSQL's 32 767 parameters and some planning.
MAX_COMPARISONS = 256
MAX_DEPTH = 8

_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Comparison(BaseModel):
    """One attribute against one value, or a list of values for `in` and `nin`."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]
    key: Annotated[Text, Len(1, 256)]
    value: Scalar | Annotated[list[Scalar], Len(0, 1000)]


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


Filter = Annotated[Comparison | Compound, Field(discriminator="type")]
Compound.model_rebuild()


def condition(given: Comparison | Compound, parameters: dict[str, Any]) -> str:
    """SQL over the column `attributes`; adds its values to `parameters` under names of its own.

    A comparison holds only between values of one JSON type; `ne` and `nin` hold also where the attribute is absent.
    """
    if isinstance(given, Compound):
        joiner = f" {given.type} "
        return "(" + joiner.join(condition(part, parameters) for part in given.filters) + ")"
    attribute = f"(attributes -> cast({_bind(parameters, given.key)} as text))"
    if given.type in ("in", "nin"):
        listed = _json(parameters, given.value if isinstance(given.value, list) else [given.value])
        found = f"exists (select 1 from jsonb_array_elements({listed}) as listed (value) where value = {attribute})"
        return found if given.type == "in" else f"not {found}"
    constant = _json(parameters, given.value)
    if given.type == "eq":
        return f"coalesce({attribute} = {constant}, false)"
    if given.type == "ne":
        return f"({attribute} is distinct from {constant})"
    return (
        f"coalesce(jsonb_typeof({attribute}) = jsonb_typeof({constant})"
        f" and {attribute} {_COMPARISONS[given.type]} {constant}, false)"
    )


def _json(parameters: dict[str, Any], value: Any) -> str:
    return f"cast(cast({_bind(parameters, json.dumps(value))} as text) as jsonb)"


def _bind(parameters: dict[str, Any], value: str) -> str:
    name = f"filter_{len(parameters)}"
    parameters[name] = value
    return f":{name}"
