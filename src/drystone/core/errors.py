"""The error tree. Five kinds; each edge tells them in its own words (HTTP status, exit code, job state).

DrystoneError
├── NotFound      the thing named does not exist, or not for this caller
├── Conflict      it exists already, or has changed since it was read
├── Invalid       the input cannot be accepted, now or later
├── Denied        the caller may not
└── Unavailable   a dependency is away; the same call may succeed later
"""

from __future__ import annotations

from typing import Any


class DrystoneError(Exception):
    """An error with a stable code, a sentence for people, and the values that matter.

    code: dotted and stable, `<noun>.<what>`; clients switch on it.
    message: one sentence: what happened.
    hint: what to do next, if that is known.
    """

    def __init__(self, code: str, message: str, *, hint: str | None = None, **values: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.values = values

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.code, self.message, self.hint, self.values)


def _rebuild(
    kind: type[DrystoneError], code: str, message: str, hint: str | None, values: dict[str, Any]
) -> DrystoneError:
    return kind(code, message, hint=hint, **values)


def pointer_to(*parts: str | int) -> str:
    """The JSON pointer of a place in a body, or of a field or parameter. Source: RFC 6901, section 3."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def path_of(pointer: str) -> tuple[str, ...]:
    """The parts of a JSON pointer. Source: RFC 6901, section 4."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


class NotFound(DrystoneError):
    """The thing named does not exist, or not for this caller."""


class Conflict(DrystoneError):
    """It exists already, or has changed since it was read."""


class Invalid(DrystoneError):
    """The input cannot be accepted, now or later. `pointer` in values names the field."""


class Denied(DrystoneError):
    """The caller may not."""


class Unavailable(DrystoneError):
    """A dependency is away; the same call may succeed later. `retry_after_s` in values, if known."""
