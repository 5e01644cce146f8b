"""OpenDocument text, sheets and slides, packed or flat, read with lxml; elements are known by their local names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lxml import etree

from drystone.adapters.parsing import tables
from drystone.adapters.parsing.containers import Container
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.normalising import Builder, squeeze
from drystone.adapters.parsing.office import attribute, local_name, parse_xml
from drystone.adapters.parsing.parsed import Parsed
from drystone.adapters.parsing.titles import sensible_title
from drystone.adapters.parsing.xml_source import utf8_source

_TRANSPARENT = frozenset(("body", "text", "section", "spreadsheet", "presentation", "drawing", "index-body", "page"))
# What is made from the rest of the document, or was deleted in it.
_GONE = frozenset(
    [
        "tracked-changes", "sequence-decls", "forms", "table-of-content", "alphabetical-index", "illustration-index",
        "table-index", "user-index", "variable-decls", "user-field-decls", "named-expressions", "content-validations",
    ]
)  # fmt: skip
_MAX_CELL_CHARS = 1_000
_MAX_REPEATED = 100


def read(body: bytes, max_bytes: int) -> Parsed:
    """Headings, paragraphs, lists and tables in their order; notes and comments below what they belong to."""
    if not body.startswith(b"PK"):
        root = parse_xml(utf8_source(body))
        if local_name(root) != "document":
            raise failure("document.wrong_type", "The file is no flat OpenDocument file.")
        return _Document(max_bytes, [root]).read(root)
    container = Container(body)
    if "content.xml" not in container:
        raise failure("document.wrong_type", "The file is an archive, but no OpenDocument file.")
    _refuse_encrypted(container)
    parts = {
        name: parse_xml(container.read(name)) for name in ("content.xml", "styles.xml", "meta.xml") if name in container
    }
    return _Document(max_bytes, list(parts.values())).read(parts["content.xml"])


def _refuse_encrypted(container: Container) -> None:
    if "META-INF/manifest.xml" in container:
        manifest = parse_xml(container.read("META-INF/manifest.xml"))
        if any(local_name(element) == "encryption-data" for element in manifest.iter()):
            raise failure("document.encrypted")


class _Document:
    """Walks a document's body and writes its blocks."""

    def __init__(self, max_bytes: int, roots: Sequence[etree._Element]) -> None:
        self._builder = Builder(max_bytes)
        self._roots = roots
        self._numbered = _numbered_lists(roots)
        self._titles = _title_styles(roots)
        self._below: list[etree._Element] = []
        self._cited: list[str] = []
        self._note_count = 0
        self._title: str | None = None
        self._has_slides = False
        self._has_sheets = False

    def read(self, content: etree._Element) -> Parsed:
        for element in content:
            if local_name(element) == "body":
                self._blocks(element)
        title = _meta_title(self._roots) or sensible_title(self._title)
        if not title and not self._has_slides and not self._has_sheets:
            title = self._builder.top_heading
        return self._builder.done("odf", title, has_slides=self._has_slides)

    def _blocks(self, parent: etree._Element) -> None:
        pages = 0
        for element in parent:
            name = local_name(element)
            if name == "h":
                self._heading(element)
            elif name == "p":
                self._paragraph(element)
            elif name == "list":
                self._list(element, 0, "")
            elif name == "table":
                self._table(element, is_sheet=local_name(parent) == "spreadsheet")
            elif name == "page":
                pages += 1
                self._slide(element, pages)
            elif name in _TRANSPARENT:
                self._blocks(element)
            elif name not in _GONE:
                self._shape(element)

    def _heading(self, element: etree._Element) -> None:
        level = attribute(element, "outline-level") or "1"
        self._builder.heading(self._text(element), min(int(level), 9) if level.isdecimal() else 1)
        self._write_below()

    def _paragraph(self, element: etree._Element) -> None:
        text = self._text(element).strip()
        if text and self._title is None and attribute(element, "style-name") in self._titles:
            self._title = squeeze(text)
        self._builder.block(text)
        self._write_below()

    def _list(self, element: etree._Element, depth: int, style: str) -> None:
        style = attribute(element, "style-name") or style
        number = 0
        is_first = depth == 0
        for item in element:
            if local_name(item) not in ("list-item", "list-header"):
                continue
            number += 1
            label = f"{number}." if (style, depth + 1) in self._numbered else "-"
            for child in item:
                name = local_name(child)
                if name == "list":
                    self._list(child, depth + 1, style)
                elif name == "h":
                    self._heading(child)
                elif name == "p" and (text := self._text(child).strip()):
                    line = f"{'  ' * depth}{label} {text}" if label else text
                    self._builder.block(line) if is_first else self._builder.line(line)
                    is_first, label = False, ""
                    self._write_below()

    def _table(self, table: etree._Element, *, is_sheet: bool = False) -> None:
        rows = list(self._rows(table))
        self._has_sheets = self._has_sheets or is_sheet
        if is_sheet and any(any(row) for row in rows):
            self._builder.heading(attribute(table, "name") or "Sheet", 1)
        widest = max((sum(1 for cell in row if cell) for row in rows), default=0)
        if not is_sheet and (widest < 2 or any(len(cell) > _MAX_CELL_CHARS for row in rows for cell in row)):
            self._below.clear()
            self._cited.clear()
            for cell in (e for e in table.iter() if local_name(e) == "table-cell"):
                self._blocks(cell)
            return
        block: list[str] = []
        for line in (*tables.lines(rows), None):
            if line is None:
                self._builder.block("\n".join(block))
                block = []
            else:
                block.append(line)
        self._write_below()

    def _rows(self, table: etree._Element) -> Iterator[list[str]]:
        for row in table:
            name = local_name(row)
            if name in ("table-header-rows", "table-row-group", "table-rows"):
                yield from self._rows(row)
            elif name == "table-row":
                cells = [text for cell in row for text in self._cell(cell)]
                while cells and not cells[-1]:
                    cells.pop()
                repeated = _repeated(row, "number-rows-repeated") if cells else 1
                for _ in range(repeated):
                    yield cells

    def _cell(self, cell: etree._Element) -> Iterator[str]:
        if local_name(cell) not in ("table-cell", "covered-table-cell"):
            return
        texts = (squeeze(self._text(p)) for p in cell.iter() if local_name(p) in ("p", "h"))
        text = " ".join(text for text in texts if text)
        for _ in range(_repeated(cell, "number-columns-repeated")):
            yield text

    def _slide(self, slide: etree._Element, number: int) -> None:
        self._builder.page()
        self._has_slides = True
        titles = [frame for frame in slide if attribute(frame, "class") == "title"]
        title = squeeze(" ".join(self._text(p) for frame in titles for p in frame.iter() if local_name(p) == "p"))
        # A slide without a title must not stand under that of the slide before.
        has_words = any(self._text(p).strip() for p in slide.iter() if local_name(p) == "p")
        self._below.clear()
        self._cited.clear()
        self._builder.heading(title or (f"Slide {number}" if has_words else ""), 1)
        self._title = self._title or title or None
        for element in slide:
            if local_name(element) == "notes":
                self._notes(element)
            elif element not in titles and local_name(element) not in _GONE:
                self._shape(element)

    def _notes(self, notes: etree._Element) -> None:
        frames = [frame for frame in notes if attribute(frame, "class") == "notes"]
        text = "\n".join(self._text(p) for frame in frames for p in frame.iter() if local_name(p) == "p").strip()
        if text:
            self._builder.block(f"Notes: {text}")
        self._write_below()

    def _shape(self, shape: etree._Element) -> None:
        """What stands in a frame, a group of frames or a drawn form."""
        for element in shape:
            name = local_name(element)
            if name in ("p", "list", "table", "h"):
                self._blocks(shape)
                return
            if name in ("text-box", "frame", "g", "custom-shape", "rect", "ellipse", "a", "line", "connector"):
                self._shape(element)

    def _write_below(self) -> None:
        """Write the frames anchored in, and the notes cited by, what was just written."""
        frames, self._below = self._below, []
        for frame in frames:
            self._shape(frame)
        cited, self._cited = self._cited, []
        for note in cited:
            self._builder.block(note)

    def _text(self, element: etree._Element) -> str:
        return "".join(self._words(element))

    def _words(self, parent: etree._Element) -> Iterator[str]:
        yield parent.text or ""
        for element in parent:
            name = local_name(element)
            if name == "s":
                count = attribute(element, "c") or "1"
                yield " " * min(int(count) if count.isdecimal() else 1, _MAX_REPEATED)
            elif name == "tab":
                yield "\t"
            elif name == "line-break":
                yield "\n"
            elif name == "note":
                yield self._cite(element)
            elif name == "annotation":
                self._comment(element)
            elif name in ("frame", "g", "custom-shape", "rect", "text-box"):
                self._below.append(element)
            elif name not in ("ruby-text", "annotation-end", "tracked-changes"):
                yield from self._words(element)
            yield element.tail or ""

    def _cite(self, note: etree._Element) -> str:
        body = next((child for child in note if local_name(child) == "note-body"), None)
        text = squeeze(" ".join(self._text(p) for p in body)) if body is not None else ""
        if not text:
            return ""
        self._note_count += 1
        self._cited.append(f"[{self._note_count}] {text}")
        return f"[{self._note_count}]"

    def _comment(self, annotation: etree._Element) -> None:
        paragraphs = (p for p in annotation.iter() if local_name(p) == "p")
        text = squeeze(" ".join("".join(map(str, p.itertext())) for p in paragraphs))
        if text:
            self._cited.append(f"Comment: {text}")


def _repeated(element: etree._Element, name: str) -> int:
    """How often a cell or row stands there; sheets repeat empty ones a million times."""
    count = attribute(element, name) or "1"
    return min(max(int(count), 1), _MAX_REPEATED) if count.isdecimal() and len(count) < 10 else 1


def _numbered_lists(roots: Sequence[etree._Element]) -> set[tuple[str, int]]:
    """List styles and levels that show numbers."""
    found = set()
    for style in (e for root in roots for e in root.iter() if local_name(e) == "list-style"):
        for level in style:
            depth = attribute(level, "level") or ""
            if local_name(level) == "list-level-style-number" and attribute(level, "num-format") and depth.isdecimal():
                found.add((attribute(style, "name") or "", int(depth)))
    return found


def _title_styles(roots: Sequence[etree._Element]) -> set[str]:
    """Names of the style "Title" and of those derived from it."""
    found = {"Title"}
    for style in (e for root in roots for e in root.iter() if local_name(e) == "style"):
        if attribute(style, "parent-style-name") == "Title":
            found.add(attribute(style, "name") or "")
    return found


def _meta_title(roots: Sequence[etree._Element]) -> str | None:
    for root in roots:
        for meta in (e for e in root if local_name(e) == "meta"):
            for element in meta:
                if local_name(element) == "title":
                    return sensible_title(element.text)
    return None
