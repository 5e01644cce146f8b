"""The words of a form that lives in a PDF's XFA part and not on its pages."""

from __future__ import annotations

from collections.abc import Mapping

from drystone.adapters.parsing.normalising import squeeze
from drystone.adapters.parsing.office import local_name, parse_xml
from drystone.core.errors import Invalid


def texts(packets: Mapping[str, bytes]) -> list[str]:
    """Captions and fixed texts from the template, then the values that were filled in, as `name: value`."""
    lines: list[str] = []
    for name in ("template", "datasets"):
        data = packets.get(name, b"")
        if not data or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            continue
        try:
            root = parse_xml(data)
        except Invalid:
            continue
        for element in root.iter():
            if name == "template" and local_name(element) in ("text", "exData"):
                lines.append(squeeze("".join(element.itertext())))
            elif name == "datasets" and len(element) == 0 and (element.text or "").strip():
                lines.append(f"{local_name(element)}: {squeeze(element.text or '')}")
    return list(dict.fromkeys(line for line in lines if line))
