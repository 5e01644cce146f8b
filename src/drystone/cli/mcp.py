"""`drystone mcp`: the protocol over standard input and output, for programs that start their servers themselves.

A relay to /mcp of the stack that runs: it knows no tool, and what may be done is up to the key. One message a line; nothing but
messages goes to standard output.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from drystone import __version__

if TYPE_CHECKING:
    import httpx

# Source of names and numbers: the protocol's specification of 2026-07-28, and JSON-RPC 2.0, section 5.1.
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_PLAIN = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_PARSE_ERROR, _INTERNAL_ERROR = -32700, -32603
_CONNECT_S, _ANSWER_S = 5.0, 300.0


def mcp(
    url: Annotated[
        str, typer.Option("--url", help="Of /mcp; without it that of the stack of this project.", show_default=False)
    ] = "",
) -> None:
    """Speak the Model Context Protocol over standard input and output, for the stack that runs."""
    from drystone.cli.client import whereabouts

    base, key = whereabouts()
    asyncio.run(relay(sys.stdin.buffer, sys.stdout.buffer, url or f"{base}/mcp", key))


async def relay(incoming: BinaryIO, outgoing: BinaryIO, url: str, key: str) -> None:
    """Send each line to `url`, and each answer back, until there are no more lines and all are answered."""
    import httpx

    headers = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "User-Agent": f"drystone-mcp/{__version__}",
    }
    timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
    # A proxy set for the internet has no way to this machine's own port.
    async with httpx.AsyncClient(headers=headers, timeout=timeout, trust_env=False) as http:
        await _Relay(http, url, outgoing).run(_lines(incoming))


def _lines(incoming: BinaryIO) -> asyncio.Queue[bytes | None]:
    """What comes line by line, then None. Read by a thread that nobody waits for when this process ends."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(RuntimeError):  # the loop has ended
            for line in incoming:
                loop.call_soon_threadsafe(queue.put_nowait, line)
            loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    return queue


class _Relay:
    """One conversation. version: of the protocol, once a handshake has settled it."""

    def __init__(self, http: httpx.AsyncClient, url: str, outgoing: BinaryIO) -> None:
        self._http = http
        self._url = url
        self._outgoing = outgoing
        self._version: str | None = None
        self._asked: dict[str, asyncio.Task[None]] = {}

    async def run(self, lines: asyncio.Queue[bytes | None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            while (line := await lines.get()) is not None:
                if not line.strip():
                    continue
                try:
                    message = json.loads(line)
                except (ValueError, RecursionError):
                    self._tell(None, _PARSE_ERROR, "That line is no JSON.")
                    continue
                if self._cancels(message):
                    continue
                task = tasks.create_task(self._pass_on(line, message))
                if (its_id := _id(message)) is not None:
                    self._asked[json.dumps(its_id)] = task
                if _method(message) == "initialize":
                    await task  # what comes after it is of the version that it settles

    def _cancels(self, message: Any) -> bool:
        """Whether the message only takes back one that is being answered: then nobody waits for that any more."""
        if _method(message) != "notifications/cancelled":
            return False
        params = message.get("params")
        task = self._asked.get(json.dumps(params.get("requestId"))) if isinstance(params, Mapping) else None
        if task is not None:
            task.cancel()
        return True

    async def _pass_on(self, line: bytes, message: Any) -> None:
        import httpx

        its_id = _id(message)
        try:
            answer = await self._http.post(self._url, content=line, headers=self._headers(message))
        except httpx.HTTPError as exc:
            hint = 'hint: run "drystone up"; "drystone status" shows what runs'
            if its_id is not None:
                self._tell(its_id, _INTERNAL_ERROR, f"{self._url} does not answer: {type(exc).__name__}.\n{hint}")
            return
        finally:
            self._asked.pop(json.dumps(its_id), None)
        if its_id is None:
            return
        try:
            said: Any = json.loads(answer.content)
        except ValueError:
            said = None
        if not isinstance(said, dict) or "jsonrpc" not in said:
            self._tell(its_id, _INTERNAL_ERROR, f"{self._url} answers {answer.status_code}, and not in this protocol.")
            return
        if _method(message) == "initialize":
            self._version = (said.get("result") or {}).get("protocolVersion")
        self._write(said if said.get("id") is not None else {**said, "id": its_id})

    def _headers(self, message: Any) -> dict[str, str]:
        """What the transport wants said beside the message."""
        params = message.get("params") if isinstance(message, Mapping) else None
        params = params if isinstance(params, Mapping) else {}
        meta, method = params.get("_meta"), _method(message)
        if isinstance(meta, Mapping) and isinstance(meta.get(_VERSION_KEY), str) and method is not None:
            headers = {"MCP-Protocol-Version": _field(meta[_VERSION_KEY]), "Mcp-Method": _field(method)}
            name = params.get(_NAMED.get(method, ""))
            return headers | ({"Mcp-Name": _field(name)} if isinstance(name, str) else {})
        if self._version is None or method == "initialize":
            return {}
        return {"MCP-Protocol-Version": self._version}

    def _tell(self, its_id: Any, code: int, said: str) -> None:
        self._write({"jsonrpc": "2.0", "id": its_id, "error": {"code": code, "message": said}})

    def _write(self, message: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError):  # whoever asked is gone: its end of the lines will come, too
            self._outgoing.write(json.dumps(message).encode() + b"\n")
            self._outgoing.flush()


def _method(message: Any) -> str | None:
    method = message.get("method") if isinstance(message, Mapping) else None
    return method if isinstance(method, str) else None


def _id(message: Any) -> str | int | None:
    """Under which an answer is expected; None: under none."""
    its_id = message.get("id") if isinstance(message, Mapping) and "method" in message else None
    return its_id if isinstance(its_id, str | int) else None


def _field(value: str) -> str:
    """As a header can hold it."""
    if _PLAIN.fullmatch(value) and not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    return f"=?base64?{base64.b64encode(value.encode(errors='replace')).decode()}?="
