"""A passage with stretches marked: words that were asked for, names of entities. Pure."""

from __future__ import annotations

import itertools
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
