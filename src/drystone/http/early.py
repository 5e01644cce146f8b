"""Answers that stand before the route has run to its end: 304, and what an idempotency key remembers."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response


class Early(Exception):
    """Ends a route with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def install(app: FastAPI) -> None:
    """Let routes and their dependencies raise Early."""
    app.add_exception_handler(Early, _answer)


async def _answer(_request: Request, exc: Exception) -> Response:
    assert isinstance(exc, Early)
    return exc.response
