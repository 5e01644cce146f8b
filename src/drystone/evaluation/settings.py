"""Settings of a search as they are told on a command line: `mode=lexical,filter={"type": …}`. Pure.

A key is a field of the API's search request, so a field that is new there needs nothing here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from drystone.core.errors import Invalid
from drystone.core.strict_json import DECODER

_OURS = ("query", "limit")
_HINT = """for example mode=lexical, or mode=hybrid,filter={"type":"gte","key":"year","value":1960}"""


def parse(text: str) -> dict[str, Any]:
    """`key=value[,key=value…]`; a value that is JSON counts as JSON, what is not goes to the next comma.

    Raises Invalid for anything else, and for what every evaluation sets itself.
    """
    found: dict[str, Any] = {}
    at = 0
    while at < len(text):
        key, equals, _ = text[at:].partition("=")
        name = key.strip()
        if not equals or not name.isidentifier():
            _refuse(f"{text!r} is not KEY=VALUE[,KEY=VALUE…].")
        if name in found:
            _refuse(f"{name} stands twice in {text!r}.")
        if name in _OURS:
            _refuse(f"{name} is set by the evaluation itself.")
        found[name], at = _value(text, at + len(key) + 1)
    if not found:
        _refuse("The settings are empty.")
    return found


def name(settings: Mapping[str, Any], *, collection: str) -> str:
    """A short name: the mode, then what else is set. collection: the one that needs no mention."""
    others = {
        key: value
        for key, value in settings.items()
        if key != "mode" and value is not None and (key, value) != ("collection", collection)
    }
    said = (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in others.items())
    return " ".join((str(settings.get("mode", "hybrid")), *said))


def _value(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where the next key begins."""
    try:
        value, end = DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        value, end = None, -1
    if end == len(text) or text[end : end + 1] == ",":
        return value, end + 1
    if text[at : at + 1] in ("{", "["):
        _refuse(f"What begins with {text[at : at + 20]!r} is no JSON.")
    end = text.find(",", at) if "," in text[at:] else len(text)
    return text[at:end].strip(), end + 1


def _refuse(what: str) -> NoReturn:
    raise Invalid("eval.bad_settings", what, hint=_HINT)
