"""Settings of a search on one line."""

from __future__ import annotations

from typing import Any

import pytest

from drystone.core.errors import Invalid
from drystone.evaluation import settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mode=lexical", {"mode": "lexical"}),
        (" mode = lexical , depth=200", {"mode": "lexical", "depth": 200}),
        (
            'filter={"type":"in","key":"k","values":["a","b"]},mode=dense',
            {"filter": {"type": "in", "key": "k", "values": ["a", "b"]}, "mode": "dense"},
        ),
        ("filter=null", {"filter": None}),
        ('collection="a,b",rerank=true', {"collection": "a,b", "rerank": True}),
        ("collection=papers-2,x=", {"collection": "papers-2", "x": ""}),
        ("collection=2024-papers", {"collection": "2024-papers"}),
        ("boost=NaN", {"boost": "NaN"}),
    ],
)
def test_values_are_json_where_they_parse_and_strings_elsewhere(text: str, expected: dict[str, Any]) -> None:
    assert settings.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "lexical", "=x", "mode=dense,lexical", "a b=1", "mode=a,mode=b", "limit=10", "query=x", "filter={a"]
)
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        settings.parse(text)

    assert refused.value.code == "eval.bad_settings"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"collection": "a", "mode": "dense"}, "dense"),
        ({"collection": "b", "mode": "dense", "filter": None}, "dense collection=b"),
        ({"collection": "a", "mode": "hybrid", "filter": {"key": 1}}, 'hybrid filter={"key": 1}'),
    ],
)
def test_a_name_is_the_mode_and_what_else_differs(given: dict[str, Any], name: str) -> None:
    assert settings.name(given, collection="a") == name
