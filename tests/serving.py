"""An application of ours on a port of its own, for clients that speak HTTP and nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Its address, while a thread serves it as the Procfile does."""
    web = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", ws="none", http="drystone.http.connections:Protocol")
    )
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        thread = threading.Thread(target=web.run, kwargs={"sockets": [bound]})
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        web.should_exit = web.force_exit = True
        thread.join()
