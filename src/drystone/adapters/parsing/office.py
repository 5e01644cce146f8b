"""What Office files share: XML read without entities or network, names without namespaces, relations, the title."""

from __future__ import annotations

import posixpath
from typing import NamedTuple

from lxml import etree

from drystone.adapters.parsing.containers import Container
from drystone.adapters.parsing.failures import failure
from drystone.adapters.parsing.titles import sensible_title


def parse_xml(data: bytes) -> etree._Element:
    """The root of a part. Raises `document.corrupt` when it is not well-formed."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as exc:
        if "depth" in str(exc):
            raise failure("document.too_nested") from exc
        raise failure("document.corrupt", detail=str(exc)[:300]) from exc
    if root is None:
        raise failure("document.corrupt")
    return root


def local_name(element: etree._Element) -> str:
    """An element's name without its namespace: transitional and strict files differ only in that."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: etree._Element, name: str) -> str | None:
    """An attribute by its name without namespace."""
    for key, value in element.attrib.items():
        if key == name or key.endswith("}" + name):
            return str(value)
    return None


class Relation(NamedTuple):
    """What a part refers to: target is a path within the file, kind the last word of its type."""

    id: str
    kind: str
    target: str


def relations(container: Container, part: str) -> list[Relation]:
    """What a part refers to within the file; `part` is empty for the file itself."""
    folder, name = posixpath.split(part)
    path = posixpath.join(folder, "_rels", f"{name}.rels")
    if path not in container:
        return []
    found = []
    for element in parse_xml(container.read(path)):
        target = attribute(element, "Target") or ""
        if attribute(element, "TargetMode") != "External":
            path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
            kind = (attribute(element, "Type") or "").rpartition("/")[2]
            found.append(Relation(attribute(element, "Id") or "", kind, path))
    return found


def main_part(container: Container, default: str, program: str) -> str:
    """The path of the document within the file. Raises `document.wrong_type` when it is another program's."""
    folder = posixpath.dirname(default) + "/"
    for relation in relations(container, ""):
        if relation.kind == "officeDocument" and relation.target in container:
            if relation.target.startswith(("word/", "xl/", "ppt/")) and not relation.target.startswith(folder):
                raise failure("document.wrong_type", f"The file is an Office document, but not of {program}.")
            return relation.target
    if default in container:
        return default
    raise failure("document.wrong_type", f"The file is an archive, but no document of {program}.")


def core_title(container: Container) -> str | None:
    """The title its author gave the file, if any."""
    if "docProps/core.xml" not in container:
        return None
    for element in parse_xml(container.read("docProps/core.xml")):
        if local_name(element) == "title":
            return sensible_title(element.text)
    return None
