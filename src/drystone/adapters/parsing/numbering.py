"""The numbers and bullets that Word shows before a paragraph but does not write in its text."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from lxml import etree

from drystone.adapters.parsing.office import attribute, local_name

_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_MAX_LEVELS = 9


class _Level(NamedTuple):
    kind: str
    pattern: str
    start: int


class Numbering:
    """Counts list paragraphs as they come and gives the label of each."""

    def __init__(self, root: etree._Element | None) -> None:
        self._levels: dict[str, dict[int, _Level]] = {}
        self._counts: dict[str, list[int | None]] = defaultdict(lambda: [None] * _MAX_LEVELS)
        self._abstract_of: dict[str, str] = {}
        if root is not None:
            self._learn(root)

    def label(self, number_id: str, depth: int) -> str:
        """What stands before the next paragraph of this list at this depth; a dash for a bullet."""
        depth = min(max(depth, 0), _MAX_LEVELS - 1)
        abstract = self._abstract_of.get(number_id)
        levels = self._levels.get(abstract or "", {})
        level = levels.get(depth)
        if number_id == "0" or (level and level.kind == "none"):
            return ""
        if abstract is None or level is None or level.kind == "bullet":
            return "-"
        counts = self._counts[abstract]
        count = counts[depth]
        counts[depth] = level.start if count is None else count + 1
        counts[depth + 1 :] = [None] * (_MAX_LEVELS - depth - 1)
        text = level.pattern
        for at in range(depth + 1):
            known = levels.get(at)
            value = counts[at]
            text = text.replace(f"%{at + 1}", _written(known.start if value is None and known else value or 1, known))
        return text.strip()

    def _learn(self, root: etree._Element) -> None:
        for element in root:
            if local_name(element) == "abstractNum":
                self._levels[attribute(element, "abstractNumId") or ""] = _levels(element)
            elif local_name(element) == "num":
                target = next(
                    (attribute(child, "val") for child in element if local_name(child) == "abstractNumId"), ""
                )
                self._abstract_of[attribute(element, "numId") or ""] = target or ""


def _levels(abstract: etree._Element) -> dict[int, _Level]:
    levels = {}
    for element in abstract:
        if local_name(element) == "lvl":
            values = {local_name(child): attribute(child, "val") or "" for child in element}
            start = values.get("start", "1")
            levels[int(attribute(element, "ilvl") or 0)] = _Level(
                values.get("numFmt", "decimal"), values.get("lvlText", "")[:40], int(start) if start.isdecimal() else 1
            )
    return levels


def _written(value: int, level: _Level | None) -> str:
    kind = level.kind if level else "decimal"
    if kind in ("lowerLetter", "upperLetter"):
        letter = chr(ord("a") + (value - 1) % 26) * ((value - 1) // 26 + 1)
        return letter if kind == "lowerLetter" else letter.upper()
    if kind in ("lowerRoman", "upperRoman") and 0 < value < 4000:
        return _roman(value) if kind == "lowerRoman" else _roman(value).upper()
    return str(value)


def _roman(value: int) -> str:
    text = ""
    for worth, sign in _ROMAN:
        text += sign * (value // worth)
        value %= worth
    return text
