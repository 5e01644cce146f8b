"""A server in a thread that says what a test wrote, byte for byte, and keeps what it was asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


def answer(
    status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None, *, length: int | None = None
) -> bytes:
    """An answer. length: of the body, where it is to be another than it says; -1: none is said."""
    said = {"Content-Length": str(len(body) if length is None else length), "Connection": "close", **(headers or {})}
    if length == -1:
        del said["Content-Length"]
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in said.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def as_json(said: Any, status: int = 200, **headers: str) -> bytes:
    return answer(status, json.dumps(said).encode(), {"Content-Type": "application/json", **headers})


def problem(status: int, code: str, headers: Mapping[str, str] | None = None, **more: Any) -> bytes:
    """An error as the API tells it."""
    said = {
        "type": f"urn:drystone:problem:{code}",
        "title": "No",
        "status": status,
        "detail": "It is not.",
        "code": code,
    }
    body = json.dumps(said | {"request_id": "r1"} | more).encode()
    return answer(status, body, {"Content-Type": "application/problem+json", **(headers or {})})


HANG_UP, SILENCE = b"", b"silence"


class Scripted:
    """Answers each request by the next of `answers`; the last one stays. HANG_UP: closes without a word; SILENCE: waits until the other side goes."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[Asked] = []
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[Scripted]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            thread = threading.Thread(target=self._serve, args=(listening,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                listening.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                talk, _ = listening.accept()
            except OSError:
                return
            with talk, suppress(ConnectionError):
                self._talk(talk)

    def _talk(self, talk: socket.socket) -> None:
        with talk.makefile("rb") as lines:
            first = lines.readline().decode().split()
            if not first:
                return
            headers: dict[str, str] = {}
            while line := lines.readline().strip().decode():
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            self.asked.append(Asked(first[0], first[1], headers, _body(lines, headers)))
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if said == SILENCE:
            talk.recv(1)
        else:
            talk.sendall(said)


def _body(lines: Any, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return bytes(lines.read(int(headers.get("content-length", 0))))
    body = b""
    while size := int(lines.readline(), 16):
        body += lines.read(size)
        lines.readline()
    lines.readline()
    return body
