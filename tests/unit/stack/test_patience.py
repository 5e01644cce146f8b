"""How long a start may take: while it comes along, and not for ever."""

from __future__ import annotations

from dataclasses import dataclass, field

from drystone.stack.patience import LONGEST, TELL_EVERY_S, Patience

QUIET_S = 100.0


@dataclass
class Start:
    """A start whose time and processor time are set by hand. told: what the user was told."""

    now: float = 1000.0
    worked: float = 50.0
    told: list[str] = field(default_factory=list)

    def patience(self, *, works: bool = True) -> Patience:
        return Patience(
            QUIET_S, work_s=(lambda: self.worked) if works else None, tell=self.told.append, now=lambda: self.now
        )

    def gives_up_after(self, patience: Patience, *, share: float = 0.0, answer: object = None) -> float | None:
        """Seconds until it is over, asked each second for longer than anything may take; share: of a processor used."""
        began = self.now
        while self.now - began < 2 * LONGEST * QUIET_S:
            self.now += 1
            self.worked += share
            if patience.is_over(answer, what="web does not answer"):
                return self.now - began
        return None


def test_where_nothing_moves_it_is_over_after_the_quiet_time() -> None:
    start = Start()

    # What it had used before the first look is progress once.
    assert start.gives_up_after(start.patience(works=False)) == QUIET_S + 1
    assert start.gives_up_after(start.patience()) == QUIET_S + 1 + 5


def test_who_works_is_waited_for_however_slowly_it_comes_along() -> None:
    start = Start()
    patience = start.patience()

    assert start.gives_up_after(patience, share=0.1) == LONGEST * QUIET_S + 1


def test_who_asks_for_no_longer_waits_no_longer() -> None:
    start = Start()
    patience = Patience(QUIET_S, longest=1, work_s=lambda: start.worked, now=lambda: start.now)

    assert start.gives_up_after(patience, share=1) == QUIET_S + 1


def test_next_to_nothing_is_no_work() -> None:
    start = Start(worked=0.0)

    given_up = start.gives_up_after(start.patience(), share=0.01)

    assert given_up is not None
    assert given_up <= 2 * QUIET_S


def test_another_answer_is_progress() -> None:
    start = Start()
    patience = start.patience(works=False)

    for answer in (None, 503, None, 503):
        start.now += QUIET_S
        assert not patience.is_over(answer)
    start.now += QUIET_S + 1
    assert patience.is_over(503)


def test_a_process_that_began_anew_is_not_behind_what_the_one_before_had_used() -> None:
    start = Start(worked=500.0)
    patience = start.patience()
    start.now += 6
    assert not patience.is_over(None)
    start.worked = 0.0
    start.now += 6
    assert not patience.is_over(None)
    start.now, start.worked = start.now + QUIET_S - 6, 10.0  # more than a twentieth of the quiet time

    assert not patience.is_over(None)
    start.now += QUIET_S
    assert not patience.is_over(None)


def test_what_is_waited_for_is_told_now_and_then_and_that_nothing_moves() -> None:
    start = Start()
    start.gives_up_after(start.patience(works=False))

    assert start.told == [
        f"Still waiting after {TELL_EVERY_S * n:.0f} s: web does not answer, nothing has moved for {TELL_EVERY_S * n:.0f} s."
        for n in (1, 2, 3)
    ]
