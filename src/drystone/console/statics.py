"""Styles, scripts and pictures. Their paths change with what they hold, so browsers may keep them for good."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

from drystone.core.errors import NotFound
from drystone.http.heads import WithHead

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False, tags=["console"], route_class=WithHead)


@cache
def _held() -> dict[str, bytes]:
    folder = files("drystone.console") / "static"
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.name.rpartition(".")[2] in _TYPES}


@cache
def path_of(name: str) -> str:
    """Where a file of this name is to be had. Raises KeyError for one that there is not."""
    return f"/static/{hashlib.sha256(_held()[name]).hexdigest()[:12]}/{name}"


@router.get("/static/{digest}/{name}")
async def get(digest: str, name: str) -> Response:
    """The file; under an old digest the one of now, which is then not kept."""
    if name not in _held():
        raise NotFound("request.no_such_path", f"There is no path /static/{digest}/{name}.")
    is_now = path_of(name) == f"/static/{digest}/{name}"
    kept = "public, max-age=31536000, immutable" if is_now else "no-cache"
    return Response(_held()[name], media_type=_TYPES[name.rpartition(".")[2]], headers={"Cache-Control": kept})


@router.get("/favicon.ico")
async def icon() -> Response:
    """What browsers ask for by themselves."""
    return Response(_held()["icon.svg"], media_type=_TYPES["svg"], headers={"Cache-Control": "public, max-age=86400"})
