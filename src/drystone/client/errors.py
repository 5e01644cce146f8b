"""What may go wrong, as types.

ApiError
├── NotFound      404: the thing named does not exist, or not for this key
├── Conflict      409, 412, 428: it exists already, or has changed since it was read
├── Invalid       other 4xx: the request cannot be accepted, now or later; `problems` tell which field
├── Denied        401, 403: the key may not
├── TooMany       429: too often, or the day's quota is used up
├── Unavailable   502, 503, 504, 507, or no answer at all (`status` is None): the same call may succeed later
└── Broken        any other answer: a fault of the server, or something that is not Drystone
DocumentFailed    a document that was waited for cannot be made searchable
JobFailed         a job that was waited for has failed, or was cancelled
StillPending      it was waited for long enough
FileChanged       a file grew shorter while it was being sent
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drystone.client.models import FieldError, Problem

if TYPE_CHECKING:
    import httpx

    from drystone.client.models import Document, Job


STRANGER = "api.stranger"
_WHO = "is the url that of Drystone and of its version, or does a proxy before it answer by itself?"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field. pointer: a JSON pointer into the body, or of a parameter; more: whatever else was told."""

    pointer: str
    detail: str
    code: str | None = None
    hint: str | None = None
    more: Mapping[str, Any] | None = None


class ApiError(Exception):
    """The API refused, or did not answer.

    code: stable, such as `document.not_found`; programs switch on it.
    title, detail: what kind of thing happened, and what happened. hint: what to do next.
    status: None where there was no answer. request_id: as in the server's log.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        problems: tuple[FieldProblem, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.title = title
        self.detail = detail
        self.hint = hint
        self.status = status
        self.request_id = request_id
        self.problems = problems
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        lines = [f"{self.detail} ({self.code})"]
        lines += [f"  {each.pointer}: {each.detail}" for each in self.problems if each.detail != self.detail]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.detail), vars(self)


class NotFound(ApiError):
    """The thing named does not exist, or not for this key."""


class Conflict(ApiError):
    """It exists already, or has changed since it was read."""


class Invalid(ApiError):
    """The request cannot be accepted, now or later."""


class Denied(ApiError):
    """The key may not."""


class TooMany(ApiError):
    """Too often, or too much for a day."""


class Unavailable(ApiError):
    """The API or a server behind it is away; the same call may succeed later."""


class Broken(ApiError):
    """An answer that should not have come."""


class DocumentFailed(Exception):
    """A document that was waited for cannot be made searchable; `document.error` says why, and what to do."""

    def __init__(self, document: Document) -> None:
        self.document = document
        error = document.error
        super().__init__(error.message if error else f"The document {document.id} has failed.")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.document,), vars(self)


class JobFailed(Exception):
    """A job that was waited for has failed or was cancelled; `job.error` says why."""

    def __init__(self, job: Job) -> None:
        self.job = job
        super().__init__(job.error.message if job.error else f"The job {job.id} is {job.state}.")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.job,), vars(self)


class StillPending(TimeoutError):
    """It was waited for long enough; it goes on by itself, and may be waited for again.

    id: of the document, job or batch.
    """

    def __init__(self, id: str, message: str) -> None:
        self.id = id
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, str(self)), vars(self)


class FileChanged(OSError):
    """A file grew shorter while it was being sent; nothing of it is kept."""


# What reading something else than what was looked for fails with: pydantic's and json's errors are ValueErrors.
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

_KINDS: Mapping[int, type[ApiError]] = {
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    428: Conflict,
    429: TooMany,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: Unavailable,
}


def refusal(response: httpx.Response) -> ApiError:
    """What an answer says that is no success. Its body must have been read."""
    status, retry_after_s = response.status_code, _seconds(response.headers.get("Retry-After"))
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return stranger(response, retry_after_s)
    try:
        problem = Problem.model_validate_json(response.content)
    except UNREADABLE:
        return stranger(response, retry_after_s)
    return told(problem, status, response.headers.get("X-Request-ID"), retry_after_s)


def told(problem: Problem, status: int, request_id: str | None = None, retry_after_s: float | None = None) -> ApiError:
    """What a problem says, that of an answer or that which ends a stream."""
    kind = _KINDS.get(status, Invalid if 400 <= status < 500 else Broken)
    return kind(
        problem.code,
        problem.detail,
        title=problem.title,
        hint=problem.hint,
        status=status,
        request_id=problem.request_id or request_id,
        problems=tuple(_field(each) for each in problem.errors or ()),
        retry_after_s=retry_after_s,
    )


def unreachable(url: str, exc: httpx.TransportError) -> Unavailable:
    """No answer came."""
    import httpx

    if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout):
        detail = f"Nothing answers at {url}."
        hint = "is the stack up, and is DRYSTONE_URL, or the url that was given, its address?"
    elif isinstance(exc, httpx.TimeoutException):
        detail, hint = f"{url} took too long to answer.", "a larger timeout_s waits longer"
    else:
        detail, hint = f"{url} cut the connection: {str(exc).rstrip('.') or type(exc).__name__}.", None
    return Unavailable("api.away", detail, hint=hint)


def stranger(response: httpx.Response, retry_after_s: float | None = None) -> ApiError:
    """An answer that is not what the API says."""
    status = response.status_code
    kind = _KINDS.get(status, Broken)
    return kind(
        STRANGER,
        f"What answers at {response.request.url.copy_with(query=None)} does not speak as Drystone does (HTTP {status}, "
        f"{response.headers.get('content-type', 'no content type')}).",
        hint=_WHO,
        status=status,
        request_id=response.headers.get("X-Request-ID"),
        retry_after_s=retry_after_s,
    )


def undecodable(exc: httpx.RequestError) -> Broken:
    """An answer that nothing can be made of: compressed as it does not say, or sent from one address to the next."""
    said = str(exc).rstrip(".") or type(exc).__name__
    url = exc.request.url.copy_with(query=None)
    return Broken(STRANGER, f"What answers at {url} does not speak as Drystone does ({said}).", hint=_WHO)


def _field(told: FieldError) -> FieldProblem:
    return FieldProblem(told.pointer, told.detail, told.code, told.hint, told.model_extra or None)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds to wait: as a number, or until a date (RFC 9110, 10.2.3)."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
