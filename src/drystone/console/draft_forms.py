"""What a draft says of one entity, module or profile as the fields of a form, and back again. Pure.

Lists are written a line each, names of other languages as `de: Name`, ranges as `core ^1.0`, a definition as JSON.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from drystone.catalogue.bodies import NamedChange, edit_of
from drystone.catalogue.content import SHAPE_OF_KEY, Content, is_key
from drystone.catalogue.drafts import Edit, Proposal
from drystone.catalogue.models import Action, Kind
from drystone.catalogue.rules import Problem
from drystone.core.errors import Invalid, path_of
from drystone.core.text import is_storable

FIELDS: Mapping[Kind, tuple[str, ...]] = {
    "entity": ("type", "label", "description", "aliases", "parents", "schema_definition"),
    "module": ("label", "description", "version", "entities", "dependencies"),
    "profile": ("label", "description", "modules"),
}
Values = dict[str, str]
# Where one of these is wrong, what others of the draft say to the rest holds nevertheless.
_OF_NO_OTHER = frozenset({"label", "description", "aliases"})
# Where the rules speak of what is sent over the API.
_FIXES = {
    "module.not_bumped": "tick “Modules follow their members” in the draft, or change the module, too",
    "draft.stale": "bring the draft and the catalogue together",
}


@dataclass
class Faults:
    """What is wrong, by the name of the field; of no field, `""`; elsewhere: with others of the draft."""

    of: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    elsewhere: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.of or self.elsewhere)

    def add(self, name: str, said: str) -> None:
        self.of[name].append(said)

    def join(self, others: Faults) -> None:
        """Take what is wrong besides."""
        for name, said in others.of.items():
            self.of[name] = [*self.of.get(name, []), *said]
        self.elsewhere += others.elsewhere

    def join_rest(self, others: Faults) -> None:
        """Take what was found with the wrong fields left out, but for what may come from just that."""
        wrong = set(self.of)
        if wrong <= _OF_NO_OTHER:
            return self.join(
                Faults({name: said for name, said in others.of.items() if name not in wrong}, others.elsewhere)
            )
        return self.join(Faults({name: said for name, said in others.of.items() if name and name not in wrong}))

    def told(self) -> dict[str, Any]:
        """As a page's script reads it."""
        return {"fields": dict(self.of), "elsewhere": self.elsewhere}


def values_of(kind: Kind, content: Content | None) -> Values:
    """The fields of a content as a form shows them; empty ones where there is none."""
    said = {} if content is None else content.said()
    return {name: written(name, said.get(name)) for name in FIELDS[kind]}


def read(kind: Kind, key: str, action: Action, values: Mapping[str, str]) -> tuple[Edit | None, Faults]:
    """The change that a form says, without what cannot be read; None where the rest is none."""
    faults = Faults()
    if not is_key(key):
        faults.add(
            "key", f"{key[:100]!r} cannot be a key: {SHAPE_OF_KEY}." if key else f"It needs a key: {SHAPE_OF_KEY}."
        )
    content = None if action != "put" else {name: _read(name, values.get(name, ""), faults) for name in FIELDS[kind]}
    try:
        return edit_of(NamedChange(action=action, content=_said(content)).proposed(kind, key)), faults
    except ValidationError as exc:
        for error in exc.errors():
            path = [str(each) for each in error["loc"] if each not in (kind, "content")]
            if path != ["key"]:
                faults.add(_field(kind, path), _sentence(path, error["msg"]))
        return None, faults


def rest(kind: Kind, key: str, action: Action, values: Mapping[str, str], faults: Faults) -> Edit | None:
    """The change without what is wrong with it, for the rules to be asked about the rest; None where that is too little."""
    if {"", "type"} & set(faults.of):
        return None
    left = {name: "" if name in faults.of else said for name, said in values.items()}
    if "label" in faults.of:
        left["label"] = "?"
    made, _ = read(kind, f"this-{kind}" if "key" in faults.of else key, action, left)
    return made


def of_error(kind: Kind, error: Invalid) -> Faults:
    """What was refused, at its field."""
    faults = Faults()
    path = [each for each in path_of(str(error.values.get("pointer") or "")) if each != "content"]
    faults.add(_field(kind, path), f"{error.message} {error.hint or ''}".strip())
    return faults


def of_rules(kind: Kind, key: str, problems: Iterable[Problem], proposals: Sequence[Proposal]) -> Faults:
    """What the rules say of a draft, at the fields of this change where it comes from there, else with the key of that."""
    faults = Faults()
    for problem in problems:
        said = f"{problem.sentence} Fix: {fix_of(problem)}." if fix_of(problem) else problem.sentence
        cause = proposals[problem.change] if problem.change is not None else None
        if cause is not None and (cause.kind, cause.key) == (kind, key):
            faults.add(_field(kind, [str(each) for each in problem.path]), said)
        else:
            faults.elsewhere.append(f"{cause.key}: {said}" if cause is not None else said)
    return faults


@dataclass(frozen=True)
class Finding:
    """A problem of a whole draft. of: kind and key of the change that it comes from; None: of none alone."""

    said: str
    fix: str
    of: tuple[Kind, str] | None


def findings(problems: Iterable[Problem], proposals: Sequence[Proposal]) -> list[Finding]:
    """Each problem of a whole draft: what is wrong, what to do about it, and in which change."""
    changes = [(each.kind, each.key) for each in proposals]
    return [
        Finding(each.sentence, fix_of(each), None if each.change is None else changes[each.change]) for each in problems
    ]


def fix_of(problem: Problem) -> str:
    """What to do about a problem, on a page."""
    return _FIXES.get(problem.code, problem.fix)


def _field(kind: Kind, path: Sequence[str]) -> str:
    """The field that a path leads into."""
    return path[0] if path and path[0] in (*FIELDS[kind], "key") else ""


def _sentence(path: Sequence[str], said: str) -> str:
    where = " / ".join(path[1:])
    return f"{where}: {said}" if where else said


def _said(content: dict[str, Any] | None) -> dict[str, Any] | None:
    """A content without what was left empty and may be."""
    if content is None:
        return None
    return {name: value for name, value in content.items() if value not in ("", None) or name == "label"}


def written(name: str, value: Any) -> str:
    """What stands in a field, as it is written in a form."""
    if name == "schema_definition":
        return json.dumps(value, indent=2, ensure_ascii=False) if value else ""
    if name == "aliases":
        return "\n".join(f"{language}: {alias}" for language, names in (value or {}).items() for alias in names)
    if name in ("dependencies", "modules"):
        return "\n".join(f"{key} {range_}" for key, range_ in (value or {}).items())
    if name in ("parents", "entities"):
        return "\n".join(value or [])
    return value or ""


def _read(name: str, written: str, faults: Faults) -> Any:
    written = written.replace("\r\n", "\n")
    if not is_storable(written):
        faults.add(name, "It holds a character that cannot be stored.")
        return None
    if name == "schema_definition":
        return _json(written, faults)
    if name == "aliases":
        return _aliases(written, faults)
    if name in ("dependencies", "modules"):
        return _ranges(name, written, faults)
    if name in ("parents", "entities"):
        return written.replace(",", " ").split()
    return written if name == "description" else written.strip()


def _json(written: str, faults: Faults) -> Any:
    try:
        found = json.loads(written, parse_constant=_refuse) if written.strip() else {}
        if not is_storable(json.dumps(found, ensure_ascii=False)):
            faults.add("schema_definition", "It holds an escape of a character that cannot be stored.")
            return None
    except (ValueError, RecursionError) as exc:
        place = f" at line {exc.lineno}, column {exc.colno}" if isinstance(exc, json.JSONDecodeError) else ""
        what = exc.msg if isinstance(exc, json.JSONDecodeError) else "it cannot be read"
        faults.add("schema_definition", f"This is no JSON{place}: {what}.")
        return None
    if not isinstance(found, dict):
        faults.add("schema_definition", 'A definition is an object, such as {"type": "number"}.')
    return found


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _aliases(written: str, faults: Faults) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for number, line in _lines(written):
        language, colon, alias = (part.strip() for part in line.partition(":"))
        if not (language and colon and alias):
            faults.add("aliases", f"Line {number} has no language, or no name: write it as “de: Name”.")
            continue
        found.setdefault(language, []).append(alias)
    return found


def _ranges(name: str, written: str, faults: Faults) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in _lines(written):
        key, _, range_ = line.partition(" ")
        if not range_.strip():
            faults.add(name, f"Line {number} says no versions: write it as “{key} ^1.0”.")
            continue
        if key in found:
            faults.add(name, f"Line {number} names {key} again.")
        found[key] = range_.strip()
    return found


def _lines(written: str) -> list[tuple[int, str]]:
    return [(number, line.strip()) for number, line in enumerate(written.split("\n"), 1) if line.strip()]
