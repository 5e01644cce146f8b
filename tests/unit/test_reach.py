"""Where the code says that it reaches everything, and how a reach is told to PostgreSQL."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import drystone
from drystone.core.reach import EVERYTHING, NOTHING, Reach

SOURCE = Path(drystone.__file__).parent
# Who serves nobody in particular, within a process that serves others: one more must be argued for here.
REACHING_EVERYTHING = {
    "core/db.py": "connections of the worker and of commands",
    "core/reach.py": "what it is",
    "web.py": "the feed, which hands each stream the events of its own scope only",
    "checks.py": "what health and verify ask",
    "documents/admission.py": "how long the queue is",
}


def _places() -> Iterator[tuple[str, ast.AST]]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            yield str(path.relative_to(SOURCE)), node


def test_everything_is_reached_only_from_where_it_is_argued_for() -> None:
    found = {place for place, node in _places() if isinstance(node, ast.Name) and node.id == "EVERYTHING"}

    assert found == set(REACHING_EVERYTHING)


def test_web_opens_confined_resources() -> None:
    opened = {
        place: {each.arg: ast.unparse(each.value) for each in node.keywords}
        for place, node in _places()
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "open_resources"
    }

    assert opened["web.py"]["is_confined"] == "True"


def test_a_reach_is_told_as_postgresql_reads_it() -> None:
    one, two = UUID(int=1), UUID(int=2)

    assert NOTHING.parameters() == {"workspace": "", "collections": ""}
    assert EVERYTHING.parameters() == {"workspace": "*", "collections": ""}
    assert Reach(one).parameters() == {"workspace": str(one), "collections": ""}
    assert Reach(one, frozenset()).parameters() == {"workspace": str(one), "collections": "{}"}
    both = Reach(one, frozenset({two, one})).parameters()
    assert both == {"workspace": str(one), "collections": f"{{{one},{two}}}"}
