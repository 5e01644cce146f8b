"""PPTX, read from its parts with lxml: each slide is a page, its title a heading, speaker notes stand below.

Shapes come in the order in which they are drawn, the title first. Elements are known by their local names.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from drystone.adapters.parsing import tables
from drystone.adapters.parsing.containers import Container
from drystone.adapters.parsing.normalising import Builder, squeeze
from drystone.adapters.parsing.office import (
    Relation,
    attribute,
    core_title,
    local_name,
    main_part,
    parse_xml,
    relations,
)
from drystone.adapters.parsing.parsed import Parsed

_TITLES = frozenset(("title", "ctrTitle"))
_FURNITURE = frozenset(("sldNum", "dt", "ftr", "hdr"))
_BULLETED = frozenset(("body", "obj", "untyped"))


def read(body: bytes, max_bytes: int) -> Parsed:
    """All slides in their order: titles, text, tables, words in charts and diagrams, speaker notes, comments."""
    container = Container(body)
    main = main_part(container, "ppt/presentation.xml", "PowerPoint")
    builder = Builder(max_bytes)
    first_title = None
    for number, part in enumerate(_slides(container, main), start=1):
        title = _Slide(builder, container, part).write(number)
        first_title = first_title or title
    return builder.done("pptx", core_title(container) or first_title, has_slides=True)


def _slides(container: Container, main: str) -> Iterator[str]:
    """The parts of the slides, each once, in the order of the presentation."""
    targets = {relation.id: relation.target for relation in relations(container, main) if relation.kind == "slide"}
    seen = set()
    for element in parse_xml(container.read(main)).iter():
        if local_name(element) == "sldId":
            part = targets.get(_relation_id(element), "")
            if part in container and part not in seen:
                seen.add(part)
                yield part


class _Slide:
    """Writes one slide."""

    def __init__(self, builder: Builder, container: Container, part: str) -> None:
        self._builder = builder
        self._container = container
        self._root = parse_xml(container.read(part))
        self._relations = relations(container, part)
        self._missing_title = ""

    def write(self, number: int) -> str | None:
        """Write all there is to read on the slide; its title, if it has one."""
        self._builder.page()
        shapes = list(_shapes(self._root))
        titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
        title = squeeze(" ".join(_paragraph_text(p) for shape in titles for p in _paragraphs(shape)))
        self._builder.heading(title, 1)
        # A slide with words but without a title must not stand under that of the slide before.
        self._missing_title = "" if title else f"Slide {number}"
        for shape in shapes:
            if shape not in titles:
                self._shape(shape)
        self._notes()
        self._comments()
        return title or None

    def _shape(self, shape: etree._Element) -> None:
        if local_name(shape) == "graphicFrame":
            self._graphic(shape)
        elif (kind := _placeholder(shape)) not in _FURNITURE:
            self._paragraphs(list(_paragraphs(shape)), is_bulleted=kind in _BULLETED)

    def _paragraphs(self, paragraphs: list[etree._Element], *, is_bulleted: bool) -> None:
        filled = [(p, text) for p in paragraphs if (text := _paragraph_text(p).strip())]
        for position, (paragraph, text) in enumerate(filled):
            depth = _bullet_depth(paragraph, is_default=is_bulleted and len(filled) > 1)
            line = text if depth is None else f"{'  ' * depth}- {text}"
            self._builder.line(line) if position else self._block(line)

    def _graphic(self, frame: etree._Element) -> None:
        for element in frame.iter():
            name = local_name(element)
            if name == "tbl":
                self._table(element)
            elif name == "chart":
                self._words_of(_relation_id(element))
            elif name == "relIds":  # a diagram
                self._words_of(attribute(element, "dm") or "")

    def _table(self, table: etree._Element) -> None:
        rows = [
            [squeeze(" ".join(_paragraph_text(p) for p in _paragraphs(cell))) for cell in _children(row, "tc")]
            for row in _children(table, "tr")
        ]
        has_header = any(attribute(item, "firstRow") == "1" for item in _children(table, "tblPr"))
        if has_header and len(rows) > 1:
            lines = [tables.labelled(rows[0], row) for row in rows[1:]]
        else:
            lines = [line for line in tables.lines(rows) if line]
        self._block("\n".join(line for line in lines if line))

    def _words_of(self, relation_id: str) -> None:
        """The words in a chart or a diagram, each once."""
        part = next((r.target for r in self._relations if r.id == relation_id), "")
        if part in self._container:
            root = parse_xml(self._container.read(part))
            words = dict.fromkeys(
                squeeze(text) for element in root.iter() for text in _words_in(element) if text and text.strip()
            )
            self._block(" | ".join(words))

    def _block(self, text: str) -> None:
        if text.strip():
            self._builder.heading(self._missing_title, 1)
            self._missing_title = ""
            self._builder.block(text)

    def _notes(self) -> None:
        for relation in self._of_kind("notesSlide"):
            root = parse_xml(self._container.read(relation.target))
            lines = [
                _paragraph_text(p)
                for shape in _shapes(root)
                if _placeholder(shape) == "body"
                for p in _paragraphs(shape)
            ]
            text = "\n".join(lines).strip()
            if text:
                self._block(f"Notes: {text}")

    def _comments(self) -> None:
        for relation in self._of_kind("comments"):
            for comment in parse_xml(self._container.read(relation.target)):
                text = squeeze(" ".join(e.text or "" for e in comment.iter() if local_name(e) in ("text", "t")))
                if text:
                    self._block(f"Comment: {text}")

    def _of_kind(self, kind: str) -> list[Relation]:
        return [r for r in self._relations if r.kind == kind and r.target in self._container]


def _shapes(parent: etree._Element) -> Iterator[etree._Element]:
    """Shapes and graphics, those within groups too; of two drawings of the same thing the newer one."""
    for element in parent:
        name = local_name(element)
        if name in ("sp", "graphicFrame"):
            yield element
        elif name == "AlternateContent":
            yield from _shapes(next(iter(element), element))
        elif name in ("cSld", "spTree", "grpSp", "Choice", "Fallback"):
            yield from _shapes(element)


def _placeholder(shape: etree._Element) -> str | None:
    """What a shape is a placeholder for; "untyped" when it does not say, None when it is none."""
    found = next((element for element in shape.iter() if local_name(element) == "ph"), None)
    return None if found is None else attribute(found, "type") or "untyped"


def _paragraphs(parent: etree._Element) -> Iterator[etree._Element]:
    return (element for element in parent.iter() if local_name(element) == "p")


def _paragraph_text(paragraph: etree._Element) -> str:
    words = []
    for element in paragraph.iter():
        name = local_name(element)
        if name == "t":
            words.append(element.text or "")
        elif name == "br":
            words.append("\n")
        elif name == "tab":
            words.append("\t")
    return "".join(words)


def _bullet_depth(paragraph: etree._Element, *, is_default: bool) -> int | None:
    """How deep in a list a paragraph stands; None when it is no item of one."""
    properties = next(iter(_children(paragraph, "pPr")), None)
    names = {local_name(child) for child in properties} if properties is not None else set()
    level = (attribute(properties, "lvl") or "0") if properties is not None else "0"
    if "buNone" in names or not (is_default or names & {"buChar", "buAutoNum"}):
        return None
    return min(int(level), 8) if level.isdecimal() else 0


def _words_in(element: etree._Element) -> Iterator[str | None]:
    name = local_name(element)
    if name == "t":
        yield element.text
    elif name in ("strCache", "strLit"):
        for value in element.iter():
            if local_name(value) == "v":
                yield value.text


def _children(parent: etree._Element, name: str) -> Iterator[etree._Element]:
    return (element for element in parent if local_name(element) == name)


def _relation_id(element: etree._Element) -> str:
    """The id by which an element refers to a part: an attribute `id` in a namespace of its own."""
    return next((str(value) for key, value in element.attrib.items() if key.endswith("}id")), "")
