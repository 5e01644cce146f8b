"""The HTTP API as the command line calls it: answers as they came, errors as our own kinds.

Synchronous; one Client may be shared by threads. Knows the wire only: nothing of servers, settings files or terminals
beyond `open_client`, which reads address and key from the project's `.env`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal, cast
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx

from drystone import __version__
from drystone.cli import files
from drystone.cli.answers import (
    Answer,
    Change,
    Changed,
    Collection,
    DeletedDocuments,
    Document,
    Documents,
    DocumentState,
    Job,
    Jobs,
    Key,
    QueueState,
    Received,
    Version,
)
from drystone.core.errors import Conflict, Denied, DrystoneError, Invalid, NotFound, Unavailable

PAGE_LIMIT = 1000  # the most that the API gives at once

_AWAY = frozenset((502, 503, 504, 507))
_KINDS: Mapping[int, type[DrystoneError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    429: Denied,
} | dict.fromkeys(_AWAY, Unavailable)
# Where the API's own hint says what to send over HTTP, what to run instead.
_HINTS = {
    "collection.not_found": '"drystone collections" lists those there are; the first "drystone add" into a name makes it',
    "document.is_archive": '"drystone documents" lists them',
    "draft.not_found": '"drystone drafts list" lists those there are',
    "draft.stale": '"drystone drafts diff ID" shows both sides, "drystone drafts rebase ID" brings them together',
    "entity.not_found": '"drystone entities list" lists those there are',
    "entity.is_deleted": '"drystone entities restore KEY" brings it back',
    "module.not_found": '"drystone modules list" lists those there are',
    "module.is_deleted": '"drystone modules restore KEY" brings it back',
    "profile.not_found": '"drystone profiles list" lists those there are',
    "profile.is_deleted": '"drystone profiles restore KEY" brings it back',
    "job.not_found": '"drystone jobs" lists those there are',
    "job.superseded": '"drystone documents versions ID" shows the newest version',
    "request.invalid": "the command's --help tells what it takes",
    "quota.exceeded": 'the count starts anew at midnight UTC; an admin may raise it: "drystone keys limit PREFIX"',
}
_CONNECT_S, _ANSWER_S, _UPLOAD_S = 5.0, 60.0, 300.0
# A stream says something at least each 15 s.
_SILENCE_S = 40.0
_LONGEST_PAUSE_S = 10.0
# A model may think for as long as the server lets it.
_MODEL = httpx.Timeout(630.0, connect=_CONNECT_S)


class Client:
    """Calls the API at `url` with `key`.

    retry_s: for how long a call is repeated while the API or a server behind it is away (refused, cut off, 503); only
    for calls that may be sent twice. `stop` ends all waiting between tries.
    Raises our kinds: NotFound, Conflict, Invalid, Denied, Unavailable as the API told them; DrystoneError for its faults.
    """

    def __init__(self, url: str, key: str, *, retry_s: float = 0.0) -> None:
        self.url = url.rstrip("/")
        self.stop = threading.Event()
        self._retry_s = retry_s
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {key}", "User-Agent": f"drystone-cli/{__version__}"},
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            limits=httpx.Limits(max_connections=None),
            # A proxy set for the internet has no way to this machine's own port.
            trust_env=False,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def check(self) -> None:
        """One small call, never repeated: is the API there, and does it know the key?"""
        self._json(self._once(lambda: self._http.get("/documents", params={"limit": 1})))

    def upload(self, open_body: Callable[[], BinaryIO], *, name: str, fields: Mapping[str, str]) -> Received:
        """Send one file, read from disk as it goes. open_body: called for every try; its result is closed here.

        The type is left to the API, which looks at name and bytes: what this machine calls them differs from the next.
        """

        def send() -> httpx.Response:
            with open_body() as body:
                return self._http.post(
                    "/documents",
                    files={"file": (name, cast(BinaryIO, _Steady(body)), "application/octet-stream")},
                    data=dict(fields),
                    timeout=httpx.Timeout(_UPLOAD_S, connect=_CONNECT_S),
                )

        return cast(Received, self._json(self._patiently(send)))

    def document(self, document_id: str) -> Document:
        return cast(Document, self._get(f"/documents/{document_id}"))

    def documents(
        self,
        *,
        collection: str | None = None,
        state: DocumentState | None = None,
        schema: str | None = None,
        fits: bool | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int = PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Documents:
        """One page."""
        given = {
            "collection": collection,
            "state": state,
            "schema": schema,
            "fits": None if fits is None else json.dumps(fits),
            "filter": None if filter is None else json.dumps(filter),
            "limit": str(limit),
            "cursor": cursor,
        }
        return cast(Documents, self._get("/documents", **given))

    def set_attribute(self, document_id: str, name: str, value: str) -> None:
        """Set one attribute of a document; the others stay."""
        self.describe_document(document_id, {"attributes": {name: value}})

    def describe_document(self, document_id: str, patch: Mapping[str, Any]) -> Document:
        """Apply a merge patch to what is said of a document."""
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self._patiently(lambda: self._http.patch(f"/documents/{document_id}", json=patch, headers=headers))
        return cast(Document, self._json(answer))

    def document_pages(
        self, *, collection: str | None = None, state: DocumentState | None = None
    ) -> Iterator[list[Document]]:
        """Page after page, to the end."""
        cursor: str | None = None
        while True:
            page = self.documents(collection=collection, state=state, cursor=cursor)
            yield page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def versions(self, document_id: str) -> list[Version]:
        """All of a document, as the API gives them."""
        found: list[Version] = []
        cursor: str | None = None
        while True:
            page = self._get(f"/documents/{document_id}/versions", cursor=cursor)
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def restore_version(self, document_id: str, number: int) -> Received:
        """The old file as a new version."""
        return cast(Received, self._post(f"/documents/{document_id}/versions/{number}/restore", {}))

    def collections(self) -> list[Collection]:
        """All that the key may see, with counts."""
        return cast(list[Collection], self._get("/collections")["items"])

    def collection(self, name: str) -> Collection:
        return cast(Collection, self._get(f"/collections/{name}"))

    def text(self, document_id: str) -> str:
        """The extracted text that quotes and offsets refer to."""
        return self._patiently(lambda: self._http.get(f"/documents/{document_id}/text")).content.decode()

    def delete_documents(
        self, selection: Mapping[str, Any], *, dry_run: bool = False, expect: int | None = None
    ) -> DeletedDocuments:
        """selection: `ids`, or `collection` with `filter` and `state` if wanted. expect: delete none unless so many."""
        body = dict(selection) | {"dry_run": dry_run, "expect": expect}
        headers = {"Idempotency-Key": uuid4().hex}
        return cast(
            DeletedDocuments,
            self._json(self._patiently(lambda: self._http.post("/documents/delete", json=body, headers=headers))),
        )

    def search(self, body: Mapping[str, Any]) -> Answer:
        """body: as the API takes it (query, collection, mode, limit, filter)."""
        return cast(Answer, self._json(self._patiently(lambda: self._http.post("/search", json=dict(body)))))

    def ask(self, body: Mapping[str, Any]) -> Any:
        """The whole answer. body: as the API takes it (question, collections, mode)."""
        return self._json(self._once(lambda: self._http.post("/ask", json=dict(body), timeout=_MODEL)))

    def asked(self, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """The same as it comes: passages, sentence for each, done. Raises what an error in the stream says."""
        ended = False
        try:
            with self._http.stream("POST", "/ask", json={**body, "stream": True}, timeout=_MODEL) as response:
                if not response.is_success:
                    response.read()
                    raise self._refusal(response)
                for kind, data in _events(response.iter_text()):
                    ended = kind in ("done", "error")
                    if kind == "error":
                        raise _KINDS.get(data["status"], DrystoneError)(
                            data["code"], data["detail"], hint=data.get("hint")
                        )
                    yield kind, data
        except httpx.TransportError as exc:
            raise self._away(exc) from exc
        if not ended:
            raise Unavailable("api.away", "The answer broke off in the middle.", hint="ask again")

    def delete_collection(self, name: str) -> None:
        """With all documents in it."""
        self._patiently(lambda: self._http.delete(f"/collections/{quote(name, safe='')}"))

    def embedding(self, collection: str) -> Any:
        """The models of a collection."""
        return self._get(f"/collections/{quote(collection, safe='')}/embedding")

    def change_embedding(self, collection: str, step: str, body: Mapping[str, Any] | None = None) -> Any:
        """start, switch, rollback, finish or cancel a change of model, which is done once; or compare both."""
        path, headers = f"/collections/{quote(collection, safe='')}/embedding/{step}", {"Idempotency-Key": uuid4().hex}
        return self._json(
            self._patiently(lambda: self._http.post(path, json=None if body is None else dict(body), headers=headers))
        )

    def start_scrub(self, *, sample: int | None, repair: bool) -> Any:
        """The scrub as it begins."""
        return self._json(self._once(lambda: self._http.post("/scrubs", json={"sample": sample, "repair": repair})))

    def scrub(self, scrub_id: str) -> Any:
        return self._get(f"/scrubs/{scrub_id}")

    def limit_key(self, prefix: str, changes: Mapping[str, int | None]) -> Any:
        """Change what a key may upload in a day (documents_per_day, bytes_per_day; None: as the settings say).

        Gives both limits as they are now.
        """
        return self._json(self._once(lambda: self._http.put(f"{_key_path(prefix)}/limits", json=dict(changes))))

    def create_key(self, body: Mapping[str, Any]) -> Any:
        """The key with its secret, which is told this once: never repeated, for a repetition is not told it."""
        return self._post("/keys", body)

    def key_pages(self, *, ended: bool) -> Iterator[list[Key]]:
        """Page after page, to the end."""
        cursor: str | None = None
        while True:
            page = self._get("/keys", ended=str(ended).lower(), cursor=cursor)
            yield page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def key(self, prefix: str) -> Key:
        return cast(Key, self._get(_key_path(prefix)))

    def change_key(self, prefix: str, changes: Mapping[str, Any]) -> Any:
        return self._json(self._once(lambda: self._http.patch(_key_path(prefix), json=dict(changes))))

    def rotate_key(self, prefix: str, overlap_s: int) -> Any:
        """The key with its new secret, which is told this once."""
        return self._post(f"{_key_path(prefix)}/rotate", {"overlap_s": overlap_s})

    def revoke_key(self, prefix: str) -> None:
        self._patiently(lambda: self._http.delete(_key_path(prefix)))

    def audit_pages(self, query: Mapping[str, str | None]) -> Iterator[list[Change]]:
        """Page after page of changes, to the end."""
        cursor: str | None = None
        while True:
            page = self._get("/audit", **query, limit=str(PAGE_LIMIT), cursor=cursor)
            yield page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def add_observations(self, body: bytes, *, media_type: str, on_conflict: str, atomic: bool) -> Any:
        """What became of the rows of one bulk; sent again it changes nothing."""
        query = {"on_conflict": on_conflict, "atomic": str(atomic).lower()}
        headers, timeout = {"Content-Type": media_type}, httpx.Timeout(_UPLOAD_S, connect=_CONNECT_S)
        return self._json(
            self._patiently(
                lambda: self._http.post("/observations", content=body, params=query, headers=headers, timeout=timeout)
            )
        )

    def delete_observations(self, which: Mapping[str, str], *, dry_run: bool = False) -> Any:
        """which: entity, from, until and, if wanted, metric and source."""
        body, headers = {**which, "dry_run": dry_run}, {"Idempotency-Key": uuid4().hex}
        return self._json(self._patiently(lambda: self._http.post("/observations/delete", json=body, headers=headers)))

    def observations(self, path: str, query: Mapping[str, list[str]]) -> Any:
        """Series or observations, as the API gives them."""
        return self._json(self._patiently(lambda: self._http.get(path, params=dict(query))))

    def catalogue(self) -> Any:
        """The catalogue in a few numbers."""
        return self._get("/catalogue")

    def catalogued(self, many: str, path: str, *, as_of: str | None = None) -> Any:
        """One of entities, modules or profiles by key or id, or what stands below it."""
        key, slash, rest = path.partition("/")
        return self._get(f"/{many}/{self.quoted(key)}{slash}{rest}", as_of=as_of)

    def catalogue_pages(self, path: str, query: Mapping[str, str | None]) -> Iterator[list[Any]]:
        """Page after page of a list of the catalogue, to the end."""
        cursor: str | None = None
        while True:
            page = self._get(f"/{path}", **query, limit=str(PAGE_LIMIT), cursor=cursor)
            yield page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def catalogue_graph(self, *, form: str, entities: bool, profile: str | None, as_of: str | None) -> str:
        """Who depends on whom, as svg or mermaid."""
        query = {"format": form, "entities": "true" if entities else None, "profile": profile, "as_of": as_of}
        given = {name: value for name, value in query.items() if value is not None}
        return self._patiently(lambda: self._http.get("/catalogue/graph", params=given)).content.decode()

    def overview(self, key: str, query: Mapping[str, str | None]) -> Any:
        """What was said of an entity, what was measured, and where documents speak of it."""
        return self._get(f"/entities/{self.quoted(key)}/overview", **query)

    def mentions_status(self) -> Any:
        """Whether documents were looked through for the names of now."""
        return self._get("/catalogue/mentions")

    def document_entities(self, document_id: str, *, limit: int) -> Any:
        """Entities that a document mentions, most often first."""
        return self._get(f"/documents/{document_id}/entities", limit=str(limit))

    def profile_schema(self, key: str, *, form: str, as_of: str | None) -> Any:
        """What things of a profile look like: json-schema or openapi."""
        return self._get(f"/profiles/{self.quoted(key)}/schema", format=form, as_of=as_of)

    def catalogue_key(self, many: str, key: str) -> str:
        """A key, or that of the one of this id, deleted ones too."""
        try:
            UUID(key)
        except ValueError:
            return key
        return str(self._get(f"/{many}/{key}/versions", limit="1")["items"][0]["key"])

    def change_catalogue(self, changeset: Mapping[str, Any]) -> Any:
        """Apply a changeset, once however often it is sent."""
        headers = {"Idempotency-Key": uuid4().hex}
        return self._json(
            self._patiently(lambda: self._http.post("/catalogue/changes", json=dict(changeset), headers=headers))
        )

    def draft(self, draft_id: str, path: str = "") -> Any:
        """A draft, or what stands below it."""
        return self._get(f"/drafts/{self.quoted(draft_id)}{path}")

    def create_draft(self, body: Mapping[str, Any]) -> Any:
        """The draft with the token of its link, which is told this once: never repeated, for a repetition is not told it."""
        return self._post("/drafts", body)

    def put_into_draft(self, draft_id: str, change: Mapping[str, Any]) -> None:
        """Have a draft say this of one."""
        path = f"/drafts/{self.quoted(draft_id)}/changes/{change['kind']}/{self.quoted(change['key'])}"
        self._json(self._patiently(lambda: self._http.put(path, json=dict(change))))

    def drop_from_draft(self, draft_id: str, kind: str, key: str) -> None:
        """Have a draft say nothing of one any more."""
        path = f"/drafts/{self.quoted(draft_id)}/changes/{kind}/{self.quoted(key)}"
        self._once(lambda: self._http.delete(path))

    def do_to_draft(
        self, draft_id: str, verb: str, body: Mapping[str, Any] | None = None, *, revision: int | None = None
    ) -> Any:
        """Do one thing to a draft. revision: refused unless it is at this one still."""
        path = f"/drafts/{self.quoted(draft_id)}/{verb}"
        given = None if body is None else dict(body)
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        return self._json(self._once(lambda: self._http.post(path, json=given, headers=headers)))

    def delete_draft(self, draft_id: str) -> None:
        self._patiently(lambda: self._http.delete(f"/drafts/{self.quoted(draft_id)}"))

    @staticmethod
    def quoted(key: str) -> str:
        return quote(key, safe="")

    def job(self, job_id: str) -> Job:
        return cast(Job, self._get(f"/jobs/{job_id}"))

    def jobs(self, *, limit: int = PAGE_LIMIT, cursor: str | None = None, **filters: str | None) -> Jobs:
        """One page of the jobs that fit: state, kind, reason, collection, document, older_than, newer_than, ended_after."""
        return cast(Jobs, self._get("/jobs", limit=str(limit), cursor=cursor, **filters))

    def queue(self) -> QueueState:
        """How the queue stands and moves."""
        return cast(QueueState, self._get("/jobs/stats"))

    def retry_job(self, job_id: str, *, force: bool = False) -> Job:
        return cast(Job, self._post(f"/jobs/{job_id}/retry", {"force": force}))

    def cancel_job(self, job_id: str) -> Job:
        return cast(Job, self._post(f"/jobs/{job_id}/cancel", {}))

    def change_jobs(self, verb: Literal["retry", "cancel"], choice: Mapping[str, Any]) -> Changed:
        """Retry or cancel the jobs that fit: kind, reason, collection or all; a thousand at once."""
        return cast(Changed, self._post(f"/jobs/{verb}", choice))

    def create_batch(self, name: str) -> str:
        """The id of a new batch."""
        return str(self._post("/batches", {"name": name})["id"])

    @contextmanager
    def events(self, path: str, *, last_id: str | None) -> Iterator[Iterator[str]]:
        """The lines of a stream of events. Raises Unavailable where it cannot be had; TransportError when it breaks."""
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = httpx.Timeout(_SILENCE_S, connect=_CONNECT_S)
        with self._http.stream("GET", path, params={"follow": "true"}, headers=headers, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            yield response.iter_lines()

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._json(self._once(lambda: self._http.post(path, json=dict(body))))

    def _get(self, path: str, **params: str | None) -> Any:
        given = {name: value for name, value in params.items() if value is not None}
        return self._json(self._patiently(lambda: self._http.get(path, params=given)))

    def _patiently(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """Send until it is answered with something other than "away", for up to retry_s."""
        deadline = time.monotonic() + self._retry_s
        pause_s = 0.25
        while True:
            try:
                return self._once(send)
            except (Unavailable, Denied) as exc:
                if isinstance(exc, Denied) and exc.code != "rate.exceeded":
                    raise
                wait_s = min(float(exc.values.get("retry_after_s") or pause_s), _LONGEST_PAUSE_S)
                if time.monotonic() + wait_s > deadline or self.stop.wait(wait_s):
                    raise
                pause_s = min(pause_s * 2, 2.0)

    def _once(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        try:
            response = send()
        except httpx.TransportError as exc:
            raise self._away(exc) from exc
        if response.is_success:
            return response
        raise self._refusal(response)

    def _away(self, exc: httpx.TransportError) -> Unavailable:
        if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout):
            return Unavailable("api.away", f"The API does not answer at {self.url}.", hint='run "drystone up"')
        if isinstance(exc, httpx.TimeoutException):
            what = f"The API at {self.url} took too long to answer."
        else:
            what = f"The API at {self.url} cut the connection: {str(exc).rstrip('.') or type(exc).__name__}."
        return Unavailable("api.away", what, hint='"drystone status" and "drystone logs web" tell more')

    def _refusal(self, response: httpx.Response) -> DrystoneError:
        problem = _problem(response)
        if problem is None:
            return self._stranger(response)
        status = response.status_code
        kind = _KINDS.get(status, Invalid if status < 500 else DrystoneError)
        hint = problem.get("hint")
        if not hint or "/api/" in hint or "`errors`" in hint:
            hint = _HINTS.get(problem["code"], hint if "`errors`" not in (hint or "") else None)
        if status == 401:
            hint = (
                "set DRYSTONE_API_KEY in .env or in the shell to a key of this server; "
                'a first key that was changed in .env counts after "drystone down" and "drystone up"'
            )
        return kind(
            str(problem["code"]),
            _sentence(problem),
            hint=hint,
            status=status,
            request_id=problem.get("request_id"),
            errors=problem.get("errors"),
            retry_after_s=_seconds(response.headers.get("Retry-After")),
        )

    def _stranger(self, response: httpx.Response) -> Unavailable:
        return Unavailable(
            "api.stranger",
            f"What answers at {self.url} is not Drystone (HTTP {response.status_code}, "
            f"{response.headers.get('content-type', 'no content type')}).",
            hint="another program may hold the port: see API_HOST and API_PORT in .env",
        )

    def _json(self, response: httpx.Response) -> Any:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._stranger(response)
        return answer


class _Steady:
    """A file as long as it was when it was opened: what is appended meanwhile is not sent, and a loss is an error.

    The length stands in the request's head, so neither may show only at its end.
    """

    def __init__(self, body: BinaryIO) -> None:
        self._body = body
        self._size = body.seek(0, os.SEEK_END)
        body.seek(0)

    def read(self, size: int) -> bytes:
        left = self._size - self._body.tell()
        part = self._body.read(min(size, left))
        if left and not part:
            raise Invalid(
                "file.changed", "The file changed while it was being sent.", hint="send it again when it is complete"
            )
        return part

    def tell(self) -> int:
        return self._body.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._body.seek(self._size if whence == os.SEEK_END else offset)


def open_client(*, retry_s: float = 0.0) -> Client:
    """A client of the project's own API."""
    url, key = whereabouts()
    return Client(url, key, retry_s=retry_s)


def whereabouts() -> tuple[str, str]:
    """Address and key of the project's own API: where a running `up` says it listens, else by its `.env` and the shell."""
    from drystone.core.settings import load
    from drystone.stack import commands, project, root

    if os.environ.get("DRYSTONE_API_KEY") == "":
        raise Invalid(
            "api.empty_key",
            "DRYSTONE_API_KEY is set in the shell and empty: the key of .env, which may do everything, is not used in its place.",
            hint="set it to a key, or unset it",
        )
    folder = root.find()
    if "DRYSTONE_API_KEY" not in os.environ and not (folder / ".env").exists():
        raise Invalid(
            "stack.not_set_up", f"There is no stack in {folder} yet.", hint='run "drystone up --detach" first'
        )
    api = load(folder).api
    url = commands.running_url(project.open_project(folder)) or address(api.host, api.port)
    return url, api.key.get_secret_value()


def address(host: str, port: int) -> str:
    """Where to call a server that listens on `host`: "every interface" is none that can be called."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104  compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def upload_name(path: str | os.PathLike[str]) -> str:
    """The last part of a path as text."""
    return files.as_text(os.path.basename(path))  # noqa: PTH119  str in, str out


def _key_path(prefix: str) -> str:
    return f"/keys/{quote(prefix, safe='')}"


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    try:
        problem = json.loads(response.content)
    except ValueError:
        return None
    return problem if isinstance(problem, dict) and {"code", "detail"} <= problem.keys() else None


def _sentence(problem: Mapping[str, Any]) -> str:
    """What happened. Where the detail only names fields or attributes: with what is wrong with each, a line for each."""
    detail = str(problem["detail"]).replace(": `errors` tells each.", ".")
    errors = problem.get("errors") or []
    if problem["code"] == "document.does_not_fit":
        lines = [f"  {error['detail']} ({error['hint']})" for error in errors]
        return "\n".join((f"{detail.partition(': ')[0]}:", *lines))
    fields = [f"{error['pointer']}: {error['detail']}" for error in errors]
    if problem["code"] != "request.invalid" or not fields:
        return detail
    return "\n".join(("The request is not acceptable:", *(f"  {field}" for field in fields)))


def _seconds(retry_after: str | None) -> float | None:
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None


def _events(parts: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Kind and data of each event of a stream, whose lines end with line feeds only: its texts may hold other ends of lines."""
    kind, rest = "", ""
    for part in parts:
        *lines, rest = (rest + part).split("\n")
        for line in lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)
