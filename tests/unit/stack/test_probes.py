"""What web says of itself, as `up` tells it while it waits."""

from __future__ import annotations

import pytest
from tests.scripted import HANG_UP, Scripted, answer, as_json

from drystone.stack import probes

CHECKS = [
    {"name": "redis", "ok": True, "detail": "answers"},
    {"name": "worker", "ok": False, "detail": "No worker process is alive."},
]


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        (as_json({"status": "unavailable", "checks": CHECKS}, 503), 503, "No worker process is alive."),
        (as_json({"status": "ok", "checks": CHECKS[:1]}), 200, ""),
        (as_json({"checks": [{"ok": False}]}, 503), 503, ""),
        (as_json([1], 503), 503, ""),
        (answer(502, b"<html>"), 502, ""),
        (HANG_UP, None, ""),
    ],
)
def test_health_tells_what_is_not_well(said: bytes, status: int | None, why: str) -> None:
    with Scripted(said).running() as server:
        assert probes.health(f"{server.url}/health/ready", timeout_s=5.0) == (status, why)
