"""EPUB: the chapters in the order of the spine, each read like a page of HTML."""

from __future__ import annotations

import posixpath
import re
from typing import NamedTuple
from urllib.parse import unquote

from lxml import etree
from selectolax.lexbor import LexborHTMLParser

from drystone.adapters.parsing import read_html
from drystone.adapters.parsing.containers import Container
from drystone.adapters.parsing.decoding import decode
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.normalising import Builder, squeeze
from drystone.adapters.parsing.office import attribute, local_name, parse_xml
from drystone.adapters.parsing.parsed import Parsed

_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")
_HEADING = re.compile(r"<h[1-6]\b", re.IGNORECASE)


class _Item(NamedTuple):
    path: str
    media_type: str
    properties: tuple[str, ...]


def read(body: bytes, max_bytes: int) -> Parsed:
    """All chapters; one that has no heading of its own gets its title in the table of contents."""
    container = Container(body, allows_doctype=True)
    package_path = _package_path(container)
    package = parse_xml(container.read(package_path))
    items = _items(package, posixpath.dirname(package_path))
    chapters = [items[idref] for idref in _spine(package) if idref in items]
    _refuse_encrypted(container, {item.path for item in chapters})
    labels = _labels(container, items)
    builder = Builder(max_bytes)
    for item in chapters:
        if item.path in container and item.media_type in _PAGES and "nav" not in item.properties:
            _add_chapter(builder, container.read(item.path), labels.get(item.path))
    return builder.done("epub", _stated(package, "title") or builder.top_heading, language=_stated(package, "language"))


def _package_path(container: Container) -> str:
    if "META-INF/container.xml" in container:
        for element in parse_xml(container.read("META-INF/container.xml")).iter():
            path = attribute(element, "full-path") or ""
            if local_name(element) == "rootfile" and path in container:
                return path
    raise failure("document.wrong_type", "The file is an archive, but no EPUB book.")


def _items(package: etree._Element, folder: str) -> dict[str, _Item]:
    found = {}
    for element in package.iter():
        if local_name(element) == "item":
            found[attribute(element, "id") or ""] = _Item(
                _joined(folder, attribute(element, "href") or ""),
                (attribute(element, "media-type") or "").lower(),
                tuple((attribute(element, "properties") or "").split()),
            )
    return found


def _spine(package: etree._Element) -> list[str]:
    """Ids of the chapters, each once."""
    names = (attribute(e, "idref") or "" for e in package.iter() if local_name(e) == "itemref")
    return list(dict.fromkeys(names))


def _stated(package: etree._Element, name: str) -> str | None:
    return next((e.text for e in package.iter() if local_name(e) == name and (e.text or "").strip()), None)


def _refuse_encrypted(container: Container, chapters: set[str]) -> None:
    """Fonts may be obfuscated; a book whose chapters are encrypted is bound to a reader's device."""
    if "META-INF/encryption.xml" in container:
        for element in parse_xml(container.read("META-INF/encryption.xml")).iter():
            if local_name(element) == "CipherReference" and unquote(attribute(element, "URI") or "") in chapters:
                raise failure("document.encrypted", "The book is protected by its publisher (DRM).")


def _labels(container: Container, items: dict[str, _Item]) -> dict[str, str]:
    """What the table of contents calls each file; the first name of those that have several."""
    found: dict[str, str] = {}
    for item in items.values():
        if item.path not in container:
            continue
        folder = posixpath.dirname(item.path)
        if "nav" in item.properties:
            entries = _nav_entries(container.read(item.path))
        elif item.media_type == "application/x-dtbncx+xml":
            entries = _ncx_entries(container.read(item.path))
        else:
            continue
        for target, label in entries:
            found.setdefault(_joined(folder, target.partition("#")[0]), squeeze(label))
    return found


def _nav_entries(body: bytes) -> list[tuple[str, str]]:
    page = LexborHTMLParser(decode(body, read_html.declared_charset(body)))
    return [(link.attributes.get("href") or "", link.text()) for link in page.css("nav a[href]")]


def _ncx_entries(body: bytes) -> list[tuple[str, str]]:
    entries = []
    for point in (e for e in parse_xml(body).iter() if local_name(e) == "navPoint"):
        parts = {local_name(child): child for child in point}
        if "content" in parts and "navLabel" in parts:
            label = " ".join(text for text in map(str, parts["navLabel"].itertext()))
            entries.append((attribute(parts["content"], "src") or "", label))
    return entries


def _add_chapter(builder: Builder, body: bytes, label: str | None) -> None:
    source = decode(body, read_html.declared_charset(body))
    if label and not _HEADING.search(source):
        builder.heading(label, 1)
    read_html.add(builder, source)


def _joined(folder: str, href: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(href)))
