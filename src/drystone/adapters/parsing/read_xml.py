"""XML of any vocabulary: the words of its elements in their order, one line or paragraph for each that holds words.

An element with words of its own beside others is prose, and what is within it belongs to its line. One that holds
only other elements is structure: its short values are told with their names, and a title in it is a heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.entities import html5

from lxml import etree

from drystone.adapters.parsing import tables
from drystone.adapters.parsing.normalising import Builder, squeeze
from drystone.adapters.parsing.office import attribute, local_name, parse_xml
from drystone.adapters.parsing.parsed import Parsed
from drystone.adapters.parsing.xml_source import utf8_source

_TITLES = frozenset(("title", "head", "heading", "article-title", "book-title", "subject"))
# Names that say how words look or are arranged, not what they mean.
_PROSE = frozenset(
    ["p", "para", "simpara", "text", "tspan", "desc", "li", "item", "div", "span", "body", "section", "line", "l", "lg",
     "td", "th", "entry", "cell", "title", "head", "heading", "b", "i", "em", "strong", "quote", "note", "abstract", "s",
     "pre", "code", "preformat", "programlisting", "screen", "literallayout"]
)  # fmt: skip
_ROWS = frozenset(("tr", "row"))
_MAX_VALUE_CHARS = 200
_MARKUP = re.compile(r"</?(p|br|div|a|b|i|ul|li|img|h[1-6]|em|strong|span|table|blockquote|pre|code)\b[^<>]*>", re.I)


def read(body: bytes, max_bytes: int) -> Parsed:
    """The document's words. A document type is not loaded; one that declares entities is refused."""
    root = parse_xml(utf8_source(body))
    writer = _Writer(Builder(max_bytes), is_drawing=local_name(root) == "svg")
    return writer.write(root)


class _Writer:
    """Writes elements as blocks of text."""

    def __init__(self, builder: Builder, *, is_drawing: bool) -> None:
        self._builder = builder
        self._is_drawing = is_drawing
        self._title: str | None = None

    def write(self, root: etree._Element) -> Parsed:
        if self._is_drawing:  # its title is shown like its other words, not as a heading
            self._title = next((squeeze(_words(child)) for child in root if local_name(child) == "title"), None)
        self._element(root, 0)
        return self._builder.done("xml", self._title, language=attribute(root, "lang"))

    def _element(self, element: etree._Element, level: int) -> None:
        if _is_prose(element):
            self._block(_words(element))
            return
        children = [child for child in element if local_name(child)]
        if children and all(local_name(child) in _ROWS for child in children):
            self._rows(children)
            return
        level += self._heading(children, level)
        values: list[str] = []
        for child in children:
            line = self._value(child)
            if line is None:
                self._flush(values)
                self._element(child, level)
            elif line:
                values.append(line)
        self._flush(values)
        if not children:
            self._block(_attributes(element))

    def _rows(self, rows: list[etree._Element]) -> None:
        cells = [[squeeze(_words(cell)) for cell in row if local_name(cell)] for row in rows]
        self._builder.block("\n".join(line for line in tables.lines(cells) if line))

    def _heading(self, children: list[etree._Element], level: int) -> int:
        """Write the title among these elements, if there is one; how much deeper what follows then stands."""
        titles = [child for child in children if local_name(child) in _TITLES and squeeze(_words(child))]
        if not titles or len(children) < 2 or self._is_drawing:
            return 0
        title = squeeze(_words(titles[0]))
        children.remove(titles[0])
        self._title = self._title or title
        self._builder.heading(title[:_MAX_VALUE_CHARS], min(level + 1, 6))
        return 1

    def _value(self, element: etree._Element) -> str | None:
        """An element that is one short value, as a line under its name; None for any other, empty for nothing."""
        if len(element) or local_name(element) in _PROSE:
            return None
        text = squeeze(element.text or "")
        if not text:
            return "" if self._is_drawing else _attributes(element)
        if len(text) > _MAX_VALUE_CHARS or _MARKUP.search(text) or self._is_drawing:
            return None
        return f"{local_name(element)}: {text}"

    def _flush(self, values: list[str]) -> None:
        self._builder.block("\n".join(values))
        values.clear()

    def _block(self, text: str) -> None:
        text = "\n".join(line for part in text.split("\n\n") if (line := squeeze(part)))
        if _MARKUP.search(text):
            from drystone.adapters.parsing import read_html  # another library, for feeds alone

            read_html.add(self._builder, text)
        else:
            self._builder.block(text)


def _is_prose(element: etree._Element) -> bool:
    """Whether it holds words of its own."""
    pieces = [element.text, *(child.tail for child in element)]
    return any(piece and piece.strip() for piece in pieces) or any(child.tag is etree.Entity for child in element)


def _words(element: etree._Element) -> str:
    return "".join(_walk(element))


def _walk(element: etree._Element) -> Iterator[str]:
    if element.tag is etree.Entity:
        yield html5.get(f"{element.name};", element.text or "")
    elif isinstance(element.tag, str):
        yield element.text or ""
        is_apart = not _is_prose(element)
        for child in element:
            yield from _walk(child)
            if is_apart:
                yield " "
            yield child.tail or ""


def _attributes(element: etree._Element) -> str:
    """What an element without words says in its attributes, where there are several."""
    names = {etree.QName(key).localname: squeeze(str(value)) for key, value in element.attrib.items()}
    shown = [f"{name}: {value}" for name, value in names.items() if value and len(value) <= 2_000]
    return " | ".join(shown) if len(shown) >= 2 else ""
