"""All names of a catalogue, found in one pass over a text: Aho–Corasick over its tokens, leftmost and longest.

Each token that stands in any name is a character of an alphabet of its own, all others are one more; so a match begins and
ends where tokens do, and its offsets are those of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID

from drystone.mentions import names

if TYPE_CHECKING:
    from ahocorasick_rs import AhoCorasick

# Words that a finder remembers the token of; then it forgets all and begins anew.
_MOST_REMEMBERED = 500_000
_UNKNOWN = "\x01"
_FIRST, _SURROGATES, _LAST = 2, range(0xD800, 0xE000), 0x10FFFF
# Each has a character of Unicode for itself: two that shared one would be taken for each other.
MOST_TOKENS = _LAST + 1 - _FIRST - len(_SURROGATES)


@dataclass(frozen=True)
class Mention:
    """That a text names entities: `text[start:end]`, in code points. Several entities may have one name."""

    start: int
    end: int
    entity_ids: tuple[UUID, ...]


class Finder:
    """Finds names. Made once for all names of a workspace; texts may be looked through in several threads."""

    def __init__(self, named: Iterable[tuple[UUID, Sequence[str]]] = (), *, most_tokens: int = MOST_TOKENS) -> None:
        """named: entities with all their names. Those with a token beyond the first `most_tokens` are not found."""
        by_name: dict[tuple[str, ...], dict[UUID, None]] = {}
        for entity_id, its_names in named:
            for name in its_names:
                if tokens := names.folded(name):
                    by_name.setdefault(tokens, {})[entity_id] = None
        self._alphabet = _Alphabet((token for name in by_name for token in name), most_tokens)
        by_name = {name: ids for name, ids in by_name.items() if all(map(self._alphabet.letters.__contains__, name))}
        self._entities = [tuple(sorted(ids)) for ids in by_name.values()]
        self._patterns = ["".join(map(self._alphabet.letters.__getitem__, name)) for name in by_name]

    def __len__(self) -> int:
        """How many names there are that differ."""
        return len(self._patterns)

    def prepare(self) -> Finder:
        """Build what finding needs, which takes a second of many names; itself."""
        _ = self._patterns and self._automaton
        return self

    def find(self, text: str) -> list[Mention]:
        """Where names stand in a text: of those that overlap the one that begins first, of these the longest."""
        if not self._patterns or not text:
            return []
        tokens = names.cut(text)
        letters = list(map(self._alphabet.__getitem__, tokens))
        if "" in letters:
            tokens = [token for token, letter in zip(tokens, letters, strict=True) if letter]
        found = self._automaton.find_matches_as_indexes("".join(letters))
        places = _Places(text, tokens)
        return [Mention(*places.of(first, last), self._entities[which]) for which, first, last in found]

    @cached_property
    def _automaton(self) -> AhoCorasick:
        import ahocorasick_rs  # only where there are names

        return ahocorasick_rs.AhoCorasick(self._patterns, matchkind=ahocorasick_rs.MatchKind.LeftmostLongest)


class _Places:
    """Where tokens stand in their text, asked for in order: between two of them there is only white space."""

    def __init__(self, text: str, tokens: Sequence[str]) -> None:
        self._text, self._tokens = text, tokens
        self._next = self._end = 0

    def of(self, first: int, last: int) -> tuple[int, int]:
        """From the token `first` to the one before `last`."""
        self._pass(first)
        start = self._text.index(self._tokens[first], self._end)
        self._pass(last)
        return names.seen(self._text, start, self._end)

    def _pass(self, until: int) -> None:
        index, end = self._text.index, self._end
        for token in self._tokens[self._next : until]:
            end = index(token, end) + len(token)
        self._next, self._end = until, end


class _Alphabet(dict[str, str]):
    """Token as it stands in a text -> its letter; none for one that says nothing. Those met once are remembered."""

    def __init__(self, tokens: Iterable[str], most: int) -> None:
        self.letters = {token: _letter(number) for number, token in enumerate(islice(dict.fromkeys(tokens), most))}

    def __missing__(self, token: str) -> str:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        folded = names.fold(token)
        letter = self[token] = self.letters.get(folded, _UNKNOWN) if folded else ""
        return letter


def _letter(number: int) -> str:
    """The character of a token's number, which is below MOST_TOKENS."""
    code = number + _FIRST
    return chr(code + len(_SURROGATES) if code >= _SURROGATES.start else code)
