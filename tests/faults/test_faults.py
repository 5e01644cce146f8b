"""Every fault of the contract's table, once, against a whole stack: nothing acknowledged is lost, twice, back or left over.

`just faults --cells 500 --seed N` draws many more of the same cells; see docs/dev/testing.md.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.faults import cells
from tests.faults.cells import Pace
from tests.faults.faults import FAULTS
from tests.faults.stack import GRACE_S, Site, is_gone, running, until

SEED = 4


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("faults") / "stack") as site:
        yield site


@pytest.fixture(scope="module")
def pace() -> Pace:
    return Pace()


@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", FAULTS)
async def test_after_a_fault_every_promise_is_kept(site: Site, pace: Pace, name: str) -> None:
    number = list(FAULTS).index(name)

    outcome = await cells.run(site, number, FAULTS[name], SEED * 1000 + number, pace, operations=16)

    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert outcome.ok, str(outcome)
    assert outcome.proof
    assert outcome.settled_s < cells.DEADLINE_S


def test_status_tells_of_a_restart(site: Site) -> None:
    def restarts() -> int:
        return int(site.stack.status()["redis"]["restarts"])

    before = restarts()
    os.kill(site.pid("redis"), signal.SIGKILL)

    until(lambda: restarts() == before + 1, "status to tell that Redis was started again")


async def test_when_the_grace_is_over_every_blob_is_whole_and_none_is_an_orphan(site: Site) -> None:
    deadline_s = 2.0 * GRACE_S

    verdict = await site.check_after(deadline_s)

    assert str(verdict) == "lost 0 · duplicated 0 · resurrected 0 · orphaned 0", verdict.violations


def test_doctor_says_so_too(site: Site) -> None:
    told = site.stack.run("doctor", "--data", "--hashes", "--json", check=False)

    said = json.loads(told.stdout)
    assert said["data"]["counts"] == {"lost": 0, "duplicated": 0, "resurrected": 0, "orphaned": 0}
    assert "data" in said["checks"]


async def test_doctor_names_what_is_wrong_and_ends_with_1(site: Site) -> None:
    row = (await site.ask("select v.id from versions v join documents d on d.current_version_id = v.id limit 1"))[0]
    await site.ask("update versions set attempt = attempt + 1 where id = $1", row["id"])

    told = site.stack.run("doctor", "--data", check=False)
    await site.ask("update versions set attempt = attempt - 1 where id = $1", row["id"])

    assert told.returncode == 1
    assert f"I2 duplicated: version {row['id']}" in told.stdout
    assert "data.duplicated" in told.stdout
    assert "lost 0 · duplicated 1 · resurrected 0 · orphaned 0" in told.stdout


def test_after_down_nothing_is_left_running(site: Site) -> None:
    before = site.everyone()

    site.stack.run("down")

    assert before
    assert [process for process in before if not is_gone(process.pid)] == []
