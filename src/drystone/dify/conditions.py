"""Dify's conditions over metadata as a filter of ours. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from drystone.core.errors import Invalid, pointer_to
from drystone.core.text import Text
from drystone.documents.filters import MAX_FILTERS, MAX_VALUES, Filter

_Scalar = Text | int | float | bool
_Name = Annotated[Text, Len(1, 256)]
# Dify's operators, and ours.
_OPERATORS = {
    "is": "eq",
    "is not": "ne",
    "=": "eq",
    "≠": "ne",
    ">": "gt",
    "<": "lt",
    "≥": "gte",
    "≤": "lte",
    "before": "lt",
    "after": "gt",
    "in": "in",
    "not in": "nin",
}
_OF_NUMBERS = frozenset("=≠><≥≤")
_NEGATED = frozenset(("ne", "nin"))
_FILTER: TypeAdapter[Filter] = TypeAdapter(Filter)


class Condition(BaseModel):
    """One of Dify's conditions. name: an attribute, or a field such as $title; of several, any of them."""

    name: _Name | Annotated[list[_Name], Len(1, MAX_FILTERS)]
    comparison_operator: Annotated[Text, Len(1, 32)]
    value: _Scalar | Annotated[list[_Scalar], Len(0, MAX_VALUES)] | None = None


class Conditions(BaseModel):
    """Conditions that hold together, or of which one does."""

    logical_operator: Literal["and", "or"] = "and"
    conditions: Annotated[list[Condition], Len(0, MAX_FILTERS)] | None = Field(None)


def filter_of(given: Conditions | None) -> Filter | None:
    """The filter that means the same. Raises Invalid for what there is none for."""
    if given is None or not given.conditions:
        return None
    made = [_comparison(each, place) for place, each in enumerate(given.conditions)]
    try:
        return _FILTER.validate_python({"type": given.logical_operator, "filters": made})
    except ValidationError as exc:
        said = exc.errors()[0]["msg"].removeprefix("Value error, ")
        raise Invalid(
            "dify.condition",
            f"A condition cannot be asked: {said}.",
            hint="numbers are compared with numbers, texts with texts",
            pointer=pointer_to("metadata_condition", "conditions"),
        ) from exc


def _comparison(given: Condition, place: int) -> dict[str, Any]:
    kind = _OPERATORS.get(given.comparison_operator)
    if kind is None or given.value is None:
        raise Invalid(
            "dify.operator",
            f"There is no filter for {given.comparison_operator[:40]!r}{' without a value' if kind else ''}.",
            hint=f"there are {', '.join(_OPERATORS)}",
            pointer=pointer_to("metadata_condition", "conditions", place),
        )
    value: Any = given.value
    if kind in ("in", "nin") and isinstance(value, str):
        value = [part.strip() for part in value.split(",")]  # as Dify's own form sends a list
    if given.comparison_operator in _OF_NUMBERS:
        value = _number(value)
    names = [given.name] if isinstance(given.name, str) else given.name
    each = [{"type": kind, "key": name, "value": value} for name in names]
    return each[0] if len(each) == 1 else {"type": "and" if kind in _NEGATED else "or", "filters": each}


def _number(value: Any) -> Any:
    """Dify sends numbers as text."""
    if not isinstance(value, str):
        return value
    for read in (int, float):
        try:
            return read(value)
        except ValueError:
            continue
    return value
