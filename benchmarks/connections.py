"""Calls over a connection each, by asyncio's streams: at hundreds a second the pool of an HTTP client would be what is measured."""

from __future__ import annotations

import asyncio
import uuid

from drystone.core.settings import Settings


class Connections:
    """Sends requests to a stack's API with its first key, and gives the status of each answer; 0: there was none in time."""

    def __init__(self, settings: Settings, *, timeout_s: float) -> None:
        self._api, self._timeout_s = settings.api, timeout_s

    async def post_json(self, path: str, body: bytes) -> int:
        return await self._post(path, "application/json", body)

    async def post_form(self, path: str, fields: dict[str, str], name: str, text: str) -> int:
        """Upload a text file of this name in a form."""
        boundary = uuid.uuid4().hex
        parts = [f'name="{field}"\r\n\r\n{value}' for field, value in fields.items()]
        parts.append(f'name="file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n{text}')
        body = "".join(f"--{boundary}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
        return await self._post(path, f"multipart/form-data; boundary={boundary}", f"{body}--{boundary}--\r\n".encode())

    async def _post(self, path: str, media_type: str, body: bytes) -> int:
        head = (
            f"POST /api/v1{path} HTTP/1.1\r\nHost: {self._api.host}\r\nConnection: close\r\n"
            f"Authorization: Bearer {self._api.key.get_secret_value()}\r\n"
            f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._ask(head.encode() + body)
        except (TimeoutError, OSError):
            return 0

    async def _ask(self, request: bytes) -> int:
        reader, writer = await asyncio.open_connection(self._api.host, self._api.port)
        try:
            writer.write(request)
            line = await reader.readline()
            await reader.read()
            return int(line.split()[1]) if line else 0
        finally:
            writer.close()
