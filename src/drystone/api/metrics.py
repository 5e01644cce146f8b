"""/metrics: what this process counts and what the servers tell, for Prometheus."""

from __future__ import annotations

import asyncio
import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials

from drystone.core import measures
from drystone.http.dependencies import ResourcesOf, bearer, get_principal
from drystone.http.problems import responses
from drystone.readings import Readings

router = APIRouter(tags=["metrics"])


async def may_measure(
    request: Request,
    resources: ResourcesOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> None:
    """Let through METRICS_TOKEN, which asks no server for leave, or a key of an admin who is confined to no collection."""
    token = resources.settings.monitoring.token.get_secret_value().encode()
    given = credentials.credentials.encode(errors="surrogateescape") if credentials else b""
    if token and hmac.compare_digest(given, token):
        return
    (await get_principal(request, resources, credentials)).require_whole("admin")


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={**responses(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    dependencies=[Depends(may_measure)],
)
async def metrics(request: Request) -> Response:
    """Of this web process, and of the servers, in Prometheus' text format. Needs METRICS_TOKEN, or `admin` of everything."""
    readings: Readings = request.app.state.readings
    values = {**await readings.take(), **measures.build("web")}
    body, media_type = await asyncio.to_thread(measures.expose, values, accept=request.headers.get("accept", ""))
    return Response(body, media_type=media_type)
