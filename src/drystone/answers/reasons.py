"""Why a sentence is not borne by any passage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Reason = Literal["no_source", "number", "name", "negation", "opposite", "words"]
_SAID: dict[str, str] = {
    "no_source": "there is no passage",
    "number": "a number is not in the passages",
    "name": "a name is not in the passages",
    "negation": "the passages say it the other way round",
    "opposite": "the passages say the opposite",
    "words": "too little of it is in the passages",
}
_SHOWN_MISSING = 5


def explain(reason: str | None, missing: Sequence[str]) -> str:
    """Why, for people. reason: also one of a newer server. missing: what does not stand in the passages."""
    said = _SAID.get(reason or "", "not borne")
    more = ", …" if len(missing) > _SHOWN_MISSING else ""
    return said + (f": {', '.join(missing[:_SHOWN_MISSING])}{more}" if missing else "")
