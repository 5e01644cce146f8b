"""What a draft would change, place by place, as pages show it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from drystone.catalogue.drafts import Proposal
from drystone.catalogue.merging import MISSING, Difference
from drystone.catalogue.review import Compared
from drystone.console import draft_forms
from drystone.core.errors import pointer_to

_SAID = {
    "label": "label",
    "type": "type",
    "description": "description",
    "aliases": "other names",
    "parents": "parents",
    "schema_definition": "definition",
    "entities": "entities",
    "dependencies": "dependencies",
    "modules": "modules",
    "version": "version",
}


@dataclass(frozen=True)
class Row:
    """A place. base, ours, theirs: as they are written; None: nothing stands there. pointer: for a choice."""

    where: str
    pointer: str
    side: str
    base: str | None
    ours: str | None
    theirs: str | None


@dataclass(frozen=True)
class Shown:
    """A change. what: becomes of it. rows: in the order of their places. has_conflict: somebody has to choose."""

    proposal: Proposal
    label: str
    what: str
    is_stale: bool
    has_conflict: bool
    rows: list[Row]


def shown(compared: Compared) -> Shown:
    """A change with what it does at each place."""
    merged = compared.merged()
    content = compared.ours or compared.base or compared.theirs
    return Shown(
        proposal=compared.proposal,
        label=content.said()["label"] if content else compared.proposal.key,
        what=_what(compared),
        is_stale=compared.is_stale,
        has_conflict=bool(merged.conflicts),
        rows=[row for each in merged.differences for row in rows(each)],
    )


def rows(difference: Difference) -> Iterator[Row]:
    """A difference; one about the whole of a thing field by field, without those that are empty."""
    sides = (difference.base, difference.ours, difference.theirs)
    if difference.path or not any(isinstance(each, dict) for each in sides) or difference.side == "conflict":
        yield Row(_where(difference.path), pointer_to(*difference.path), difference.side, *map(_written, sides))
        return
    for name in dict.fromkeys(name for side in sides if isinstance(side, dict) for name in side):
        values = [side.get(name) or MISSING if isinstance(side, dict) else MISSING for side in sides]
        if any(value is not MISSING for value in values):
            written = (None if value is MISSING else draft_forms.written(name, value) for value in values)
            yield Row(_where((name,)), pointer_to(name), difference.side, *written)


def _what(compared: Compared) -> str:
    if compared.proposal.action == "restore":
        return "comes back"
    if compared.proposal.action == "delete":
        return "is removed"
    return "is new" if compared.base is None else "changes"


def _where(path: tuple[str, ...]) -> str:
    if not path:
        return "all of it"
    return " › ".join((_SAID.get(path[0], path[0]), *path[1:]))


def _written(value: Any) -> str | None:
    if value is MISSING:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return "\n".join(value) or "none"
    return json.dumps(value, indent=2, ensure_ascii=False)
