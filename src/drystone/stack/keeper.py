"""Starts again what dies, but not for ever: who falls six times within a minute, or six times without standing, lies."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from drystone.core.errors import DrystoneError, Unavailable
from drystone.stack.supervise import Died, Stopped

WINDOW_S = 60.0
PAUSES_S = (0.0, 0.25, 0.5, 1.0, 2.0)  # five restarts a minute


class RestartLimit:
    """Counts the restarts of the last minute, and all since it last stood.

    pauses_s: before the first, second, … of them; after the last there is no other.
    """

    def __init__(self, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._pauses_s = pauses_s
        self._times: deque[float] = deque()

    def next(self, now: float, *, stood: bool) -> float | None:
        """Seconds to wait before the next restart; None when there were too many.

        stood: whether it was ready before it died. What never gets that far may take half a minute for each try, and
        would try for ever if the minute alone counted.
        """
        while stood and self._times and now - self._times[0] > WINDOW_S:
            self._times.popleft()
        if len(self._times) >= len(self._pauses_s):
            return None
        self._times.append(now)
        return self._pauses_s[len(self._times) - 1]

    def forget(self) -> None:
        self._times.clear()


class Kept(Protocol):
    """What can be kept alive: a server, or honcho with web and worker."""

    name: str

    def start(self) -> None: ...

    def wait_dead(self, stop: threading.Event) -> str | None: ...

    def was_asked(self) -> bool:
        """Whether it ended because we wanted it to start anew: such an end is not counted. Tells it once."""
        ...


class Keeper(threading.Thread):
    """Keeps one thing alive until `stop` is set.

    on_restart gets the reason before, on_ready is called after each start. give_up gets the error when nothing helps.
    revive: when set by somebody, a thing that was given up gets another five tries; without it giving up is final.
    """

    def __init__(
        self,
        kept: Kept,
        stop: threading.Event,
        *,
        start_first: bool,
        on_restart: Callable[[str, str], None],
        on_ready: Callable[[str], None],
        give_up: Callable[[DrystoneError], None],
        revive: threading.Event | None = None,
        limit: RestartLimit | None = None,
    ) -> None:
        super().__init__(name=f"keeper-{kept.name}", daemon=True)
        self._kept = kept
        self._stop_event = stop
        self._must_start = start_first
        self._on_restart = on_restart
        self._on_ready = on_ready
        self._give_up = give_up
        self._revive = revive
        self._limit = limit or RestartLimit()

    def run(self) -> None:
        try:
            self._keep()
        except Stopped:
            return
        except DrystoneError as exc:
            self._give_up(exc)
        except Exception as exc:  # noqa: BLE001  the edge of a thread: untold, the stack would go on unwatched
            self._give_up(Unavailable("stack.keeper_failed", f"watching {self._kept.name} failed: {exc!r}"))

    def _keep(self) -> None:
        while not self._stop_event.is_set():
            stood = not self._must_start
            reason = self._start() if self._must_start else self._kept.wait_dead(self._stop_event)
            self._must_start = False
            if reason is None or self._stop_event.is_set():
                continue
            if not self._kept.was_asked():
                self._wait_before_restart(reason, stood=stood)
            self._must_start = True

    def _start(self) -> str | None:
        """Start it; how it died, if it did."""
        try:
            self._kept.start()
        except Died as exc:
            return exc.message
        self._on_ready(self._kept.name)
        return None

    def _wait_before_restart(self, reason: str, *, stood: bool) -> None:
        delay_s = self._limit.next(time.monotonic(), stood=stood)
        if delay_s is None:
            self._give_up_or_wait(reason)
            return
        self._on_restart(self._kept.name, reason)
        self._stop_event.wait(delay_s)

    def _give_up_or_wait(self, reason: str) -> None:
        error = Unavailable(
            "stack.too_many_restarts",
            f"{self._kept.name} died {len(PAUSES_S) + 1} times in a row; the last time: {reason}.",
            hint=f"see its log: drystone logs {'web worker' if self._kept.name == 'app' else self._kept.name};"
            " drystone doctor looks for the cause",
            service=self._kept.name,
        )
        if self._revive is None:
            raise error
        self._on_restart(self._kept.name, f"{error.message} Waiting for a change")
        self._revive.clear()
        while not self._revive.wait(0.1) and not self._stop_event.is_set():
            pass
        self._limit.forget()
