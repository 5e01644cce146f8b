"""DOCX, read from its parts with lxml: paragraphs, lists and tables in their order, notes below what cites them.

Elements are known by their local names, so that strict files read like transitional ones.
"""

from __future__ import annotations

import email
import email.policy
import posixpath
import re
from collections.abc import Iterator
from email.message import EmailMessage
from typing import NamedTuple

from lxml import etree

from drystone.adapters.parsing import tables
from drystone.adapters.parsing.containers import Container
from drystone.adapters.parsing.decoding import decode
from drystone.adapters.parsing.normalising import Builder, squeeze
from drystone.adapters.parsing.numbering import Numbering
from drystone.adapters.parsing.office import attribute, core_title, local_name, main_part, parse_xml, relations
from drystone.adapters.parsing.parsed import Parsed
from drystone.adapters.parsing.titles import sensible_title
from drystone.core.errors import Invalid

_TRANSPARENT = frozenset(
    [
        "sdt",
        "sdtContent",
        "ins",
        "moveTo",
        "smartTag",
        "customXml",
        "hyperlink",
        "fldSimple",
        "dir",
        "bdo",
        "body",
        "AlternateContent",
        "Choice",
        "subDoc",
    ]
)
_GONE = frozenset(
    ["del", "moveFrom", "Fallback", "instrText", "delText", "pPr", "rPr", "tblPr", "trPr", "tcPr", "sdtPr"]
)
_MAX_CELL_CHARS = 1_000


def read(body: bytes, max_bytes: int) -> Parsed:
    """The document's body; headers, footers, comments and deleted text are left out."""
    container = Container(body)
    main = main_part(container, "word/document.xml", "Word")
    return _Document(container, main, max_bytes).read()


class _Document:
    """Walks a document's body and writes its blocks."""

    def __init__(self, container: Container, main: str, max_bytes: int) -> None:
        self._container = container
        self._main = main
        self._max_bytes = max_bytes
        self._builder = Builder(max_bytes)
        self._relations = relations(container, main)
        self._styles = _Styles(self._part("styles"))
        self._numbering = Numbering(self._part("numbering"))
        self._notes = {kind: _notes(self._part(kind)) for kind in ("footnotes", "endnotes")}
        self._cited: list[str] = []
        self._note_count = 0
        self._boxes: list[etree._Element] = []
        self._is_list = False
        self._title: str | None = None

    def read(self) -> Parsed:
        self._blocks(parse_xml(self._container.read(self._main)))
        title = core_title(self._container) or sensible_title(self._title) or self._builder.top_heading
        return self._builder.done("docx", title)

    def _part(self, kind: str) -> etree._Element | None:
        for relation in self._relations:
            if relation.kind == kind and relation.target in self._container:
                return parse_xml(self._container.read(relation.target))
        return None

    def _blocks(self, parent: etree._Element) -> None:
        for element in parent:
            name = local_name(element)
            if name == "p":
                self._paragraph(element)
            elif name == "tbl":
                self._table(element)
            elif name == "altChunk":
                self._foreign(attribute(element, "id") or "")
            elif name in _TRANSPARENT:
                self._blocks(element)

    def _paragraph(self, element: etree._Element) -> None:
        text = self._text(element)
        style = self._styles.of(element)
        label = self._numbering.label(*style.number) if style.number and text.strip() else ""
        if style.is_title and text.strip():
            self._title = self._title or squeeze(text)
        if style.heading_level and len(text) <= _MAX_CELL_CHARS:
            self._builder.heading(f"{label} {text}" if label not in ("", "-") else text, style.heading_level)
        elif text.strip():
            write = self._builder.line if label and self._is_list else self._builder.block
            write(f"{label} {text.strip()}" if label else text)
        self._is_list = bool(label) and not style.heading_level if text.strip() else self._is_list
        self._below()

    def _below(self) -> None:
        """Write the text boxes anchored in, and the notes cited by, what was just written."""
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            self._blocks(box)
        cited, self._cited = self._cited, []
        for note in cited:
            self._builder.block(note)

    def _text(self, element: etree._Element) -> str:
        """The text within a paragraph; notes and text boxes are put aside."""
        return "".join(self._words(element))

    def _words(self, parent: etree._Element) -> Iterator[str]:
        for element in parent:
            name = local_name(element)
            if name == "t":
                yield element.text or ""
            elif name == "r":
                if not _is_hidden(element):
                    yield from self._words(element)
            elif name in ("tab", "ptab"):
                yield "\t"
            elif name in ("br", "cr"):
                yield "\n"
            elif name == "noBreakHyphen":
                yield "-"
            elif name in ("footnoteReference", "endnoteReference"):
                yield self._cite(name.replace("Reference", "s"), attribute(element, "id") or "")
            elif name == "txbxContent":
                self._boxes.append(element)
            elif name not in _GONE:
                yield from self._words(element)

    def _cite(self, kind: str, note_id: str) -> str:
        note = self._notes[kind].get(note_id)
        text = squeeze(self._text(note)) if note is not None else ""
        if not text:
            return ""
        self._note_count += 1
        self._cited.append(f"[{self._note_count}] {text}")
        return f"[{self._note_count}]"

    def _table(self, table: etree._Element) -> None:
        rows = [row for row in _descend(table, "tr") if row is not None]
        cells = [list(_descend(row, "tc")) for row in rows]
        if max((len(row) for row in cells), default=0) < 2:
            for cell in (cell for row in cells for cell in row):
                self._blocks(cell)
            return
        texts = [[text for cell in row for text in self._cell(cell)] for row in cells]
        if any(len(text) > _MAX_CELL_CHARS for row in texts for text in row):
            self._cited, self._boxes = [], []
            for cell in (cell for row in cells for cell in row):
                self._blocks(cell)
            return
        self._is_list = False
        for position, line in enumerate(_lines(rows, texts)):
            self._builder.line(line) if position else self._builder.block(line)
        self._below()

    def _cell(self, cell: etree._Element) -> list[str]:
        """A cell's text, and an empty one for each further column it spans."""
        properties = next((child for child in cell if local_name(child) == "tcPr"), ())
        span = 1
        for item in properties:
            value = attribute(item, "val")
            if local_name(item) == "vMerge" and value != "restart":
                return [""]
            if local_name(item) == "gridSpan" and value and value.isdecimal():
                span = min(int(value), 100)
        texts = (squeeze(self._text(p)) for p in cell.iter() if local_name(p) == "p")
        return [" ".join(text for text in texts if text), *[""] * (span - 1)]

    def _foreign(self, relation_id: str) -> None:
        """Write a part in another format that Word shows as if it were the document's own text."""
        target = next((r.target for r in self._relations if r.id == relation_id), "")
        if target not in self._container:
            return
        body = self._container.read(target)
        suffix = posixpath.splitext(target)[1].lower()
        try:
            if suffix in (".htm", ".html", ".xhtml", ".mht", ".mhtml"):
                from drystone.adapters.parsing import read_html  # another library, rarely needed here

                page = _page_of_archive(body) if suffix.startswith(".mh") else body
                self._builder.block(read_html.read(page, self._max_bytes).text)
            elif suffix == ".txt":
                self._builder.block(decode(body))
        except Invalid as exc:
            if exc.code != "document.no_text":
                raise


def _descend(parent: etree._Element, name: str) -> Iterator[etree._Element]:
    """The rows of a table or the cells of a row, through the elements that only wrap them."""
    for element in parent:
        if local_name(element) == name:
            yield element
        elif local_name(element) in _TRANSPARENT:
            yield from _descend(element, name)


def _lines(rows: list[etree._Element], texts: list[list[str]]) -> Iterator[str]:
    has_header = any(local_name(item) == "tblHeader" for item in rows[0].iter())
    if has_header and len(texts) > 1:
        return (line for line in (tables.labelled(texts[0], row) for row in texts[1:]) if line)
    if max(len(row) for row in texts) < 3:  # as likely pairs of a name and a value
        return (line for line in map(tables.bare, texts) if line)
    return (line for line in tables.lines(texts) if line)


def _is_hidden(run: etree._Element) -> bool:
    for properties in run:
        if local_name(properties) == "rPr":
            return any(
                local_name(item) == "vanish" and attribute(item, "val") not in ("0", "false") for item in properties
            )
    return False


def _notes(root: etree._Element | None) -> dict[str, etree._Element]:
    return {} if root is None else {attribute(note, "id") or "": note for note in root if not attribute(note, "type")}


def _page_of_archive(body: bytes) -> bytes:
    """The HTML within an MHT file."""
    message = email.message_from_bytes(body, policy=email.policy.default)
    for part in message.walk():
        if part.get_content_type() in ("text/html", "text/plain") and isinstance(part, EmailMessage):
            content = part.get_content()
            return content.encode() if isinstance(content, str) else b""
    return b""


class _Style(NamedTuple):
    heading_level: int
    is_title: bool
    number: tuple[str, int] | None


class _Styles:
    """What a paragraph's style, and the styles it is based on, say of it."""

    def __init__(self, root: etree._Element | None) -> None:
        self._by_id: dict[str, etree._Element] = {}
        for style in root if root is not None else ():
            if local_name(style) == "style":
                self._by_id[attribute(style, "styleId") or ""] = style
        self._known: dict[str, _Style] = {}

    def of(self, paragraph: etree._Element) -> _Style:
        properties = next((child for child in paragraph if local_name(child) == "pPr"), None)
        if properties is None:
            return _Style(0, False, None)
        values = {local_name(child): child for child in properties}
        style_id = attribute(values["pStyle"], "val") if "pStyle" in values else None
        base = self._named(style_id or "", depth=0)
        level = _outline_level(values.get("outlineLvl"))
        return _Style(
            base.heading_level if level is None else level,
            base.is_title,
            _number(values.get("numPr"), base.number) or base.number,
        )

    def _named(self, style_id: str, depth: int) -> _Style:
        if style_id not in self._known:
            self._known[style_id] = self._read(style_id, depth)
        return self._known[style_id]

    def _read(self, style_id: str, depth: int) -> _Style:
        style = self._by_id.get(style_id)
        if style is None or depth > 10:
            # Files without styles still use Word's own ids.
            found = re.fullmatch(r"heading\s?([1-9])", style_id.lower())
            return _Style(int(found[1]) if found else 0, style_id.lower() == "title", None)
        values = {local_name(child): child for child in style.iter()}
        name = (attribute(values["name"], "val") or "").lower() if "name" in values else ""
        parent = attribute(values["basedOn"], "val") if "basedOn" in values else None
        base = self._named(parent, depth + 1) if parent and parent != style_id else _Style(0, False, None)
        found = re.fullmatch(r"heading ([1-9])", name)
        level = int(found[1]) if found else _outline_level(values.get("outlineLvl"))
        return _Style(
            base.heading_level if level is None else level,
            name == "title" or base.is_title,
            _number(values.get("numPr"), base.number) or base.number,
        )


def _outline_level(element: etree._Element | None) -> int | None:
    value = attribute(element, "val") if element is not None else None
    if value is None or not value.isdecimal():
        return None
    return int(value) + 1 if int(value) < 9 else 0


def _number(element: etree._Element | None, inherited: tuple[str, int] | None) -> tuple[str, int] | None:
    if element is None:
        return None
    values = {local_name(child): attribute(child, "val") or "" for child in element}
    number_id = values.get("numId") or (inherited[0] if inherited else "")
    depth = values.get("ilvl", "0")
    return (number_id, int(depth) if depth.isdecimal() else 0) if number_id else None
