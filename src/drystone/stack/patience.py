"""How long a start may take: as long as it comes along. On a machine with much else to do that is as long as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

# Part of a processor that whoever starts uses at least, be the machine ever so busy; who only waits uses less.
WORKING_SHARE = 0.05
# Whatever it does, after so many times the quiet that is borne it goes round in circles.
LONGEST = 10.0
TELL_EVERY_S = 30.0


class Patience:
    """Bears quiet_s without progress: another answer than before, or processor time used by what is waited for.

    longest: of quiet_s, in all; 1: so long and no longer. work_s: seconds of processor that it has used so far; None where
    nobody can tell. tell: what is waited for, now and then.
    """

    def __init__(
        self,
        quiet_s: float,
        *,
        longest: float = LONGEST,
        work_s: Callable[[], float] | None = None,
        tell: Callable[[str], None] = lambda text: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quiet_s = quiet_s
        self._longest = longest
        self._work_s = work_s
        self._tell = tell
        self._now = now
        self._began = self._moved = self._looked = self._told = now()
        self._answer: object = None
        self._worked = 0.0

    @property
    def waited_s(self) -> float:
        return self._now() - self._began

    def is_over(self, answer: object, *, what: str = "", quiet_s: float | None = None) -> bool:
        """Whether to give up, having been answered so. what: in words, for people. quiet_s: to be borne from now on."""
        now, borne_s = self._now(), self._quiet_s if quiet_s is None else quiet_s
        if answer != self._answer:
            self._answer, self._moved = answer, now
        if now - self._looked >= min(5.0, borne_s / 4):
            self._look(now, borne_s)
        if now - self._told >= TELL_EVERY_S:
            self._told = now
            quiet = f", nothing has moved for {now - self._moved:.0f} s" if now - self._moved >= TELL_EVERY_S else ""
            self._tell(f"Still waiting after {now - self._began:.0f} s: {what}{quiet}.")
        return now - self._moved > borne_s or now - self._began > self._longest * borne_s

    def _look(self, now: float, borne_s: float) -> None:
        """Progress is counted from the last one on: little by little is progress, too, only not next to nothing."""
        self._looked = now
        if self._work_s is None:
            return
        worked = self._work_s()
        # What a process that has ended had used is gone from the sum.
        self._worked = min(self._worked, worked)
        if worked - self._worked >= WORKING_SHARE * borne_s:
            self._worked, self._moved = worked, now
