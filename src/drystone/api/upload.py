"""Receives a multipart upload: counts while receiving, spools to disk above a megabyte, then hashes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any, BinaryIO
from uuid import UUID

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from drystone.core.errors import Invalid
from drystone.core.text import is_storable
from drystone.documents.receiving import Upload

_HEAD_BYTES = 8192
_MAX_DEPTH = 16
_CHARSET = re.compile(r"charset\s*=\s*\"?([^\";\s]*)", re.IGNORECASE)
# Boundaries, headers and the other fields of the form, beside the file itself.
_FORM_BYTES = 256 * 1024


@dataclass(frozen=True)
class Form:
    """The fields of the upload form."""

    upload: Upload
    collection: str | None
    external_id: str | None
    title: str | None
    attributes: dict[str, Any] | None
    batch_id: UUID | None


@asynccontextmanager
async def receive(request: Request, *, max_bytes: int) -> AsyncIterator[Form]:
    """The form as received; its spooled file is gone when the block ends.

    Raises Invalid: not multipart, no file, too large (while receiving, not after), attributes that are no JSON object.
    """
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "multipart/form-data":
        raise Invalid(
            "request.not_multipart",
            "An upload is a multipart form with a field named file.",
            hint="curl -F file=@report.pdf -F collection=default …",
            status=415,
        )
    charset = _CHARSET.search(parameters)
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise Invalid(
            "request.bad_multipart", "The form's fields must be in UTF-8.", hint="leave charset out", status=400
        )
    if int(request.headers.get("content-length") or 0) > max_bytes + _FORM_BYTES:
        raise _too_large(max_bytes)
    parser = MultiPartParser(
        request.headers,
        _counted(request.stream(), max_bytes + _FORM_BYTES, max_bytes),
        max_files=1,
        max_fields=10,
        max_part_size=128 * 1024,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, MultipartParseError, KeyError, UnicodeDecodeError) as exc:
        said = str(exc).rstrip(".")
        raise Invalid("request.bad_multipart", f"The form cannot be read: {said}.", status=400) from exc
    try:
        yield await _form_of(form, max_bytes)
    finally:
        await form.close()


async def _counted(stream: AsyncIterator[bytes], limit: int, max_bytes: int) -> AsyncGenerator[bytes]:
    received = 0
    async for part in stream:
        received += len(part)
        if received > limit:
            raise _too_large(max_bytes)
        yield part


async def _form_of(form: FormData, max_bytes: int) -> Form:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Invalid(
            "request.no_file",
            "The form has no field named file with a file in it.",
            hint="curl -F file=@report.pdf …",
            pointer="/file",
        )
    body = file.file
    size_bytes = body.seek(0, 2)
    if size_bytes > max_bytes:
        raise _too_large(max_bytes)
    body.seek(0)
    small = size_bytes < 1024 * 1024
    sha256 = _hash(body) if small else await asyncio.to_thread(_hash, body)
    body.seek(0)
    head = body.read(_HEAD_BYTES)
    body.seek(0)
    return Form(
        upload=Upload(
            body=body,
            head=head,
            size_bytes=size_bytes,
            sha256=sha256,
            name=_clean_name(file.filename),
            declared_type=file.content_type,
        ),
        collection=_text(form, "collection"),
        external_id=_text(form, "external_id"),
        title=_text(form, "title"),
        attributes=_attributes(_text(form, "attributes")),
        batch_id=_batch_id(_text(form, "batch")),
    )


def fingerprint(form: Form) -> bytes:
    """SHA-256 of what a form says, whatever its boundary was: its fields, and name, type and hash of its file."""
    said = {each.name: getattr(form, each.name) for each in fields(form) if each.name != "upload"}
    said["file"] = [form.upload.name, form.upload.declared_type, form.upload.sha256.hex()]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).digest()


def _hash(body: BinaryIO) -> bytes:
    sha256 = hashlib.sha256()
    while part := body.read(1024 * 1024):
        sha256.update(part)
    return sha256.digest()


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if isinstance(value, UploadFile):
        raise Invalid("request.field_is_file", f"The field {name} is text, not a file.", pointer=f"/{name}")
    if value is not None and not is_storable(value):
        raise Invalid("request.nul", f"The field {name} holds a NUL character.", pointer=f"/{name}")
    return value or None


def _batch_id(value: str | None) -> UUID | None:
    try:
        return None if value is None else UUID(value)
    except ValueError as exc:
        raise Invalid(
            "batch.bad_id", "The field batch is not an id.", hint="POST /api/v1/batches gives one", pointer="/batch"
        ) from exc


def _attributes(value: str | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        attributes = json.loads(value)
        plain = json.dumps(attributes, ensure_ascii=False, allow_nan=False)  # refuses NaN, and 1e400, which is infinite
    except (ValueError, RecursionError) as exc:
        raise _bad_attributes() from exc
    if not isinstance(attributes, dict) or not is_storable(plain) or "\\u0000" in plain:
        raise _bad_attributes()
    if _depth(attributes) > _MAX_DEPTH:
        raise Invalid(
            "document.attributes_too_deep",
            f"The attributes are nested more than {_MAX_DEPTH} levels deep.",
            hint="only values at the top can be filtered by",
            pointer="/attributes",
        )
    return attributes


def _depth(value: Any) -> int:
    """Levels of objects and lists."""
    deepest, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        deepest += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return deepest


def _bad_attributes() -> Invalid:
    return Invalid(
        "document.attributes_not_json",
        "The field attributes must be a JSON object.",
        hint='for example {"year": 2024, "author": "Ada"}',
        pointer="/attributes",
    )


def _clean_name(name: str | None) -> str | None:
    """The file's name for display: no folders, no control characters, at most 255 characters."""
    if not name:
        return None
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:255] or None


def _too_large(max_bytes: int) -> Invalid:
    return Invalid(
        "document.too_large",
        f"A file may have up to {max_bytes:,} bytes.",
        hint="split it, or raise MAX_UPLOAD_BYTES",
    )
