"""/health: without a key, for supervisors and load balancers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response

from drystone import __version__, checks
from drystone.api.schemas import CheckResult, Health, Live
from drystone.http.dependencies import ResourcesOf

router = APIRouter(prefix="/health", tags=["health"])

_UNAVAILABLE: dict[int | str, dict[str, Any]] = {503: {"description": "A required dependency is down", "model": Health}}


@router.get("/live", summary="Does the process run?")
async def live() -> Live:
    """Asks nobody: for the decision to restart this process."""
    return Live()


@router.get("/ready", summary="Can requests be served?", responses=_UNAVAILABLE)
async def ready(resources: ResourcesOf, response: Response) -> Health:
    """Asks every dependency, two seconds each at most; 503 when one is down that is required."""
    findings = await checks.readiness(resources)
    is_ok = all(finding.ok for finding in findings if finding.required)
    response.status_code = 200 if is_ok else 503
    return Health(
        status="ok" if is_ok else "unavailable",
        version=__version__,
        checks=[CheckResult(**asdict(finding)) for finding in findings],
    )


@router.get("", summary="The same, under the shorter name", responses=_UNAVAILABLE)
async def health(resources: ResourcesOf, response: Response) -> Health:
    """As /health/ready."""
    return await ready(resources, response)
