"""Markdown: the source is the text; headings come from markdown-it, so that one in a code block is none."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise

from markdown_it import MarkdownIt

from drystone.adapters.parsing.decoding import decode
from drystone.adapters.parsing.normalising import normalise, require_size, require_words, squeeze, tidy_title
from drystone.adapters.parsing.parsed import PARSER_VERSION, Heading, Parsed
from drystone.adapters.parsing.titles import top_heading

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*(.+)$", re.MULTILINE | re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\[\]]{0,500})\](?:\([^()\s]{0,2000}(?:\s+\"[^\"]{0,500}\")?\)|\[[^\[\]]{0,500}\])")
_MARKS = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)|\s*\{#[^{}]{0,200}\}\s*$|<[^<>]{1,500}>")
# markdown-it reads some 200 kB a second; in longer texts only headings that begin with # are looked for.
_PARSED_CHARS = 500_000


def read(body: bytes, max_bytes: int) -> Parsed:
    """The source without its YAML front matter, whose title becomes the document's."""
    text = normalise(decode(body)).lstrip("\n")
    title = None
    if front := _FRONT_MATTER.match(text):
        found = _FRONT_TITLE.search(front[1])
        title = found[1].strip().strip("\"'") if found else None
        text = text[front.end() :].lstrip("\n")
    require_words(text)
    require_size(text, max_bytes)
    headings = _headings(text) if len(text) <= _PARSED_CHARS else _plain_headings(text)
    title = tidy_title(title) or tidy_title(top_heading(headings))
    return Parsed(text, (), tuple(headings), title, f"markdown-{PARSER_VERSION}")


def _headings(text: str) -> list[Heading]:
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    # Blocks are enough: parsing what is within paragraphs would take three times as long.
    tokens = MarkdownIt("commonmark").enable("table").disable("inline").parse(text)
    found = []
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open" and opening.map and opening.level == 0 and content.content.strip():
            start, end = starts[opening.map[0]], starts[opening.map[1]] - 1
            found.append(_heading(text, start, min(end, len(text)), int(opening.tag[1]), content.content))
    return found


def _plain_headings(text: str) -> list[Heading]:
    """Headings that begin with #, outside of fenced code."""
    found: list[Heading] = []
    fence = ""
    for match in re.finditer(r"^(?: {0,3}(`{3,}|~{3,})|(#{1,6})[ \t]+(\S.{0,500}?)[ \t#]*$)", text, re.MULTILINE):
        if match[1]:
            if not fence:
                fence = match[1]
            elif match[1].startswith(fence):
                fence = ""
        elif not fence:
            found.append(_heading(text, match.start(), match.end(), len(match[2]), match[3]))
    return found


def _heading(text: str, start: int, end: int, level: int, source: str) -> Heading:
    while end > start and text[end - 1].isspace():
        end -= 1
    title = squeeze(_MARKS.sub("", _LINK.sub(r"\1", source)))
    return Heading(start, end, level, title or squeeze(source))
