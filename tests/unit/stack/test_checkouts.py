from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from drystone.core import settings
from drystone.stack import checkouts, dotenv


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def checkout(folder: Path) -> Path:
    folder.mkdir()
    assert dotenv.create(folder / ".env")
    return folder / ".env"


def ports_of(env_file: Path) -> set[int]:
    made = settings.parse(dotenv.parse(env_file.read_text()))
    s3 = made.s3.parts.port
    monitoring = {made.monitoring.worker_port, made.monitoring.prometheus_port, made.monitoring.grafana_port}
    servers = {made.database.parts.port, made.redis.parts.port, *range(s3, s3 + 9), s3 + 10_008}
    return {made.api.port, *monitoring, *servers}


def test_a_second_checkout_gets_other_ports_though_the_first_does_not_run(tmp_path: Path) -> None:
    first, second = checkout(tmp_path / "first"), checkout(tmp_path / "second with späces")

    assert len(ports_of(first)) == 16
    assert ports_of(first).isdisjoint(ports_of(second))
    assert checkouts.ports_of_others(second) == ports_of(first)


def test_added_lines_avoid_the_ports_of_others_too(tmp_path: Path) -> None:
    first = checkout(tmp_path / "first")
    mine = tmp_path / ".env"
    mine.write_text("LOG_LEVEL=DEBUG\n")

    dotenv.complete(mine, {})

    assert ports_of(mine).isdisjoint(ports_of(first))


def test_a_checkout_that_is_gone_is_forgotten(tmp_path: Path, state_folder: Path) -> None:
    checkout(tmp_path / "first").unlink()

    second = checkout(tmp_path / "second")

    assert (state_folder / "drystone" / "checkouts").read_text() == f"{second.resolve()}\n"


def test_without_a_place_to_remember_it_works_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    assert ports_of(checkout(tmp_path / "first"))


@pytest.mark.parametrize("line", ["nul \x00 byte", "/" + "a" * 5000, "/dev/zero", "not a path"])
def test_a_bad_line_in_the_list_stops_nobody(tmp_path: Path, state_folder: Path, line: str) -> None:
    first = checkout(tmp_path / "first")
    path = state_folder / "drystone" / "checkouts"
    path.write_text(f"{line}\n{path.read_text()}")

    assert ports_of(checkout(tmp_path / "second")).isdisjoint(ports_of(first))


def test_checkouts_made_at_once_get_different_ports(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(6)]
    with ThreadPoolExecutor(max_workers=6) as pool:
        made = [ports_of(each) for each in pool.map(checkout, folders)]

    assert len(set().union(*made)) == 6 * 16
