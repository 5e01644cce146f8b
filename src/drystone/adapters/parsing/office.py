"""What Word and Excel files share: XML read without entities or network, names without namespaces, the title."""

from __future__ import annotations

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


def core_title(container: Container) -> str | None:
    """The title its author gave the file, if any."""
    if "docProps/core.xml" not in container:
        return None
    for element in parse_xml(container.read("docProps/core.xml")):
        if local_name(element) == "title":
            return sensible_title(element.text)
    return None
