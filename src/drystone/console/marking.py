"""A passage with stretches marked: words that were asked for, names of entities. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """A stretch of text. is_word: it was asked for. entity: the key of what it names, and its label."""

    text: str
    is_word: bool = False
    entity: tuple[str, str] | None = None


@dataclass(frozen=True)
class Name:
    """Where an entity is named: start and end."""

    start: int
    end: int
    key: str
    label: str


# A line that says by its beginning that it is one of its own: items, quotes, headings, rows, fences, markup.
_BEGINS = re.compile(r"\s*(?:[-*+>#|<]|\d+[.)]\s|```|~~~|:::|\[[^\]]+\]:)")
_FENCE = re.compile(r"\s*(?:```|~~~)")
# Shorter ones were broken on purpose, as in an address.
_LEAST_WRAPPED = 40


def flowing(text: str, name: str | None) -> str:
    """Markdown whose paragraphs run on to the edge of whatever shows them: each end of a line within one is a space, so that
    every place stays where it is. name: of its file, by which Markdown is known; other text is as it was.
    """
    if not (name or "").lower().endswith((".md", ".markdown")):
        return text
    lines = text.split("\n")
    joined, is_code = lines[0], bool(_FENCE.match(lines[0]))
    for before, line in itertools.pairwise(lines):
        runs_on = (
            len(before) >= _LEAST_WRAPPED and not before.endswith(("  ", "\\")) and not before.startswith(("#", "|"))
        )
        is_fence = bool(_FENCE.match(line))
        joined += " " if runs_on and line.strip() and not is_code and not _BEGINS.match(line) else "\n"
        joined += line
        is_code ^= is_fence
    return joined


def pieces(text: str, words: Iterable[tuple[int, int]] = (), names: Sequence[Name] = ()) -> list[Piece]:
    """The text in pieces that together are the text. Where names overlap, the one that begins first, then the longest, counts."""
    asked = sorted((max(0, start), min(len(text), end)) for start, end in words)
    apart = _apart(sorted(names, key=lambda name: (name.start, -name.end)), len(text))
    cuts = {0, len(text)}
    cuts.update(cut for start, end in asked for cut in (start, end))
    cuts.update(cut for name in apart for cut in (max(0, name.start), min(len(text), name.end)))
    places = sorted(cut for cut in cuts if 0 <= cut <= len(text))
    found = []
    for start, end in itertools.pairwise(places):
        is_word = any(first <= start and end <= last for first, last in asked)
        name = next((name for name in apart if name.start <= start and end <= name.end), None)
        found.append(Piece(text[start:end], is_word, (name.key, name.label) if name else None))
    return found


def _apart(names: Iterable[Name], length: int) -> list[Name]:
    kept: list[Name] = []
    for name in names:
        if name.end > max(0, name.start) and name.start < length and (not kept or name.start >= kept[-1].end):
            kept.append(name)
    return kept
