from __future__ import annotations

import threading
import time

from drystone.core.errors import DrystoneError
from drystone.stack.keeper import PAUSES_S, Keeper, RestartLimit
from drystone.stack.supervise import Died


def test_five_restarts_a_minute_are_granted_with_growing_pauses() -> None:
    limit = RestartLimit()

    assert [limit.next(now=float(second), stood=True) for second in range(6)] == [0.0, 0.25, 0.5, 1.0, 2.0, None]


def test_a_minute_later_they_are_forgotten() -> None:
    limit = RestartLimit()
    for second in range(5):
        limit.next(now=float(second), stood=True)

    assert limit.next(now=60.5, stood=True) is not None  # the one at 0 is older than a minute
    assert limit.next(now=60.6, stood=True) is None


def test_what_never_stood_is_given_up_however_long_each_try_takes() -> None:
    limit = RestartLimit()

    assert [limit.next(now=second * 100.0, stood=False) for second in range(6)][-2:] == [2.0, None]


class Falling:
    """Dies at every start, until `stands`."""

    name = "falling"

    def __init__(self) -> None:
        self.starts = 0
        self.stands = threading.Event()

    def start(self) -> None:
        self.starts += 1
        if not self.stands.is_set():
            raise Died("test.died", "falling fell")

    def wait_dead(self, stop: threading.Event) -> str | None:
        stop.wait()
        return None

    def was_asked(self) -> bool:
        return False


def keep(
    thing: Falling, stop: threading.Event, revive: threading.Event | None
) -> tuple[Keeper, list[str], list[DrystoneError]]:
    told: list[str] = []
    given_up: list[DrystoneError] = []
    keeper = Keeper(
        thing,
        stop,
        start_first=True,
        on_restart=lambda name, reason: told.append(reason),
        on_ready=lambda name: told.append("ready"),
        give_up=given_up.append,
        revive=revive,
        limit=RestartLimit([0.0] * len(PAUSES_S)),
    )
    keeper.start()
    return keeper, told, given_up


def test_what_falls_again_and_again_is_given_up_with_its_reason() -> None:
    thing = Falling()

    keeper, told, given_up = keep(thing, threading.Event(), None)
    keeper.join(timeout=20)

    assert thing.starts == len(PAUSES_S) + 1
    assert told == ["falling fell"] * len(PAUSES_S)
    assert [error.code for error in given_up] == ["stack.too_many_restarts"]
    assert "falling fell" in given_up[0].message


def test_with_reload_it_waits_for_a_change_instead() -> None:
    thing, stop, revive = Falling(), threading.Event(), threading.Event()
    keeper, told, given_up = keep(thing, stop, revive)
    while not any("Waiting for a change" in line for line in told):
        time.sleep(0.02)
        assert keeper.is_alive()

    thing.stands.set()
    revive.set()
    while "ready" not in told:
        time.sleep(0.02)
        assert keeper.is_alive()
    stop.set()
    keeper.join(timeout=5)

    assert given_up == []
