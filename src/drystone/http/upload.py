"""Receives an upload, as a form or as the body alone: counted, hashed and spooled while it comes.

Memory stays the same whatever the size. Who sends too slowly is told so; who leaves midway leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from drystone.core.errors import Invalid, Unavailable, pointer_to
from drystone.core.spool import Spool
from drystone.core.text import is_storable
from drystone.documents import describing
from drystone.documents.receiving import Upload
from drystone.resources import Resources

_CHARSET = re.compile(r"charset\s*=\s*\"?([^\";\s]*)", re.IGNORECASE)
# Boundaries, headers and the other fields of the form, beside the file itself.
FORM_BYTES = 256 * 1024
MOST_FIELDS, MOST_FIELD_BYTES = 10, 128 * 1024
# Uploads in progress in one process; each holds up to two megabytes of memory and one descriptor.
AT_ONCE = 128
# What forms escape of a file's name, by WHATWG's "multipart/form-data encoding algorithm". The percent sign is not among it:
# a name that holds %22 itself looks the same, and is kept as one with a quotation mark.
_ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}
# Who sends less than this on average, after the time for which one may send nothing, is cut off.
SLOWEST_BYTES_PER_S = 1000


@dataclass(frozen=True)
class Shape:
    """What a form may hold. file: the field with the file. others: all other fields. takes_alone: also a body that is the file
    alone, with these fields in the query and `name` beside them.
    """

    file: str
    others: tuple[str, ...]
    takes_alone: bool = False


OF_DOCUMENTS = Shape("file", ("collection", "external_id", "title", "attributes", "schema", "batch"), takes_alone=True)


@dataclass(frozen=True)
class Sent:
    """An upload, and those of its other fields that say anything."""

    upload: Upload
    texts: Mapping[str, str]

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of what a form says, whatever its boundary was: its fields, and name, type and hash of its file."""
        return _hashed(dict(self.texts), self.upload)


@dataclass(frozen=True)
class Form:
    """The fields of the form that documents are uploaded by."""

    upload: Upload
    collection: str | None
    external_id: str | None
    title: str | None
    attributes: dict[str, Any] | None
    schema: str | None
    batch_id: UUID | None


@asynccontextmanager
async def receive(request: Request, *, max_bytes: int) -> AsyncIterator[Form]:
    """The upload of a document as received; its spool is gone when the block ends.

    A multipart form with a field named file, or, where the query names the file (`?name=`), a body that is the file
    alone, its other fields in the query as well.
    Raises as `receive_sent` does, and Invalid for attributes that are no JSON object.
    """
    async with receive_sent(request, OF_DOCUMENTS, max_bytes=max_bytes) as sent:
        texts = sent.texts
        yield Form(
            upload=sent.upload,
            collection=texts.get("collection"),
            external_id=texts.get("external_id"),
            title=texts.get("title"),
            attributes=_attributes(texts.get("attributes")),
            schema=texts.get("schema"),
            batch_id=_batch_id(texts.get("batch")),
        )


@asynccontextmanager
async def receive_sent(request: Request, shape: Shape, *, max_bytes: int) -> AsyncIterator[Sent]:
    """An upload of this shape as received; its spool is gone when the block ends.

    Raises Invalid: no such form, an unknown field, too large or too slow (while receiving, not after); Unavailable: no room for
    it now; Denied: the key's quota is used up.
    """
    resources: Resources = request.app.state.resources
    is_form = _check_kind(request, shape)
    if (length := _content_length(request)) > max_bytes + FORM_BYTES:
        raise _too_large(max_bytes)
    await resources.admission.check(length, principal=getattr(request.state, "principal", None))
    with _one_more(request.app.state):
        spool = Spool(resources.admission.spool_folder)
        try:
            limit = max_bytes + FORM_BYTES if is_form else max_bytes
            body = _counted(unless_slow(request, resources.settings.receiving.idle_s), limit, max_bytes)
            form = await (_read_form(request, body, spool, shape) if is_form else _read_alone(request, body, spool))
            yield _sent(form, spool, shape, max_bytes)
        finally:
            spool.close()


def _check_kind(request: Request, shape: Shape) -> bool:
    """Whether it is a form. Raises Invalid when it is neither that nor a file alone, where one is taken."""
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != "multipart/form-data":
        if shape.takes_alone and "name" in request.query_params:
            return False
        if not shape.takes_alone:
            raise Invalid(
                "request.not_multipart",
                f"An upload is a multipart form with a field named {shape.file}.",
                hint=f"curl -F {shape.file}=@report.pdf …",
                status=415,
            )
        raise Invalid(
            "request.not_multipart",
            "An upload is a multipart form with a field named file, or the file alone with its name in the query.",
            hint="curl -F file=@report.pdf … or curl -T report.pdf '…/documents?name=report.pdf' -X POST",
            status=415,
        )
    charset = _CHARSET.search(parameters)
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise Invalid(
            "request.bad_multipart", "The form's fields must be in UTF-8.", hint="leave charset out", status=400
        )
    for name in request.query_params:
        raise Invalid(
            "request.not_in_query",
            f"The fields of a form stand in the form; {name} stands in the query.",
            hint=f"curl -F {name}=…",
            pointer=pointer_to(name),
        )
    return True


def _content_length(request: Request) -> int:
    """What the head says; 0 where it says nothing. What it says is never relied on: the bytes are counted."""
    try:
        return max(0, int(request.headers.get("content-length") or 0))
    except ValueError as exc:
        raise Invalid("request.bad_length", "The Content-Length is no number.", status=400) from exc


@contextmanager
def _one_more(state: Any) -> Iterator[None]:
    """Count an upload in progress. Raises Unavailable when there are too many in this process."""
    state.uploads = getattr(state, "uploads", 0) + 1
    try:
        if state.uploads > AT_ONCE:
            raise Unavailable(
                "uploads.too_many",
                f"{AT_ONCE} uploads are in progress here; no more are taken at once.",
                hint="send it again in a moment",
                retry_after_s=2,
            )
        yield
    finally:
        state.uploads -= 1


async def unless_slow(request: Request, idle_s: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Invalid for who sends nothing for so long, or too little, or leaves midway."""
    stream = aiter(request.stream())
    started, received = time.monotonic(), 0
    while True:
        try:
            async with asyncio.timeout(idle_s):
                part = await anext(stream, None)
        except TimeoutError as exc:
            raise _too_slow(f"nothing came for {idle_s:.0f} s") from exc
        except ClientDisconnect as exc:
            raise Invalid("request.cut_off", "The connection ended within the upload.", status=400) from exc
        if part is None:
            return
        received += len(part)
        took_s = time.monotonic() - started
        if took_s > idle_s and received / took_s < SLOWEST_BYTES_PER_S:
            raise _too_slow(f"{received:,} bytes in {took_s:.0f} s")
        yield part


async def _counted(stream: AsyncIterator[bytes], limit: int, max_bytes: int) -> AsyncGenerator[bytes]:
    received = 0
    async for part in stream:
        received += len(part)
        if received > limit:
            raise _too_large(max_bytes)
        yield part


class _SpooledFile(UploadFile):
    """The form's file: what is written to it goes into the spool."""

    def __init__(self, spool: Spool, filename: str | None, headers: Headers) -> None:
        super().__init__(spool.body, filename=filename, headers=headers)
        self._spool = spool

    async def write(self, data: bytes) -> None:
        await self._spool.write(data)

    async def seek(self, offset: int) -> None:
        """The parser's word for "this file is complete"."""


class _FormParser(MultiPartParser):
    """Starlette's parser, whose file goes into a spool instead of a file in the system's temporary folder."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes], spool: Spool, shape: Shape) -> None:
        super().__init__(headers, stream, max_files=1, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES)
        self._spool = spool
        self._known = (shape.file, *shape.others)

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.field_name not in self._known:
            raise Invalid(
                "request.unknown_field",
                f"There is no field {part.field_name} in this form.",
                hint=f"known: {', '.join(self._known)}",
                pointer=pointer_to(part.field_name),
            )
        if part.file is not None:
            part.file.file.close()
            part.file = _SpooledFile(self._spool, _unescaped(part.file.filename), part.file.headers)

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:  # Starlette would take what is no UTF-8 for Latin-1
            _decoded(part.field_name, bytes(part.data))
        super().on_part_end()


def _unescaped(name: str | None) -> str | None:
    """A file's name as it was before the form was made of it."""
    for escaped, character in _ESCAPED.items():
        name = name and name.replace(escaped, character)
    return name


async def _read_form(request: Request, body: AsyncGenerator[bytes], spool: Spool, shape: Shape) -> FormData:
    try:
        form = await _FormParser(request.headers, body, spool, shape).parse()
    except (MultiPartException, MultipartParseError, KeyError, UnicodeDecodeError) as exc:
        said = str(exc).rstrip(".")
        raise Invalid("request.bad_multipart", f"The form cannot be read: {said}.", status=400) from exc
    await spool.finish()
    return form


async def _read_alone(request: Request, body: AsyncGenerator[bytes], spool: Spool) -> FormData:
    """The body is the file. The query's fields stand where a form's would."""
    async for part in body:
        await spool.write(part)
    await spool.finish()
    query = request.scope["query_string"].decode("latin-1")
    said = [
        (name, _decoded(name, value.encode("latin-1")))
        for name, value in parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    ]
    headers = Headers({"content-type": request.headers.get("content-type", "")})
    return FormData([*said, ("file", _SpooledFile(spool, dict(said)["name"], headers))])


def _decoded(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise Invalid(
            "request.bad_encoding",
            f"The field {name} is not in UTF-8.",
            hint="send it in UTF-8",
            pointer=pointer_to(name),
        ) from exc


def _sent(form: FormData, spool: Spool, shape: Shape, max_bytes: int) -> Sent:
    file = form.get(shape.file)
    if not isinstance(file, UploadFile):
        raise Invalid(
            "request.no_file",
            f"The form has no field named {shape.file} with a file in it.",
            hint=f"curl -F {shape.file}=@report.pdf …",
            pointer=pointer_to(shape.file),
        )
    if spool.size_bytes > max_bytes:
        raise _too_large(max_bytes)
    upload = Upload(
        body=spool.body,
        head=spool.head,
        size_bytes=spool.size_bytes,
        sha256=spool.sha256,
        name=clean_name(file.filename),
        declared_type=file.content_type,
    )
    texts = {name: text for name in shape.others if (text := _text(form, name))}
    return Sent(upload, texts)


def fingerprint(form: Form) -> bytes:
    """SHA-256 of what a form says, whatever its boundary was: its fields, and name, type and hash of its file."""
    return _hashed({each.name: getattr(form, each.name) for each in fields(form) if each.name != "upload"}, form.upload)


def _hashed(said: dict[str, Any], upload: Upload) -> bytes:
    said["file"] = [upload.name, upload.declared_type, upload.sha256.hex()]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).digest()


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
    except (ValueError, RecursionError) as exc:
        raise _bad_attributes() from exc
    if attributes is None:
        raise _bad_attributes()
    return checked_attributes(attributes)


def checked_attributes(attributes: Any) -> dict[str, Any] | None:
    """The attributes, if they can be given back as they came; None stays None. Raises Invalid."""
    if attributes is None:
        return None
    if not isinstance(attributes, dict):
        raise _bad_attributes()
    describing.check_attributes(attributes)
    return attributes


def _bad_attributes() -> Invalid:
    return Invalid(
        "document.attributes_not_json",
        "The field attributes must be a JSON object.",
        hint='for example {"year": 2024, "author": "Ada"}',
        pointer="/attributes",
    )


def clean_name(name: str | None) -> str | None:
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


def _too_slow(what: str) -> Invalid:
    return Invalid(
        "request.too_slow",
        f"The upload came too slowly: {what}.",
        hint=f"send at least {SLOWEST_BYTES_PER_S} bytes a second, or send the file into the store directly (POST /api/v1/uploads)",
        status=408,
        headers={"Connection": "close"},
    )
