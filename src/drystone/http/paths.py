"""Which methods a path has, whichever functions they are of."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute

from drystone.http.edges import pattern


class Paths:
    """All paths of the application: those written out, and those with parameters."""

    def __init__(self) -> None:
        self._written: dict[str, set[str]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], set[str]]] = {}

    def add(self, prefix: str, routers: Iterable[APIRouter]) -> None:
        """Note the routes of these routers."""
        for route in (each for router in routers for each in router.routes if isinstance(each, APIRoute)):
            path = prefix + route.path
            if "{" in path:
                self._patterns.setdefault(path, (pattern(path), set()))[1].update(route.methods or ())
            else:
                self._written.setdefault(path, set()).update(route.methods or ())

    def all(self) -> set[tuple[str, str]]:
        """Method and path, as routes write it, of every route."""
        found = [*self._written.items(), *((path, methods) for path, (_, methods) in self._patterns.items())]
        return {(method, path) for path, methods in found for method in methods}

    def methods(self, path: str) -> list[str]:
        """The methods of a path as it was asked for; what is written out goes before what has parameters."""
        found = self._written.get(path)
        found = found or next((methods for each, methods in self._patterns.values() if each.fullmatch(path)), None)
        return sorted(found or ())

    def refuses(self, method: str, path: str) -> bool:
        """Whether the path is written out, and not for this method: GET /jobs/retry asks for no job whose id is "retry"."""
        return path in self._written and method not in self._written[path]
