"""What a unit says, told by the host it is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drystone.stack import export
from drystone.stack.export import Site

NAMES = ("postgres", "redis", "objects", "migrate", "web", "worker")
HOME = Path("/srv/drystone")
SITE = Site(HOME, HOME / ".venv/bin/python", (HOME / ".drystone",), NAMES, "drystone", has_backoff=False)


def lines(site: Site, name: str) -> list[str]:
    return export.units(site)[f"drystone-{name}.service"].splitlines()


def test_postgres_is_asked_for_a_fast_shutdown_and_given_time() -> None:
    unit = lines(SITE, "postgres")

    assert {"KillMode=mixed", "KillSignal=SIGINT", "TimeoutStopSec=120", "User=drystone"} <= set(unit)


@pytest.mark.parametrize("name", ["postgres", "redis", "objects", "web", "worker"])
def test_what_dies_is_started_again_but_not_for_ever(name: str) -> None:
    assert {"Restart=always", "RestartSec=1", "StartLimitIntervalSec=60", "StartLimitBurst=6"} <= set(lines(SITE, name))


def test_the_pause_grows_where_systemd_knows_how() -> None:
    assert not [line for line in lines(SITE, "web") if line.startswith("RestartSteps")]
    assert {"RestartSteps=5", "RestartMaxDelaySec=15"} <= set(lines(replace(SITE, has_backoff=True), "web"))


def test_web_and_worker_wait_for_the_schema_and_survive_a_server() -> None:
    for name in ("web", "worker"):
        about = {key: value for key, _, value in (line.partition("=") for line in lines(SITE, name))}
        assert about["Requires"] == "drystone-migrate.service"
        assert about["Wants"] == "drystone-postgres.service drystone-redis.service drystone-objects.service"
        assert about["After"].endswith(f"{about['Wants']} drystone-migrate.service")


def test_only_the_worker_may_make_namespaces() -> None:
    assert "RestrictNamespaces=yes" not in lines(SITE, "worker")
    assert "RestrictNamespaces=yes" in lines(SITE, "web")


def test_a_project_below_tmp_gets_no_private_one() -> None:
    below = replace(SITE, writable=(Path("/tmp/data"),))

    assert "PrivateTmp=yes" in lines(SITE, "web")
    assert "PrivateTmp=yes" not in lines(below, "web")
    assert 'ReadWritePaths="/tmp/data" "/tmp" "/var/tmp"' in lines(below, "web")


def test_a_users_units_ask_for_nothing_that_takes_rights() -> None:
    for text in export.units(replace(SITE, run_as=None)).values():
        assert "User=" not in text
        assert "Protect" not in text
        assert "network" not in text
    assert "WantedBy=default.target" in export.units(replace(SITE, run_as=None))["drystone.target"]
