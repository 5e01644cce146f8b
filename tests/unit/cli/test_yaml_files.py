"""Files of the catalogue: read by the rules of YAML 1.2, written so that every reader reads the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drystone.catalogue.content import normal
from drystone.cli import yaml_files
from drystone.core.errors import Invalid

PATH = Path("x.yaml")

_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    st.sampled_from(["NO", "no", "yes", "on", "~", "", "null", "1e3", "0o7", "0x1F", "1:30", "2026-01-01", "1_000", "*", "=", "<<"]),
    st.sampled_from([" a", "a ", "a\nb", "a\n\n", "\n", "a\tb", "# a", "a: b", "- a", "'", '"', "µg/m³", "\u2028", "\ufeff", "\x85"]),
)  # fmt: skip
_JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), _TEXTS
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)),
    max_leaves=10,
)


@settings(max_examples=600, deadline=None)
@given(st.dictionaries(st.sampled_from(["label", "x"]), _JSON, min_size=1))
@example({"x": {"no": ["NO", "1e3"]}})
def test_what_is_written_is_read_again(content: dict[str, Any]) -> None:
    kept = {name: value for name, value in content.items() if value not in ("", [], {}, None) or value is False}
    if not kept:
        return

    text = yaml_files.written(content)
    said = yaml_files.read(PATH, text).said

    assert repr(_sorted(normal(said))) == repr(_sorted(normal(kept)))
    assert yaml_files.written(said) == text


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b"]), _TEXTS.filter(bool), min_size=1))
def test_readers_of_yaml_1_1_read_the_same_texts(content: dict[str, str]) -> None:
    assert yaml.safe_load(yaml_files.written(content)) == content


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


def test_words_that_were_booleans_are_words() -> None:
    said = yaml_files.read(PATH, "aliases: {no: [NO, on, y], 1.5x: [1:30, 2026-01-01]}\nminimum: -0.5\nflag: true").said

    assert said["aliases"] == {"no": ["NO", "on", "y"], "1.5x": ["1:30", "2026-01-01"]}
    assert (said["minimum"], said["flag"]) == (-0.5, True)


def test_signs_of_anchors_and_tags_are_taken_within_texts() -> None:
    said = yaml_files.read(PATH, "a: x & y!\nb: '&x'\nc: |\n  !mine &x\n").said

    assert said == {"a": "x & y!", "b": "&x", "c": "!mine &x\n"}


def test_each_part_is_known_by_its_line() -> None:
    read = yaml_files.read(PATH, "label: x\nschema_definition:\n  required:\n    - a\n    - b\n")

    assert read.where(("schema_definition", "required", 1)) == "x.yaml:5"
    assert read.where(("schema_definition", "properties", "a")) == "x.yaml:2"
    assert read.where(("none",)) == "x.yaml:1"
    assert yaml_files.place_of("/changes/3/content/a~1b") == ("changes", 3, "content", "a/b")


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: !!python/name:os.system x",
        "a: !mine x",
        "a: &x 1",
        "a: !!str 5",
        "!mine\na: 1",
        "a: !!map {b: 1}",
        "minimum: 1e400",
        pytest.param("minimum: 0x" + "f" * 6000, id="hexadecimal"),
        pytest.param("minimum: 1" + "0" * 400, id="decimal"),
        "a: 1\na: 2",
        "<<: {a: 1}\n? [x]\n: y",
        "a: " + "[" * 500 + "]" * 500,
        "a: \x00",
        "--- a: 1\n--- b: 2",
        "x" * (yaml_files.MOST_BYTES + 1),
        "",
        "just words",
    ],
)
def test_what_is_not_taken_is_refused_with_a_line(text: str) -> None:
    with pytest.raises(Invalid, match=r"x\.yaml:\d+: "):
        yaml_files.read(PATH, text)
