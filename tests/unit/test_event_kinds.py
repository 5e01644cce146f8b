"""The list of event kinds is what the code tells of, and what the page of events explains."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from drystone.jobs import events
from drystone.webhooks import service

ROOT = Path(__file__).parent.parent.parent
_KIND = re.compile(r"[a-z]+\.[a-z_]+")
_TELLERS = ("emit", "Happening", "_tell", "_event")


def _told(tree: ast.Module) -> Iterator[str]:
    names = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [*node.args, *(keyword.value for keyword in node.keywords)] if name in _TELLERS else []
            meant = [names.get(each.id) if isinstance(each, ast.Name) else each for each in given]
            yield from (str(each.value) for each in meant if isinstance(each, ast.Constant))
        elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "_EVENTS":
            yield from (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"into events [^']*'([^']*)'", node.value)


def test_the_list_is_what_is_emitted() -> None:
    files = sorted((ROOT / "src" / "drystone").rglob("*.py"))
    told = {kind for path in files for kind in _told(ast.parse(path.read_text())) if _KIND.fullmatch(str(kind))}

    assert told | {service.TEST_KIND} == set(events.KINDS)


def test_the_page_of_events_explains_each() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    explained = {kind for row in rows for kind in re.findall(r"`([a-z]+\.[a-z_]+)`", row)}

    assert explained == set(events.KINDS)
