"""How the data commands read their options."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from drystone.cli import data, jobs
from drystone.core.errors import Invalid


def test_values_of_attributes_are_json_where_they_parse_and_strings_elsewhere() -> None:
    given = data.attributes(["year=1962", "author=Ada", "open=true", 'tags=["a"]', "formula=a=b", "empty=", "n=NaN"])

    assert json.loads(given or "") == {
        "year": 1962,
        "author": "Ada",
        "open": True,
        "tags": ["a"],
        "formula": "a=b",
        "empty": "",
        "n": "NaN",
    }


@pytest.mark.parametrize("pair", ["year", "=1962"])
def test_an_attribute_without_key_or_value_is_refused(pair: str) -> None:
    with pytest.raises(Invalid) as refused:
        data.attributes([pair])

    assert refused.value.code == "add.bad_attribute"


def test_no_attributes_are_nothing_to_send() -> None:
    assert data.attributes(None) is None


@pytest.mark.parametrize(("group", "command"), [(data.documents, "list"), (jobs.jobs, "list")])
def test_a_group_alone_lists(group: object, command: str) -> None:
    """--bad is refused as an option of `list`: without the default the group itself would refuse it."""
    result = CliRunner().invoke(group, ["--bad"])  # type: ignore[arg-type]  # a Typer; parametrize knows objects only

    assert result.exit_code == 2
    assert f"{command} [OPTIONS]" in result.output


def test_help_of_a_group_names_its_commands() -> None:
    result = CliRunner().invoke(data.documents, ["--help"])

    assert result.exit_code == 0
    assert all(name in result.output for name in ("list", "show", "text", "delete"))
