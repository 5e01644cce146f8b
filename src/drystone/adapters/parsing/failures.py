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
        "The file is of another type than its name says.",
        "give it the right suffix and type, or save it in a supported format",
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
    "document.unsafe_xml": _Reason(
        "The file declares XML entities, which are never resolved.", "export it without a document type declaration"
    ),
    "document.nested_archive": _Reason(
        "The file is an archive within an archive, which is not opened.", "unpack it and upload what is in it"
    ),
    "document.unsafe_path": _Reason(
        "The file has a path that leads out of its archive.", "make the archive anew from within the folder"
    ),
    "document.no_file": _Reason(
        "It is a link or a device, not a file.", "put the file itself into the archive instead of a link to it"
    ),
    "document.empty": _Reason("The file is empty.", "send a file with content"),
    "document.too_large": _Reason("The file is larger than is accepted.", "split it, or raise MAX_UPLOAD_BYTES"),
    "document.unsupported_type": _Reason(
        "The file is of a type that cannot be read.", "save it in a supported format, or leave it where it is"
    ),
    "document.legacy_office": _Reason(
        "The file is in a binary format of old Office programs, which is not read.",
        "open it in the program that made it, or in LibreOffice, and save it as .docx, .xlsx or .pptx",
    ),
    "parse.crashed": _Reason(
        "Reading the file broke the program that reads it.", "open it in another program, save it anew and upload that"
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
