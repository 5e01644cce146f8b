"""Web edges: parts of the paths that are asked, refused and measured in ways of their own.

Each edge says its ways in an `Edge`, and `web` puts them together. What stands before the routes looks them up by path here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fastapi import Request, Response
from starlette.types import Scope


@dataclass(frozen=True)
class Told:
    """An error as a caller is to be told of it. errors: pointer and detail of each field. more: what this error has beside."""

    status: int
    code: str
    message: str
    hint: str | None = None
    errors: Sequence[dict[str, Any]] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """The paths of one edge.

    mount: where its routers begin. under: which of the paths there are meant, where not all are.
    identify: raises DrystoneError unless the request shows who asks; called before anything of a body is taken. None: nobody
    is asked. tell: answers an error; None: as `problems` does. uploads: method and path, as routes write it, of those that
    receive a body by themselves, under limits of their own. form_bytes: of a form that is taken without a key. is_frank: tells everybody which methods its paths have.
    is_told_once: answers are to be kept nowhere. described_in: where one reads which paths and methods there are.
    """

    mount: str = ""
    under: str = ""
    identify: Callable[[Request], Awaitable[object]] | None = None
    tell: Callable[[Request, Told], Response] | None = None
    uploads: tuple[tuple[str, str], ...] = ()
    form_bytes: int = 0
    is_frank: bool = False
    is_told_once: bool = False
    described_in: str = "/openapi.json"

    @property
    def prefix(self) -> str:
        return self.mount + self.under

    def holds(self, path: str) -> bool:
        """Whether a path is of this edge."""
        return path == self.prefix or path.startswith(f"{self.prefix}/")

    def receives(self, method: str, path: str) -> bool:
        """Whether the route of this path takes its body by itself."""
        path = path.rstrip("/")
        return any(method == each and pattern.fullmatch(path) for each, pattern in self._patterns)

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        return [(method, pattern(self.prefix + path)) for method, path in self.uploads]


class Edges:
    """All edges of an application. What is of none of them has no ways of its own."""

    def __init__(self, edges: Sequence[Edge]) -> None:
        self._edges = sorted(edges, key=lambda edge: len(edge.prefix), reverse=True)
        self._rest = Edge()

    def at(self, path: str) -> Edge:
        """The edge of a path: that with the longest prefix."""
        return next((edge for edge in self._edges if edge.holds(path)), self._rest)


_NONE = Edges([])


def edge_of(scope: Scope) -> Edge:
    """The edge that a request is for. An application that says of no edges has none."""
    edges: Edges = getattr(scope["app"].state, "edges", _NONE)
    return edges.at(scope["path"])


def pattern(path: str) -> re.Pattern[str]:
    """What matches a path as routes write it: `{name}` is one part of it, `{name:path}` all that is left."""
    found = re.sub(r"\\\{\w+:path\\\}", ".+", re.escape(path))
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", found))
