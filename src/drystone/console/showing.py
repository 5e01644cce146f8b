"""Numbers, times and states as people read them, and addresses of a page asked otherwise; filters and globals of the templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape
from starlette.requests import Request

# Unicode's controls of direction (UAX 9): embeddings and overrides; isolates, which end with a sign of their own.
_OVERRIDES = {code: f"⟨U+{code:04X}⟩" for code in range(0x202A, 0x202F)}
_ISOLATES, _END_OF_ISOLATE = ("\u2066", "\u2067", "\u2068"), "\u2069"
_UNITS = ("bytes", "KB", "MB", "GB", "TB")
_OFFICE, _OPEN = "application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument."
_TYPES: Mapping[str, str] = {
    "text/plain": "Text",
    "text/markdown": "Markdown",
    "text/html": "HTML",
    "text/csv": "CSV",
    "application/pdf": "PDF",
    f"{_OFFICE}wordprocessingml.document": "Word",
    f"{_OFFICE}spreadsheetml.sheet": "Excel",
    f"{_OFFICE}presentationml.presentation": "PowerPoint",
    f"{_OPEN}text": "OpenDocument text",
    f"{_OPEN}spreadsheet": "OpenDocument sheet",
    f"{_OPEN}presentation": "OpenDocument slides",
    f"{_OPEN}text-flat-xml": "OpenDocument",
    "application/epub+zip": "EPUB",
    "application/rtf": "RTF",
    "message/rfc822": "Mail",
    "application/json": "JSON",
    "application/x-ndjson": "JSON Lines",
    "application/xml": "XML",
    "application/zip": "ZIP",
}
# What a hint says of the API: a call beside what it is for, and words of whole clauses.
_CALL = re.compile(r"(, |: | \()(GET|POST|PUT|PATCH|DELETE) /api/[^\s;)]+\)?")
_FOR_PROGRAMS = ("/api/", "/openapi.json", "`errors`")
_SPANS = ((86400 * 365, "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute"))


def number(value: float) -> str:
    """1234567 as 1 234 567, with narrow spaces that do not break; a share with two places."""
    shown = f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
    return shown.replace(",", "\u202f")


def size(value: int) -> str:
    """Bytes in the largest unit that leaves a number of one or more; never broken between the two."""
    amount, unit = float(value), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{value}\u00a0bytes" if unit == 0 else f"{amount:.3g}\u00a0{_UNITS[unit]}"


def media_type(value: str) -> Markup:
    """A type of files as people call it, with the media type itself for who wants it."""
    return Markup('<span title="{}">{}</span>').format(value, _TYPES.get(value, value))


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for length, unit in _SPANS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:.0f} s"


def ago(at: datetime | None) -> Markup:
    """How long ago it was, with the moment itself for who wants it; a dash where there is none."""
    if at is None:
        return Markup("–")
    passed = (datetime.now(UTC) - at).total_seconds()
    said = "just now" if passed < 10 else f"{span(passed)} ago"
    exact = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(timespec="seconds"), exact.strftime("%Y-%m-%d %H:%M:%S UTC"), said
    )


def sentence(words: str) -> str:
    """A hint as a sentence of its own."""
    said = words[:1].upper() + words[1:]
    return said if said.endswith((".", "!", "?", ")", "}", "…")) else f"{said}."


def for_people(hint: str | None) -> str:
    """A hint without what only programs can follow; empty where nothing is left."""
    parts = _CALL.sub("", hint or "").split("; ")
    return "; ".join(part for part in parts if not any(each in part for each in _FOR_PROGRAMS))


def hint(words: str | None) -> str:
    """A hint for people as a sentence of its own; empty where nothing of it is for them."""
    left = for_people(words)
    return sentence(left) if left else ""


def with_query(request: Request, **changes: Any) -> str:
    """This page with other parameters, each of one value; None takes one out. The others keep all of theirs."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in changes]
    return _here(request, [*kept, *((name, str(value)) for name, value in changes.items() if value is not None)])


def with_value(request: Request, name: str, value: str) -> str:
    """This page with one more value of a parameter."""
    asked = request.query_params.multi_items()
    return _here(request, asked if (name, value) in asked else [*asked, (name, value)])


def without_value(request: Request, name: str, value: str) -> str:
    """This page without one of the values of a parameter."""
    return _here(request, [each for each in request.query_params.multi_items() if each != (name, value)])


def _here(request: Request, asked: Sequence[tuple[str, str]]) -> str:
    return request.url.path + (f"?{urlencode(asked)}" if asked else "")


def harmless(value: Any) -> Any:
    """A text that cannot change how what stands beside it is read: overrides of direction are told by their names, and an
    isolate that is left open ends with the text. Whatever is no plain text is as it was.
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isascii():
        return value
    shown = value.translate(_OVERRIDES)
    left = sum(shown.count(each) for each in _ISOLATES) - shown.count(_END_OF_ISOLATE)
    return shown + _END_OF_ISOLATE * left


def exact(value: str) -> Markup:
    """A text as it is, for the fields of a form: what is sent back must not differ."""
    return Markup(escape(value))  # noqa: S704  it is escaped


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "size": size,
    "media_type": media_type,
    "span": span,
    "ago": ago,
    "hint": hint,
    "sentence": sentence,
    "exact": exact,
}
ADDRESSES: dict[str, Callable[..., str]] = {
    "with_query": with_query,
    "with_value": with_value,
    "without_value": without_value,
}
