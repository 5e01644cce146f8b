"""Why a file cannot be read, in words its owner can act on.

The child names a failure by its code; only codes of this table are believed. Every one is final for these bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from drystone.core.errors import Invalid


class _Reason(NamedTuple):
    message: str
    hint: str


_REASONS: dict[str, _Reason] = {
    "document.no_text": _Reason(
        "The file holds no text.", "a scan or a drawing needs text recognition (OCR) before it can be searched"
    ),
    "document.encrypted": _Reason(
        "The file is protected by a password.", "save a copy without the password and upload that"
    ),
    "document.corrupt": _Reason(
        "The file is damaged or not what its name says.",
        "open it in the program that made it, save it again and upload that",
    ),
    "document.wrong_type": _Reason(
        "The file is of another type than its name says.", "give it the right suffix, or save it in a supported format"
    ),
    "document.text_too_large": _Reason(
        "The text of the file is larger than is accepted.", "split the file, or raise PARSE_MAX_TEXT_BYTES"
    ),
    "document.too_nested": _Reason(
        "The file nests its elements too deeply.", "a program made it so; export the text in another way"
    ),
    "document.unsafe_archive": _Reason(
        "The file is an archive that expands beyond what is accepted, or holds what an Office file never does.",
        "open it in the program that made it and save it again",
    ),
    "parse.timeout": _Reason("Reading the file took too long.", "split the file, or raise PARSE_WALL_S"),
    "parse.cpu_limit": _Reason(
        "Reading the file took more computing time than is allowed.", "split the file, or raise PARSE_CPU_S"
    ),
    "parse.memory_limit": _Reason(
        "Reading the file took more memory than is allowed.", "split the file, or raise PARSE_MEMORY_BYTES"
    ),
}


def is_known(code: object) -> bool:
    """Whether this is a code that a child may give."""
    return isinstance(code, str) and code in _REASONS


def failure(code: str, message: str | None = None, **values: Any) -> Invalid:
    """The error for a code of the table; `message` says it more exactly than the table does."""
    reason = _REASONS[code]
    return Invalid(code, message or reason.message, hint=reason.hint, **values)
