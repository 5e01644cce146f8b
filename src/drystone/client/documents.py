"""Documents: sent, waited for, read, described, deleted; their versions."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from drystone.client.answers import understood
from drystone.client.bodies import File, Source
from drystone.client.errors import DocumentFailed
from drystone.client.models import DeletedDocuments, Document, DocumentState, Filter, Received, Version
from drystone.client.operations import call, many
from drystone.client.room import Room, as_json, change, delete, given, matching, part
from drystone.client.steps import Flow, Many, Request

# The longest that the API waits with an answer (`Prefer: wait`).
_MOST_WAITED_S = 60
# Beyond what was waited for, an answer may take so long.
_ANSWER_S = 300.0


class Documents(Room):
    """Files that are made searchable."""

    @call
    def add(
        self,
        file: File | None = None,
        *,
        text: str | None = None,
        name: str | None = None,
        collection: str | None = None,
        external_id: str | None = None,
        title: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        schema: str | None = None,
        batch: str | UUID | None = None,
        only_new: bool = False,
        wait_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Received]:
        """Send a file: a path (str or Path), bytes, an open file; or text. Read from disk while it is sent.

        name: its file name; bytes need one. Under an external_id that is there already other bytes become a new version;
        only_new: Conflict instead. wait_s: come back when it is searchable; raises DocumentFailed, or StillPending.
        """
        fields = given(
            collection=collection,
            external_id=external_id,
            title=title,
            attributes=as_json(attributes),
            schema=schema,
            batch=None if batch is None else str(batch),
        )
        request = _upload("POST", "/documents", Source.of(file, text, name), fields, wait_s, idempotency_key)
        headers = {**request.headers, "If-None-Match": "*"} if only_new else request.headers
        return (yield from self._receive(_with_headers(request, headers), wait_s))

    @call
    def replace(
        self,
        document: str | UUID,
        file: File | None = None,
        *,
        text: str | None = None,
        name: str | None = None,
        title: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        schema: str | None = None,
        batch: str | UUID | None = None,
        if_match: str | None = None,
        wait_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Received]:
        """Give a document other bytes, as a new version. The one before serves until the new one is ready."""
        fields = given(
            title=title,
            attributes=as_json(attributes),
            schema=schema,
            batch=None if batch is None else str(batch),
        )
        path = f"/documents/{part(document)}/content"
        request = _upload("PUT", path, Source.of(file, text, name), fields, wait_s, idempotency_key)
        return (yield from self._receive(_with_headers(request, {**request.headers, **matching(if_match)}), wait_s))

    @call
    def wait(self, document: str | UUID, *, timeout_s: float = 600.0) -> Flow[Document]:
        """The document, once its newest version can be searched. Raises DocumentFailed; StillPending after timeout_s."""
        return (yield from self._wait(str(document), timeout_s))

    @call
    def get(self, document: str | UUID) -> Flow[Document]:
        """One by its id."""
        return (yield from self._get(f"/documents/{part(document)}", Document))

    @many
    def list(
        self,
        *,
        collection: str | None = None,
        state: DocumentState | None = None,
        external_id: str | None = None,
        archive: str | UUID | None = None,
        schema: str | None = None,
        fits: bool | None = None,
        filter: Filter | None = None,
        page: int | None = None,
    ) -> Many[Document]:
        """Those that fit all that is given, in the order they were made; page: how many are asked for at once."""
        yield from self._pages(
            "/documents",
            Document,
            page=page,
            collection=collection,
            state=state,
            external_id=external_id,
            archive=archive,
            schema=schema,
            fits=fits,
            filter=as_json(filter),
        )

    @call
    def update(
        self,
        document: str | UUID,
        patch: Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Document]:
        """Apply a merge patch (RFC 7396) to title, external_id, attributes, schema: what is left out stays, None removes."""
        path, body = f"/documents/{part(document)}", json.dumps(dict(patch)).encode()
        headers = {"Content-Type": "application/merge-patch+json"}
        request = change("PATCH", path, key=idempotency_key, if_match=if_match, content=body, headers=headers)
        return (yield from self._one(request, Document))

    @call
    def text(self, document: str | UUID, *, version: int | None = None) -> Flow[str]:
        """The extracted text that quotes and offsets refer to: of the version that serves, or of this one."""
        path = f"{_path(document, version)}/text"
        response = yield from self._send(Request("GET", path, is_repeatable=True, answer="text"))
        with understood(response):
            return response.content.decode()

    @call
    def content(self, document: str | UUID, *, version: int | None = None) -> Flow[bytes]:
        """The bytes as they were sent: of the newest version, or of this one."""
        path = f"{_path(document, version)}/content"
        response = yield from self._send(Request("GET", path, is_repeatable=True, answer="file"))
        return response.content

    @call
    def delete(self, document: str | UUID, *, if_match: str | None = None) -> Flow[None]:
        """Delete one with all its versions: out of search at once."""
        yield from self._send(delete(f"/documents/{part(document)}", if_match=if_match))

    @call
    def delete_many(
        self,
        *,
        ids: Sequence[str | UUID] | None = None,
        collection: str | None = None,
        filter: Filter | None = None,
        state: DocumentState | None = None,
        dry_run: bool = False,
        expect: int | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[DeletedDocuments]:
        """Delete those of ids, or of a collection that pass: all or none. expect: Conflict unless it is exactly so many."""
        body = given(
            ids=None if ids is None else [str(each) for each in ids],
            collection=collection,
            filter=filter,
            state=state,
            dry_run=dry_run,
            expect=expect,
        )
        request = change("POST", "/documents/delete", body, key=idempotency_key)
        return (yield from self._one(request, DeletedDocuments))

    @many
    def versions(self, document: str | UUID) -> Many[Version]:
        """All, newest first."""
        yield from self._pages(f"/documents/{part(document)}/versions", Version)

    @call
    def version(self, document: str | UUID, number: int) -> Flow[Version]:
        """One by its number."""
        return (yield from self._get(_path(document, number), Version))

    @call
    def restore(
        self,
        document: str | UUID,
        number: int,
        *,
        if_match: str | None = None,
        wait_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Received]:
        """Make a new version of the file of an old one."""
        request = change("POST", f"{_path(document, number)}/restore", key=idempotency_key, if_match=if_match)
        return (yield from self._receive(request, wait_s))

    def _receive(self, request: Request, wait_s: float | None) -> Flow[Received]:
        """What became of it, waited for where that is wanted: by the API as long as it does, then by asking."""
        began = time.monotonic()
        received = yield from self._one(request, Received)
        if wait_s is None:
            return received
        document = received.document
        if document.state == "pending":
            document = yield from self._wait(document.id, wait_s - (time.monotonic() - began))
        return received.model_copy(update={"document": _ready(document)})

    def _wait(self, document_id: str, timeout_s: float) -> Flow[Document]:
        document = yield from self._until("/documents", document_id, Document, _is_over, timeout_s=max(0.0, timeout_s))
        return _ready(document)


def _upload(
    method: str, path: str, source: Source, fields: Mapping[str, str], wait_s: float | None, key: str | None
) -> Request:
    headers, timeout_s = {"Idempotency-Key": key or uuid4().hex}, _ANSWER_S
    if wait_s and wait_s > 0:
        waited_s = math.ceil(min(wait_s, _MOST_WAITED_S))
        headers["Prefer"], timeout_s = f"wait={waited_s}", _ANSWER_S + waited_s
    return Request(
        method,
        path,
        file=source,
        fields=fields,
        headers=headers,
        is_repeatable=source.is_repeatable,
        timeout_s=timeout_s,
    )


def _with_headers(request: Request, headers: Mapping[str, str]) -> Request:
    return dataclasses.replace(request, headers=headers)


def _path(document: str | UUID, version: int | None) -> str:
    return f"/documents/{part(document)}" + ("" if version is None else f"/versions/{version}")


def _is_over(document: Document) -> bool:
    return document.state != "pending"


def _ready(document: Document) -> Document:
    if document.state == "failed":
        raise DocumentFailed(document)
    return document
