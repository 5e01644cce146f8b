"""Every table is in a bundle, or somebody said why not."""

from __future__ import annotations

import re
from pathlib import Path

from drystone import tables
from drystone.bundle.registry import CARRIED, LEFT

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "bundle.md"


def test_the_registry_knows_every_table_and_no_other() -> None:
    told = (CARRIED.keys() | LEFT.keys()) - {"vectors_*"}

    assert told == set(tables.metadata.tables)
    assert not CARRIED.keys() & LEFT.keys()


def test_the_reference_says_of_each_table_what_the_registry_says() -> None:
    rows = re.findall(r"^\| `([a-z_*]+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)

    assert dict(rows) == CARRIED | LEFT
