"""The process that parses are forked from. It is small, has one thread and never touches a document itself.

For each request on its control socket it imports the reader's libraries once, forks, waits, kills what outlives its
time, and says how the child ended. The child reads the document from one descriptor and writes the outcome to another.
For readers written in Python alone one child serves many small documents, which spares them most of a fork's cost; any
other child serves one. End of file on the control socket ends everything.

Request, a line of JSON with two descriptors (document, outcome): {"reader", "shares_child", "asked", "max_text_bytes",
"memory_bytes", "cpu_s", "wall_s"}; asked: which member of an archive, null for the list of them; which page of a PDF is to be drawn, and how. Replies, a line each: {"pid"}, then {"signal", "exit_code", "timed_out", "cpu_s",
"max_rss_bytes"}. Outcome: four bytes length of a JSON head, the head, then the text in UTF-8, the member's bytes or the page's pixels.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, NamedTuple, NoReturn

from drystone.adapters.parsing import hardening, language
from drystone.adapters.parsing.parsed import Parsed
from drystone.core.errors import Invalid

MAX_MESSAGE_BYTES = 65_536
HEAD = struct.Struct("!I")
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
# A shared child ends after a document when it has used this much: the next one is to find its limits all but whole.
_SHARED_CPU_SHARE = 1 / 30
_SHARED_GROWTH_BYTES = 64 * 1024 * 1024
_READY, _LEAVING = b".", b"x"


class _Request(NamedTuple):
    order: dict[str, Any]
    document: int
    outcome: int

    def close(self) -> None:
        os.close(self.document)
        os.close(self.outcome)


class _Child(NamedTuple):
    pid: int
    channel: socket.socket


def main(control_fd: int) -> None:
    """Serve requests on the control socket until it closes."""
    control = socket.socket(fileno=control_fd)
    nowhere = os.open(os.devnull, os.O_RDWR)
    hardening.die_with_parent()
    hardening.give_up_rights()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the parent's to hear
    zygote = _Zygote(control, _wake_on_child_exit(), nowhere)
    while (request := _receive(control)) is not None:
        zygote.serve(request)


class _Zygote:
    def __init__(self, control: socket.socket, wake: int, nowhere: int) -> None:
        self._control = control
        self._wake = wake
        self._nowhere = nowhere
        self._shared: _Child | None = None

    def serve(self, request: _Request) -> None:
        """Have a child read a document, and tell how that went."""
        shares_child = bool(request.order["shares_child"])
        child = (self._hand_over(request) if shares_child else None) or self._fork(request)
        request.close()
        _send(self._control, {"pid": child.pid})
        end = self._wait(child, request.order["wall_s"])
        if end is None:
            self._shared = child
            end = {"exit_code": 0}
        else:
            child.channel.close()
        _send(self._control, end)

    def _hand_over(self, request: _Request) -> _Child | None:
        """Give the document to the child that serves many, if there is one."""
        child, self._shared = self._shared, None
        if child is not None:
            try:
                socket.send_fds(child.channel, [_line(request.order)], [request.document, request.outcome])
            except OSError:  # it was killed while idle
                child.channel.close()
                os.waitpid(child.pid, 0)
                return None
        return child

    def _fork(self, request: _Request) -> _Child:
        importlib.import_module(request.order["reader"])
        gc.freeze()  # the collector of a child need not touch, and so copy, what was here before
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            if self._shared is not None:
                self._shared.channel.close()
            self._become_child(request, theirs)
        theirs.close()
        return _Child(pid, ours)

    def _wait(self, child: _Child, wall_s: float) -> dict[str, Any] | None:
        """How the child ended; None when it is ready for another document.

        Kills it when its time is over; ends this process when the parent is gone.
        """
        deadline = time.monotonic() + wall_s
        timed_out = False
        watched = [self._control.fileno(), self._wake, child.channel.fileno()]
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                timed_out = True
                os.kill(child.pid, signal.SIGKILL)
                left_s = 5.0
            readable, _, _ = select.select(watched, [], [], left_s)
            if watched[0] in readable:  # nothing is ever sent while a child runs, so this is the parent's end
                os.kill(child.pid, signal.SIGKILL)
                os._exit(0)
            if self._wake in readable:
                os.read(self._wake, 4096)
            if len(watched) == 3 and watched[2] in readable:
                if _said(child.channel) == _READY:
                    return None
                del watched[2]
            ended, status, usage = os.wait4(child.pid, os.WNOHANG)
            if ended:
                return _end(status, usage, timed_out)

    def _become_child(self, request: _Request, channel: socket.socket) -> NoReturn:
        exit_code = 1
        try:
            hardening.die_with_parent()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            os.close(self._wake)
            os.dup2(self._nowhere, 2)  # native libraries print what they think of a file
            order = request.order
            hardening.limit_self(memory_bytes=order["memory_bytes"], cpu_s=order["cpu_s"])
            _serve_in_child(request, channel)
            exit_code = 0
        finally:
            os._exit(exit_code)


def _serve_in_child(first: _Request, channel: socket.socket) -> None:
    """Read one document, or one after the other where the reader allows it and little has been used up."""
    rss_before = _used_bytes()
    request: _Request | None = first
    while request is not None:
        hardening.limit_wall(request.order["wall_s"])
        _write(request.outcome, *_outcome(request.order, request.document))
        request.close()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        is_spent = (
            usage.ru_utime + usage.ru_stime > request.order["cpu_s"] * _SHARED_CPU_SHARE
            or _used_bytes() - rss_before > _SHARED_GROWTH_BYTES
        )
        if is_spent or not request.order["shares_child"]:
            channel.sendall(_LEAVING)
            return
        hardening.limit_wall(None)
        channel.sendall(_READY)
        request = _receive(channel)


def _receive(source: socket.socket) -> _Request | None:
    message: bytes = b""
    fds: list[int] = []
    while not message.endswith(b"\n"):
        part, new_fds, _, _ = socket.recv_fds(source, MAX_MESSAGE_BYTES, 2)
        if not part:
            return None
        message += part
        fds += new_fds
    document, outcome = fds
    return _Request(json.loads(message), document, outcome)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        control.sendall(_line(message))
    except OSError:
        os._exit(0)


def _said(channel: socket.socket) -> bytes:
    try:
        return channel.recv(1)
    except OSError:
        return b""


def _wake_on_child_exit() -> int:
    """A descriptor that becomes readable when a child ended."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return read_fd


def _end(status: int, usage: resource.struct_rusage, timed_out: bool) -> dict[str, Any]:
    return {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "timed_out": timed_out,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "max_rss_bytes": usage.ru_maxrss * _MAXRSS_UNIT,
    }


def _outcome(request: dict[str, Any], document: int) -> tuple[dict[str, Any], bytes]:
    """What to tell of the document: a head, and its text. Any fault of a reader means a damaged file."""
    try:
        reader = importlib.import_module(request["reader"])
        if hasattr(reader, "answer"):
            answer: tuple[dict[str, Any], bytes] = reader.answer(document, request["asked"])
            return answer
        parsed: Parsed = reader.read(_read(document), request["max_text_bytes"])
        head = {
            "page_starts": parsed.page_starts,
            "headings": [(h.start, h.end, h.level, h.title) for h in parsed.headings],
            "title": parsed.title,
            "parser": parsed.parser,
            "has_slides": parsed.has_slides,
            "language": language.detect(parsed.text) or language.declared(parsed.language),
        }
        return head, parsed.text.encode()
    except Invalid as exc:
        return {"failure": exc.code, "message": exc.message}, b""
    except MemoryError:
        return {"failure": "parse.memory_limit"}, b""
    except RecursionError:
        return {"failure": "document.too_nested"}, b""
    except Exception as exc:  # noqa: BLE001  an edge: whatever a library raises for a file is told as the file's fault
        # Libraries that run out of memory say so each in its own way, if at all.
        code = "parse.memory_limit" if _used_bytes() > request["memory_bytes"] // 2 else "document.corrupt"
        return {"failure": code, "detail": f"{type(exc).__name__}: {exc}"[:300]}, b""


def _used_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def _read(document: int) -> bytes:
    size = os.fstat(document).st_size
    parts = []
    position = 0
    while position < size and (part := os.pread(document, size - position, position)):
        parts.append(part)
        position += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _write(outcome: int, head: dict[str, Any], text: bytes) -> None:
    packed = json.dumps(head).encode()
    for data in (HEAD.pack(len(packed)) + packed, text):
        view = memoryview(data)
        while view:
            view = view[os.write(outcome, view) :]


if __name__ == "__main__":
    main(int(sys.argv[1]))
