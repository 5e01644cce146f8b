"""A text cut into passages that can be embedded, found and quoted. Pure: values in, values out.

A chunk holds at most max_tokens. Cuts fall where the strongest border is: between sections, else between paragraphs,
lines that end a sentence, sentences, lines, words, and only then between two tokens of a word. Time is linear in the
length of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from drystone.adapters.parsing.parsed import Heading, Parsed

# Stored with every version; raise it when the same text would give other chunks.
CHUNKER_VERSION = "2"

# A section with fewer tokens than this part of max_tokens may share a chunk with its neighbours.
_SMALL_SECTION = 0.4
# A slide with no more tokens than this, such as one that names the next part, goes with the slide after it.
_FEW_TOKENS = 10
# A border is taken when at least this part of an even share lies before it and this part of a whole chunk after it;
# else a weaker border is looked for.
_LEAST_SHARE = 0.5
_LEAST_REST = 0.15
# A tokenizer may call a megabyte without spaces one unknown word. Longer tokens count as one for every so many characters.
_LONG_TOKEN_CHARS = 64
_CHARS_PER_TOKEN = 16
# White space between two chunks is kept up to this many characters.
_MOST_SPACE = 256

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """A passage: `text` is the document's text[start:end].

    page: the page its first character is on, from 1; None without pages.
    title_path: the document's title, then the headings it stands under, outermost first.
    space_before: the white space from the end of the chunk before; empty where there is none, None where it is very long.
    """

    ordinal: int
    start: int
    end: int
    page: int | None
    title_path: tuple[str, ...]
    text: str
    space_before: str | None = None


def chunk(
    parsed: Parsed,
    token_starts: Sequence[int] | _Ints,
    *,
    title: str | None,
    max_tokens: int = 250,
    overlap_tokens: int = 40,
) -> list[Chunk]:
    """The chunks of a document, in order; every character but white space is in at least one.

    token_starts: where each token of the whole text starts, in order, from the embedding model's tokenizer.
    overlap_tokens: how much of a chunk is repeated at the start of the next, in whole sentences, where a paragraph had
    to be cut.
    """
    text = parsed.text
    ruler = _Ruler(text, token_starts)
    overlap_tokens = min(overlap_tokens, max_tokens // 3)
    spans: list[_Span] = []
    for section in _stretches(parsed, ruler, max_tokens):
        pieces = _cut(ruler, section.start, section.end, max_tokens, overlap_tokens)
        spans += [_Span(start, end, section.path) for start, end in pieces]
    pages = np.asarray(parsed.page_starts, dtype=np.int64)
    ends = [0, *(span.end for span in spans)]
    return [
        Chunk(
            ordinal=ordinal,
            start=span.start,
            end=span.end,
            page=max(1, int(np.searchsorted(pages, span.start, "right"))) if len(pages) else None,
            title_path=_title_path(title, span.path),
            text=text[span.start : span.end],
            space_before=_space(text, ends[ordinal], span.start),
        )
        for ordinal, span in enumerate(spans)
    ]


def content(title_path: Sequence[str], text: str) -> str:
    """What a passage is embedded as, compared by and reranked by: its text below its titles. `content_hash` is of this."""
    return "\n".join((*title_path, text))


def _space(text: str, start: int, end: int) -> str | None:
    return text[start:end] if end - start <= _MOST_SPACE else None


@dataclass(frozen=True)
class _Span:
    """A stretch of text under one path of headings."""

    start: int
    end: int
    path: tuple[Heading, ...]


class _Ruler:
    """Counts tokens between two places, and knows the text's borders, strongest kind first."""

    def __init__(self, text: str, token_starts: Sequence[int] | _Ints) -> None:
        self.text = text
        # A list bisects faster than an array for single questions.
        self._tokens: list[int] = _with_long_tokens_cut(np.asarray(token_starts, dtype=np.int64), len(text)).tolist()
        self._borders: tuple[list[int], ...] | None = None

    @property
    def borders(self) -> tuple[list[int], ...]:
        """Where a cut may fall, by kind: paragraphs, sentences, lines, words."""
        if self._borders is None:
            self._borders = tuple(
                [match.end() for match in pattern.finditer(self.text)]
                for pattern in (_PARAGRAPH, _SENTENCE, _LINE, _WORD)
            )
        return self._borders

    def count(self, start: int, end: int) -> int:
        """Tokens that start in text[start:end]."""
        return bisect_left(self._tokens, end) - bisect_left(self._tokens, start)

    def after(self, start: int, tokens: int) -> int:
        """Where so many tokens from `start` on are passed: the place the next token starts, or the text's end."""
        at = bisect_left(self._tokens, start) + tokens
        return self._tokens[at] if at < len(self._tokens) else len(self.text)

    def trim(self, start: int, end: int) -> tuple[int, int]:
        """The stretch without white space at its ends; empty when there is nothing else."""
        found = _NOT_SPACE.search(self.text, start, end)
        if found is None:
            return start, start
        while self.text[end - 1].isspace():
            end -= 1
        return found.start(), end


_NOT_SPACE = re.compile(r"\S")
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_LINE = re.compile(r"\n\s*")
_WORD = re.compile(r"\s+")
# After a full stop, a space and what may begin a sentence; not after an initial or the commonest abbreviations. Signs of
# scripts without spaces end a sentence by themselves. A new line that is a list's item begins one, too.
_SENTENCE = re.compile(
    r"(?:(?<![\s.(\[][^\W\d_])(?<!\b(?:Dr|Mr|Ms|St|vs|cf|al|No|pp|ca|Nr|bd))"
    r"(?<!\b(?:Fig|Mrs|Vol|etc|Ref|Abb|bzw|Eqs|Sec|Tab|Jan|Feb))(?<!\b(?:i\.e|e\.g|z\.B|d\.h|u\.a))[.!?…][\"'”’»)\]]*"
    r"|[!?…][\"'”’»)\]]*)\s+(?=[\"'“‘«(\[¿¡]*[^\W_a-zà-öø-ÿα-ωά-ώа-џ])"
    r"|[。！？｡．][」』）”’〕】]*\s*"
    r"|[।॥؟۔።]\s*"
    r"|\n\s*(?=(?:[-*•–‣◦·]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s)"
)


def _with_long_tokens_cut(starts: _Ints, length: int) -> _Ints:
    """The starts, with more of them where a token is so long that it cannot be one."""
    edges = np.concatenate(([0], starts, [length])) if len(starts) else np.array([0, length])
    gaps = np.diff(edges)
    long = np.flatnonzero(gaps > _LONG_TOKEN_CHARS)
    if not len(long):
        return starts
    more = [np.arange(edges[i] + _LONG_TOKEN_CHARS, edges[i + 1], _CHARS_PER_TOKEN) for i in long]
    return np.union1d(starts, np.concatenate(more))


def _sections(parsed: Parsed, ruler: _Ruler) -> Iterator[_Span]:
    """The text from each heading to the next, without those that hold nothing but space."""
    headings = [heading for heading in parsed.headings if heading.start < len(parsed.text)]
    edges = [0, *(heading.start for heading in headings), len(parsed.text)]
    path: tuple[Heading, ...] = ()
    for at, (start, end) in enumerate(pairwise(edges)):
        if at:
            heading = headings[at - 1]
            path = (*(above for above in path if above.level < heading.level), heading)
        start, end = ruler.trim(start, end)  # noqa: PLW2901
        if start < end:
            yield _Span(start, end, path)


def _stretches(parsed: Parsed, ruler: _Ruler, max_tokens: int) -> Iterable[_Span]:
    """What is to be cut on its own: slides; else the whole text if it is one chunk, or its sections, small ones packed."""
    sections = _sections(parsed, ruler)
    if parsed.has_slides:
        return _slides(sections, ruler)
    if ruler.count(0, len(parsed.text)) > max_tokens:
        return _pack(_with_bare_headings(sections), ruler, max_tokens)
    return [_Span(0, len(parsed.text), _shared_by_all(section.path for section in sections))]


def _slides(slides: Iterable[_Span], ruler: _Ruler) -> Iterator[_Span]:
    """Each slide for itself, but those of a few words together with what follows them."""
    held: _Span | None = None
    for slide in slides:
        if held and ruler.count(held.start, held.end) <= _FEW_TOKENS:
            held = _Span(held.start, slide.end, slide.path)
            continue
        if held:
            yield held
        held = slide
    if held:
        yield held


def _with_bare_headings(sections: Iterable[_Span]) -> Iterator[_Span]:
    """The sections, headings without a text of their own put together with the first section below them."""
    bare: _Span | None = None
    for section in sections:
        if bare:
            if section.path[: len(bare.path)] == bare.path:
                section = _Span(bare.start, section.end, section.path)  # noqa: PLW2901
            else:
                yield bare
        bare = section if section.path and section.end <= section.path[-1].end else None
        if not bare:
            yield section
    if bare:
        yield bare


def _pack(sections: Iterable[_Span], ruler: _Ruler, max_tokens: int) -> Iterator[_Span]:
    """Join small neighbouring sections of one parent while they fit together."""
    held: _Span | None = None
    for section in sections:
        joined = _joined(held, section, ruler, max_tokens) if held else None
        if held and not joined:
            yield held
        held = joined or section
    if held:
        yield held


def _joined(held: _Span, section: _Span, ruler: _Ruler, max_tokens: int) -> _Span | None:
    """Both as one stretch, if the second is a child or sister of the first and they fit."""
    shared = _shared(held.path, section.path)
    is_near = len(section.path) - len(shared) <= 1 and len(held.path) - len(shared) <= 1
    tokens = ruler.count(held.start, held.end), ruler.count(section.start, section.end)
    if is_near and sum(tokens) <= max_tokens and min(tokens) <= max_tokens * _SMALL_SECTION:
        return _Span(held.start, section.end, shared)
    return None


def _shared(one: tuple[Heading, ...], other: tuple[Heading, ...]) -> tuple[Heading, ...]:
    """The headings that both stand under."""
    length = next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a is not b), min(len(one), len(other))
    )
    return one[:length]


def _shared_by_all(paths: Iterable[tuple[Heading, ...]]) -> tuple[Heading, ...]:
    return reduce(_shared, paths) if (paths := list(paths)) else ()


def _title_path(title: str | None, path: tuple[Heading, ...]) -> tuple[str, ...]:
    names = [*([title] if title else []), *(heading.title for heading in path)]
    return tuple(
        name for at, name in enumerate(names) if name and (at == 0 or name.casefold() != names[at - 1].casefold())
    )


def _cut(ruler: _Ruler, start: int, end: int, max_tokens: int, overlap_tokens: int) -> Iterator[tuple[int, int]]:
    """Stretches of at most max_tokens that cover text[start:end], each trimmed of white space."""
    cut = start
    while True:
        start, end = ruler.trim(start, end)
        if start >= end:
            return
        if ruler.count(start, end) <= max_tokens:
            yield start, end
            return
        cut, is_within_paragraph = _best_cut(ruler, start, end, max_tokens, cut)
        yield ruler.trim(start, cut)
        start = _overlap_start(ruler, start, cut, overlap_tokens) if is_within_paragraph else cut


def _best_cut(ruler: _Ruler, start: int, end: int, max_tokens: int, cut_before: int) -> tuple[int, bool]:
    """Where to end a chunk that starts at `start`, and whether that is within a paragraph.

    The strongest border between half an even share and the most a chunk may hold; of equals the one nearest to an even
    share, so that no small rest is left.
    """
    tokens = ruler.count(start, end)
    share = -(-tokens // -(-tokens // max_tokens))
    rest = int(max_tokens * _LEAST_REST)
    latest = min(ruler.after(start, min(max_tokens, max(share, tokens - rest))), end)
    ideal = min(ruler.after(start, share), latest)
    earliest = max(ruler.after(start, max(1, int(share * _LEAST_SHARE))), cut_before + 1)
    for kind, borders in enumerate(ruler.borders):
        low, high = bisect_left(borders, earliest), bisect_right(borders, latest)
        if low < high:
            at = bisect_left(borders, ideal, low, high)
            near = borders[max(low, at - 1) : min(high, at + 1)]
            return min(near, key=lambda border: abs(border - ideal)), kind > 0
    return max(latest, cut_before + 1), True


def _overlap_start(ruler: _Ruler, start: int, cut: int, overlap_tokens: int) -> int:
    """The first start of a sentence that is no more than overlap_tokens before the cut, within its paragraph."""
    if overlap_tokens <= 0:
        return cut
    paragraphs, sentences, *_ = ruler.borders
    at = bisect_right(paragraphs, cut) - 1
    floor = max(start + 1, paragraphs[at] if at >= 0 else 0)
    for border in sentences[bisect_left(sentences, floor) : bisect_left(sentences, cut)]:
        if ruler.count(border, cut) <= overlap_tokens:
            return border
    return cut
