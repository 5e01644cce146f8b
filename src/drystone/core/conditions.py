"""Conditional requests (RFC 9110, section 13): what a caller says about the state it knows, and whether that still holds.

Entity tags are handled as they travel, quotes included: `"7"`, `W/"7"`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drystone.core.errors import Conflict, Invalid

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t]*(?:{_TAG})?)*[ \t]*")
_ANY = frozenset("*")


@dataclass(frozen=True)
class Condition:
    """If-Match and If-None-Match as given; None where one was not. `*` alone stands for whatever there is."""

    if_match: frozenset[str] | None = None
    if_none_match: frozenset[str] | None = None

    def check(self, tag: str | None) -> None:
        """Raise Conflict with status 412 unless a change may go on. tag: of what there is now; None: there is nothing."""
        if self.if_match is not None and not _matches(self.if_match, tag):
            raise _failed("It has changed since it was read." if tag else "It does not exist yet.", tag)
        if self.if_none_match is not None and _matches_weakly(self.if_none_match, tag):
            raise _failed("It exists already.", tag)

    def check_known(self, tag: str | None) -> None:
        """The same, and raise Conflict with status 428 unless the caller says which state it knows."""
        if self.if_match is None or self.if_match == _ANY:
            raise Conflict(
                "request.precondition_required",
                "This is done to a state that was looked at, and If-Match does not say to which.",
                hint="read it, and send the ETag of that answer as If-Match",
                status=428,
            )
        self.check(tag)

    def is_unchanged(self, tag: str) -> bool:
        """Whether the caller of a read has this state already. Raises as `check` does for If-Match."""
        Condition(self.if_match).check(tag)
        return self.if_none_match is not None and _matches_weakly(self.if_none_match, tag)


NO_CONDITION = Condition()


def parse(if_match: Sequence[str], if_none_match: Sequence[str]) -> Condition:
    """The condition of a request's header lines. Raises Invalid with status 400 for what are no entity tags."""
    return Condition(_tags("If-Match", if_match), _tags("If-None-Match", if_none_match))


def _tags(name: str, lines: Sequence[str]) -> frozenset[str] | None:
    if not lines:
        return None
    value = ", ".join(lines).strip()
    if value == "*":
        return _ANY
    if not _LIST.fullmatch(value):
        raise Invalid(
            "request.bad_etag",
            f"{name} holds no list of entity tags.",
            hint='send the ETag of an earlier answer with its quotes, as in "7", or *',
            status=400,
            pointer=name,
        )
    return frozenset(re.findall(_TAG, value))


def _matches(given: frozenset[str], tag: str | None) -> bool:
    """Strong comparison: a weak tag is never the same."""
    return tag is not None and (given == _ANY or (tag in given and not tag.startswith("W/")))


def _matches_weakly(given: frozenset[str], tag: str | None) -> bool:
    return tag is not None and (given == _ANY or tag.removeprefix("W/") in {each.removeprefix("W/") for each in given})


def _failed(what: str, tag: str | None) -> Conflict:
    return Conflict(
        "request.precondition_failed",
        what,
        hint="read it again, look at what has changed, and send the ETag of that answer"
        if tag
        else "leave If-Match out",
        status=412,
        etag=tag,
    )
