"""Dify's conditions, and the filters they become."""

from __future__ import annotations

from typing import Any

import pytest

from drystone.core.errors import Invalid
from drystone.dify.conditions import Conditions, filter_of


def made(*conditions: dict[str, Any], operator: str = "and") -> Any:
    found = filter_of(Conditions.model_validate({"logical_operator": operator, "conditions": list(conditions)}))
    return None if found is None else found.model_dump()


def condition(operator: str, value: Any, name: Any = "year") -> dict[str, Any]:
    return {"name": name, "comparison_operator": operator, "value": value}


@pytest.mark.parametrize(
    ("operator", "value", "kind", "meant"),
    [
        ("is", "1962", "eq", "1962"),
        ("is not", "a", "ne", "a"),
        ("=", "1962", "eq", 1962),
        ("=", 1962, "eq", 1962),
        ("≠", "1.5", "ne", 1.5),
        (">", "7", "gt", 7),
        ("<", 7, "lt", 7),
        ("≥", "7", "gte", 7),
        ("≤", "7", "lte", 7),
        ("before", "2026-01-01", "lt", "2026-01-01"),
        ("after", "2026-01-01", "gt", "2026-01-01"),
        ("in", ["a", "b"], "in", ["a", "b"]),
        ("in", "a, b", "in", ["a", "b"]),
        ("not in", ["a"], "nin", ["a"]),
    ],
)
def test_an_operator_becomes_ours(operator: str, value: Any, kind: str, meant: Any) -> None:
    (one,) = made(condition(operator, value))["filters"]

    assert one == {"type": kind, "key": "year", "value": meant}
    assert type(one["value"]) is type(meant)


def test_conditions_are_joined_as_they_say() -> None:
    assert made(condition("is", "a"), condition("is", "b"), operator="or")["type"] == "or"
    assert filter_of(None) is None
    assert made() is None


def test_of_several_names_any_will_do_and_none_may_be_what_is_not_meant() -> None:
    (any_,) = made(condition("is", "a", ["x", "y"]))["filters"]
    (none,) = made(condition("is not", "a", ["x", "y"]))["filters"]

    assert (any_["type"], [each["key"] for each in any_["filters"]]) == ("or", ["x", "y"])
    assert none["type"] == "and"


@pytest.mark.parametrize(
    ("operator", "value", "code"),
    [
        ("contains", "a", "dify.operator"),
        ("empty", None, "dify.operator"),
        ("is", None, "dify.operator"),
        ("'; drop table", "a", "dify.operator"),
        (">", [1, 2], "dify.condition"),
    ],
)
def test_what_there_is_no_filter_for_is_refused(operator: str, value: Any, code: str) -> None:
    with pytest.raises(Invalid) as told:
        made(condition(operator, value))

    assert told.value.code == code
    assert told.value.hint
