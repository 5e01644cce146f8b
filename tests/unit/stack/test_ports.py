from __future__ import annotations

import pytest

from drystone.core.errors import Invalid
from drystone.stack import dotenv, ports


@pytest.mark.parametrize("said", ["10000-21350", "21350-32700"])
def test_ports_are_chosen_within_the_range_that_is_said(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ports.RANGE, said)
    low, high = (int(each) for each in said.split("-"))

    chosen = dotenv.choose_ports("random")

    used = {port + offset for example, port in chosen.items() for offset in dotenv.EXAMPLE_PORTS[example]}
    assert len(used) == 16
    assert all(low <= port < high for port in used)


@pytest.mark.parametrize("said", ["30000", "a-b", "30000-20000", "1-20000", "20000-70000", "10000-20000", "-5-3"])
def test_what_is_no_range_is_refused_with_what_one_is(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ports.RANGE, said)

    with pytest.raises(Invalid) as caught:
        dotenv.choose_ports("random")

    assert said in caught.value.message
    assert "LOWEST-HIGHEST" in (caught.value.hint or "")


def test_no_usual_port_is_given_to_a_stack_that_asks_for_others() -> None:
    usual = {port + offset for port, offsets in dotenv.EXAMPLE_PORTS.items() for offset in offsets}

    for _ in range(20):
        chosen = dotenv.choose_ports("random")
        assert usual.isdisjoint(
            port + offset for example, port in chosen.items() for offset in dotenv.EXAMPLE_PORTS[example]
        )


def test_the_last_port_that_can_be_chosen_is_found() -> None:
    last = ports.find((0,))
    others = set(range(ports.LOWEST, ports.HIGHEST)) - {last}

    assert ports.find((0,), taken=others) == last
    with pytest.raises(OSError, match="no 1 free ports"):
        ports.find((0,), taken=others | {last})
