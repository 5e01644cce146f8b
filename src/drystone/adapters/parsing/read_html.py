"""HTML through lexbor: what a reader of the page sees as its text, block by block."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from drystone.adapters.parsing import tables
from drystone.adapters.parsing.decoding import decode
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.normalising import Builder, squeeze
from drystone.adapters.parsing.parsed import Parsed
from drystone.adapters.parsing.titles import sensible_title
from drystone.core.errors import Invalid

# Lexbor's time grows with the square of the depth: 0.1 s at 5 000 divs, 3 s at 40 000, minutes at 300 000.
_MAX_DEPTH = 5_000
_DECLARED_IN_BYTES = 4_096
_CHARSET = re.compile(
    rb"<meta\b[^>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]+)|<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)", re.I
)

_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
# Their end tag may be left out: another of them, or the end of what holds them, closes them.
_SELF_ENDING = frozenset(
    [
        "p",
        "li",
        "dt",
        "dd",
        "td",
        "th",
        "tr",
        "thead",
        "tbody",
        "tfoot",
        "option",
        "optgroup",
        "rt",
        "rp",
        "colgroup",
        "html",
        "head",
        "body",
    ]
)
_RAW = frozenset(["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"])
_SKIPPED = frozenset(
    [
        "script",
        "style",
        "template",
        "noscript",
        "head",
        "svg",
        "canvas",
        "iframe",
        "object",
        "embed",
        "audio",
        "video",
        "map",
        "select",
        "option",
        "datalist",
        "button",
        "input",
        "textarea",
        "rp",
        "rt",
        "dialog",
        "frameset",
        "noframes",
    ]
)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "menu",
        "nav",
        "ol",
        "p",
        "pre",
        "search",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_NOISE = frozenset(("nav", "header", "footer", "aside"))
_NOISE_ROLES = ", ".join(
    f"[role={role}]" for role in ("navigation", "search", "banner", "contentinfo", "menu", "menubar")
)
_HIDDEN = '[hidden], [style*="display:none" i], [style*="display: none" i], [style*="visibility:hidden" i]'


def read(body: bytes, max_bytes: int) -> Parsed:
    """The page's text without scripts, styles and navigation; headings from h1 to h6, tables as rows."""
    page = _parse(decode(body, declared_charset(body)))
    try:
        return _whole(page, max_bytes, keeps_noise=False)
    except Invalid as exc:
        if exc.code != "document.no_text":
            raise
        return _whole(page, max_bytes, keeps_noise=True)  # a page that is all navigation


def add(builder: Builder, source: str) -> None:
    """Add a page, or a piece of one, to a document that holds more."""
    _Writer(builder, keeps_noise=True).write(_parse(source))


def _whole(page: LexborHTMLParser, max_bytes: int, *, keeps_noise: bool) -> Parsed:
    builder = Builder(max_bytes)
    _Writer(builder, keeps_noise=keeps_noise).write(page)
    title_node = page.css_first("head title") or page.css_first("title")
    title = sensible_title(title_node.text()) if title_node else None
    html = page.css_first("html")
    language = html.attributes.get("lang") or html.attributes.get("xml:lang") if html else None
    return builder.done("lexbor", title or builder.top_heading, language=language)


def _parse(source: str) -> LexborHTMLParser:
    source = _with_ends(source)
    _refuse_deep_nesting(source)
    return LexborHTMLParser(source)


def declared_charset(body: bytes) -> str | None:
    """The encoding that a page or an XML file says it is in."""
    found = _CHARSET.search(body[:_DECLARED_IN_BYTES])
    return (found[1] or found[2]).decode("ascii", "replace") if found else None


def _with_ends(source: str) -> str:
    """XHTML ends an empty element within its tag; in HTML it would stay open and swallow the rest."""
    if "http://www.w3.org/1999/xhtml" not in source[:_DECLARED_IN_BYTES]:
        return source
    return re.sub(
        r"<(script|style|title|textarea|iframe|div|p|a|span|td|th|li|b|i|em)\b([^<>]{0,2000})/>", r"<\1\2></\1>", source
    )


def _refuse_deep_nesting(source: str) -> None:
    """Raises `document.too_nested` before a tree is built, by counting tags that are opened and not closed."""
    tag = re.compile(r"<(?:(/?)([a-zA-Z][^\s/>]*)|!--)")
    open_tags: dict[str, int] = {}
    depth = 0
    position = 0
    while found := tag.search(source, position):
        position = found.end()
        name = (found[2] or "").lower()
        if not name or (name in _RAW and not found[1]):
            position = source.find("-->" if not name else f"</{name}", position)
            if position < 0:
                return
        elif name not in _VOID and name not in _SELF_ENDING:
            change = -1 if found[1] else 1
            if open_tags.get(name, 0) + change >= 0:
                open_tags[name] = open_tags.get(name, 0) + change
                depth += change
            if depth > _MAX_DEPTH:
                raise failure("document.too_nested")


class _Event(NamedTuple):
    kind: Literal["enter", "leave", "whole", "text"]
    node: LexborNode
    tag: str


def _walk(top: LexborNode, is_whole: Callable[[LexborNode, str], bool]) -> Iterator[_Event]:
    """Everything below a node in order, without recursion; a node that `is_whole` is named but not entered."""
    node = top.first_child
    open_nodes: list[tuple[LexborNode, str]] = []
    while True:
        while node is None:
            if not open_nodes:
                return
            left, tag = open_nodes.pop()
            yield _Event("leave", left, tag)
            node = left.next
        if node.is_text_node:
            yield _Event("text", node, "")
        elif node.is_element_node:
            tag = node.tag or ""
            if is_whole(node, tag):
                yield _Event("whole", node, tag)
            else:
                yield _Event("enter", node, tag)
                open_nodes.append((node, tag))
                node = node.first_child
                continue
        node = node.next


class _Writer:
    """Turns a tree into blocks of text."""

    def __init__(self, builder: Builder, *, keeps_noise: bool) -> None:
        self._builder = builder
        self._keeps_noise = keeps_noise
        self._has_main = False
        self._hidden: set[int] = set()
        self._tables: dict[int, list[str]] = {}
        self._words: list[str] = []
        self._heading_level = 0
        self._inside: Counter[str] = Counter()
        self._lists: list[int | None] = []  # the next number of each open ordered list; None for a bulleted one
        self._bullet = ""
        self._is_tight = False

    def write(self, page: LexborHTMLParser) -> None:
        """Write the page."""
        root = page.root
        if root is not None:
            self._has_main = page.css_first("main, article, [role=main]") is not None
            hidden = f"{_HIDDEN}, {_NOISE_ROLES}" if not self._keeps_noise else _HIDDEN
            self._hidden = {node.mem_id for node in page.css(hidden)}
            self._tables = {table.mem_id: rows for table in page.css("table") if (rows := _data_rows(table))}
            for event in _walk(root, self._is_whole):
                self._take(event)
        self._flush()

    def _is_whole(self, node: LexborNode, tag: str) -> bool:
        if tag in _SKIPPED or node.mem_id in self._hidden or (tag == "table" and node.mem_id in self._tables):
            return True
        return not self._keeps_noise and tag in _NOISE and self._is_noise(tag)

    def _is_noise(self, tag: str) -> bool:
        """Whether this surrounds the content: navigation; and, where the page says what its content is, the rest."""
        return tag == "nav" or (self._has_main and not (self._inside["main"] or self._inside["article"]))

    def _take(self, event: _Event) -> None:
        if event.kind == "text":
            self._words.append(event.node.text_content or "")
        elif event.kind == "enter":
            self._inside[event.tag] += 1
            self._enter(event.tag, event.node)
        elif event.kind == "leave":
            self._leave(event.tag)
            self._inside[event.tag] -= 1
        elif event.tag == "table":
            self._flush()
            for position, row in enumerate(self._tables.get(event.node.mem_id, ())):
                self._builder.line(row) if position else self._builder.block(row)

    def _enter(self, tag: str, node: LexborNode) -> None:
        if tag == "br":
            self._words.append("\n" if self._inside["pre"] else _BREAK)
        if tag not in _BLOCKS:
            return
        self._flush()
        if tag in _HEADINGS:
            self._heading_level = _HEADINGS[tag]
        elif tag in ("ul", "ol", "menu", "dir"):
            self._is_tight = self._is_tight and bool(self._lists)
            self._lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            self._bullet = self._next_bullet()

    def _leave(self, tag: str) -> None:
        if tag not in _BLOCKS:
            return
        self._flush()
        if tag in _HEADINGS:
            self._heading_level = 0
        elif tag in ("ul", "ol", "menu", "dir") and self._lists:
            self._lists.pop()
            self._is_tight = bool(self._lists)
        elif tag == "li":
            self._bullet = ""

    def _next_bullet(self) -> str:
        if not self._lists or self._lists[-1] is None:
            return "- "
        self._lists[-1] += 1
        return f"{self._lists[-1] - 1}. "

    def _flush(self) -> None:
        """Write what was gathered since the last border of a block."""
        raw = "".join(self._words)
        self._words.clear()
        if self._inside["pre"]:
            text = raw.replace(_BREAK, "\n").strip("\n")
        else:
            text = "\n".join(line for part in raw.split(_BREAK) if (line := squeeze(part)))
        if not text.strip():
            return
        if self._heading_level:
            self._builder.heading(text, self._heading_level)
            self._is_tight = False
        else:
            write = self._builder.line if self._is_tight else self._builder.block
            write(self._bullet + text)
            self._is_tight = bool(self._lists)
        self._bullet = ""


_BREAK = "\ue000"  # stands for <br> until the white space around it is settled


def _data_rows(table: LexborNode) -> list[str] | None:
    """The lines of a table of data; None for one that only places things on the page."""
    rows: list[_Row] = []
    cell: list[str] | None = None
    for event in _walk(table, lambda _, tag: tag in _SKIPPED):
        if event.tag in _NO_DATA and event.kind == "enter":
            return None
        if event.tag == "tr" and event.kind == "enter":
            rows.append(_Row([], 0, False))
        elif event.tag in ("td", "th") and rows:
            if event.kind == "enter":
                cell = []
            elif cell is not None:
                rows[-1] = rows[-1].with_cell("".join(cell), event.node, event.tag)
                cell = None
        elif event.kind == "text":
            (cell if cell is not None else []).append(event.node.text_content or "")
        elif cell is not None and (event.tag in _BLOCKS or event.tag == "br"):
            cell.append(" ")
    caption = table.css_first("caption")
    lines = _row_lines([row for row in rows if any(row.cells)])
    if caption is not None and lines:
        lines.insert(0, squeeze(caption.text()))
    return lines


_NO_DATA = frozenset(["table", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "pre", "form", "article", "section"])
_MAX_CELL_CHARS = 1_000


class _Row(NamedTuple):
    cells: list[str]
    headers: int
    has_spans: bool

    def with_cell(self, text: str, node: LexborNode, tag: str) -> _Row:
        spans = node.attributes.get("colspan") or node.attributes.get("rowspan")
        return _Row(
            [*self.cells, squeeze(text)], self.headers + (tag == "th"), self.has_spans or spans not in (None, "", "1")
        )


def _row_lines(rows: list[_Row]) -> list[str] | None:
    """Rows as lines: under the names of the first row when that is all header cells, after their own name otherwise."""
    if max((len(row.cells) for row in rows), default=0) < 2:
        return None
    if any(len(cell) > _MAX_CELL_CHARS for row in rows for cell in row.cells):
        return None
    first = rows[0]
    is_plain = not any(row.has_spans for row in rows)
    if is_plain and len(rows) > 1 and len(first.cells) >= 2 and first.headers == len(first.cells):
        return [tables.labelled(first.cells, row.cells) for row in rows[1:]]
    return [_named(row) for row in rows]


def _named(row: _Row) -> str:
    if row.headers == 1 and len(row.cells) > 1 and row.cells[0]:
        return tables.labelled([row.cells[0]], [tables.bare(row.cells[1:])])
    return tables.bare(row.cells)
