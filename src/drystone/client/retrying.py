"""When a call is made once more: one rule for everything that both clients send."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drystone.client.answers import check
from drystone.client.errors import STRANGER, ApiError, refusal, unreachable
from drystone.client.steps import Flow, Open, Pause, Send

if TYPE_CHECKING:
    import httpx

# Besides these whatever names a time by Retry-After: 409 and 507 where they pass by themselves.
_PASSING = frozenset((408, 429, 502, 503, 504))


@dataclass(frozen=True, slots=True)
class Retries:
    """How long a call is repeated, and how it waits in between.

    for_s: no try begins later than this after the first that failed; 0: nothing is repeated.
    first_s, longest_s: pauses are drawn between half of a span and all of it; the span doubles from first_s to longest_s.
    A server's Retry-After is waited for in full; where that is beyond for_s, the error is raised at once.
    """

    for_s: float = 60.0
    first_s: float = 0.25
    longest_s: float = 8.0

    def begin(self) -> Patience:
        return Patience(self)


class Patience:
    """What is left of it for one call."""

    def __init__(self, retries: Retries) -> None:
        self._retries, self._span_s = retries, retries.first_s
        self._deadline: float | None = None

    def pause_s(self, at_least_s: float | None = None) -> float | None:
        """How long to wait before the next try; None: there is none. Jitter keeps many clients from coming back at once."""
        now = time.monotonic()
        # Counted from the first failure: an upload that broke after minutes has its tries, too.
        self._deadline = self._deadline or now + self._retries.for_s
        span_s = min(self._span_s, self._retries.longest_s)
        self._span_s = span_s * 2
        pause_s = random.uniform(span_s / 2, span_s)  # noqa: S311  no secret
        if at_least_s is not None:
            pause_s = at_least_s + pause_s / 4
        return pause_s if now + pause_s <= self._deadline else None


def answered(step: Send | Open, retries: Retries, *, url: str) -> Flow[httpx.Response]:
    """The answer, once there is one that is a success and comes as what was asked for. Raises ApiError.

    What is not repeatable is repeated only where it was certainly not heard: no connection was made, or the rate was
    exceeded. A DELETE of what is gone, when an answer was lost before, has been done.
    """
    import httpx

    request, patience, is_lost = step.request, retries.begin(), False
    while True:
        cause: httpx.TransportError | None = None
        try:
            response: httpx.Response = yield step
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol):
            raise  # nothing that waiting mends: a key with a line end, say
        except httpx.TransportError as exc:
            cause = exc
            error: ApiError = unreachable(url, exc)
            is_unheard = isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            may_pass, is_lost = True, is_lost or not is_unheard
        else:
            if response.is_success:
                check(response, request.answer)
                return response
            error = refusal(response)
            if is_lost and request.method == "DELETE" and error.status == 404 and error.code != STRANGER:
                return response
            is_unheard = error.code == "rate.exceeded"
            may_pass = _may_pass(response.status_code, error)
            is_lost = is_lost or response.status_code in (502, 504)
        pause_s = patience.pause_s(error.retry_after_s) if may_pass and (request.is_repeatable or is_unheard) else None
        if pause_s is None:
            raise error from cause
        yield Pause(pause_s)


def _may_pass(status: int, error: ApiError) -> bool:
    return status in _PASSING or (status in (409, 507) and error.retry_after_s is not None)
