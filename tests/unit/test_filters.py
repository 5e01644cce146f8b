"""The filter language: what is accepted, and that values never become SQL."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from drystone.documents.filters import Filter, condition

_FILTER: TypeAdapter[Any] = TypeAdapter(Filter)


def test_values_and_keys_are_always_bound() -> None:
    parameters: dict[str, Any] = {}

    sql = condition(_FILTER.validate_python({"type": "eq", "key": "a'; drop", "value": "x'; drop"}), parameters)

    assert "drop" not in sql
    assert parameters == {"filter_0": "a'; drop", "filter_1": '"x\'; drop"'}


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "like", "key": "a", "value": 1},
        {"type": "eq", "key": "", "value": 1},
        {"type": "eq", "key": "a"},
        {"type": "and", "filters": []},
        {"type": "not", "filters": [{"type": "eq", "key": "a", "value": 1}]},
        {"type": "eq", "key": "a", "value": {"b": 1}},
        {"type": "eq", "key": "a", "value": 1, "more": 2},
        {"type": "eq", "key": "a\0", "value": 1},
        {"type": "eq", "key": "a", "value": "\ud800"},
        {"type": "eq", "key": "a", "value": float("inf")},
    ],
)
def test_what_is_not_of_the_language_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _FILTER.validate_python(wrong)


def test_the_whole_filter_is_limited_however_it_is_nested() -> None:
    leaf: dict[str, Any] = {"type": "eq", "key": "a", "value": 1}
    most = {"type": "or", "filters": [{"type": "and", "filters": [leaf] * 64}] * 4}
    deepest: dict[str, Any] = leaf
    for _ in range(8):
        deepest = {"type": "and", "filters": [deepest]}

    _FILTER.validate_python(most)
    _FILTER.validate_python(deepest)
    for wrong in ({"type": "and", "filters": [most, leaf]}, {"type": "and", "filters": [deepest]}):
        with pytest.raises(ValidationError, match="at most 256 comparisons and 8 levels"):
            _FILTER.validate_python(wrong)
