"""`Parser`: a document goes to a limited child process, its text comes back, or a page of it as pixels.

Each parser keeps one zygote (see `zygote.py`) and starts another when that one dies. What comes out of a child is
checked before it is believed: a child may have been taken over by the file it reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from drystone.adapters.parsing.containers import MAX_MEMBERS
from drystone.adapters.parsing.failures import failure, is_known
from drystone.adapters.parsing.formats import ARCHIVE, SUPPORTED
from drystone.adapters.parsing.parsed import MOST_PIXELS, Heading, Member, Parsed, Picture
from drystone.adapters.parsing.zygote import HEAD, MAX_MESSAGE_BYTES
from drystone.core import crash_points, measures, priority
from drystone.core.errors import DrystoneError, Unavailable

if TYPE_CHECKING:
    from drystone.core.settings import ParsingSettings

_PACKAGE = __name__.rpartition(".")[0]
# All tries of one document together may take this much longer than one: 75 s for the 60 s of one.
_ALL_TRIES = 1.25
# A library that fell over this late is not asked again by a later job: three tries must fit into those 75 s.
_LATE_SHARE = _ALL_TRIES / 3
# The zygote ends a child by itself; when it has not said so this much later, it is ended with the child.
_ZYGOTE_GRACE_S = 5.0
_MAX_HEAD_BYTES = 32 * 1024 * 1024
# A child that had this share of its memory in use when a library aborted it died of the limit.
_MEMORY_SHARE = 0.6
# A member comes over the pipe and is held in memory once.
MAX_MEMBER_BYTES = 100 * 1024 * 1024
# Of a passage that is marked on a page: what the zygote is told goes through a socket in one piece.
_MOST_MARKED = 10_000
_TAG = re.compile(r"[a-z]{2,3}")
_Ask = Callable[[int], Awaitable[tuple[dict[str, Any], bytes]]]
_ITS_OWN_TEXT = frozenset({"text/plain", "text/markdown", "text/csv"})
_ABORTS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGFPE)


class ParserDied(DrystoneError):
    """A child died of something that is no limit: a fault in a library, or a kill from outside. Counts as a poison try."""


class _ZygoteGone(Exception):
    """The zygote ended before it had started a child: nothing was tried yet."""


@dataclass(frozen=True)
class _End:
    """How a child ended, and what it said."""

    output: bytes
    is_too_long: bool
    signal: int | None = None
    exit_code: int | None = None
    timed_out: bool = False
    cpu_s: float = 0.0
    max_rss_bytes: int = 0


class Parser:
    """Reads documents, one at a time, each in a child process of its own. One per worker process.

    The zygote is started when first needed and ends with this process, however it ends.
    """

    def __init__(self, limits: ParsingSettings) -> None:
        self._limits = limits
        self._zygote: _Zygote | None = None
        self._turn = asyncio.Lock()

    def check_size(self, size_bytes: int, media_type: str) -> None:
        """Raise Invalid `document.text_too_large` when so many bytes of this type must be too much text, unread.

        A file that is its text takes at most four bytes for one byte of UTF-8: as UTF-32.
        """
        if media_type in _ITS_OWN_TEXT and size_bytes > self._limits.max_text_bytes * 4:
            raise failure("document.text_too_large")

    async def parse(self, body: bytes | BinaryIO, media_type: str) -> Parsed:
        """The text of a document of a media type in `SUPPORTED`. body: a file on disk where it is large.

        Raises Invalid when the file cannot be read, now or later: what is wrong with it, or the limit it met;
        ParserDied when a child died of something else; Unavailable when no child can be started.
        """
        if media_type == ARCHIVE:
            raise failure("document.no_text", "An archive has no text of its own; what is in it has.")
        async with self._turn:
            with measures.parser_run():
                return await self._parse(body, media_type)

    async def _parse(self, body: bytes | BinaryIO, media_type: str) -> Parsed:
        started = time.monotonic()
        deadline = started + self._limits.wall_s * _ALL_TRIES
        kind = SUPPORTED[media_type]
        with _as_file(body) as document:
            for reader in kind.readers:
                wall_s = max(0.0, min(float(self._limits.wall_s), deadline - time.monotonic()))
                end = await self._run(document, reader, shares_child=kind.shares_child, wall_s=wall_s)
                if end.signal not in _ABORTS or self._met_limit(end) or reader == kind.readers[-1]:
                    break
        is_late = time.monotonic() - started > self._limits.wall_s * _LATE_SHARE
        if end.signal in _ABORTS and is_late and not self._met_limit(end):
            raise failure("parse.crashed")
        return _parsed(*self._judge(end))

    @contextlib.asynccontextmanager
    async def archive(self, body: bytes | BinaryIO) -> AsyncIterator[Archive]:
        """A ZIP of documents, opened: its members, and the bytes of each for the asking.

        Raises like `parse`. Other documents are read between two questions.
        """
        with _as_file(body) as document:
            del body  # the file is the one copy that stays
            head, _ = await self._ask(document, None)
            yield Archive(tuple(_members(head)), functools.partial(self._ask, document))

    async def draw(self, body: bytes | BinaryIO, page: int, *, width: int, passage: str = "") -> Picture:
        """A page of a PDF, from 0, so many pixels wide; less where it would be too large. passage: what is marked on it.

        Raises like `parse`.
        """
        asked = {"page": page, "width": width, "passage": passage[:_MOST_MARKED]}
        wall_s = float(self._limits.wall_s)
        with _as_file(body) as document:
            async with self._turn:
                with measures.parser_run():
                    end = await self._run(document, "draw_pdf", shares_child=False, wall_s=wall_s, asked=asked)
                    return _picture(*self._judge(end, MOST_PIXELS * 3))

    async def aclose(self) -> None:
        """End the zygote and whatever it runs."""
        if self._zygote is not None:
            self._zygote.end()
            self._zygote = None

    async def _ask(self, document: int, member: int | None) -> tuple[dict[str, Any], bytes]:
        async with self._turn:
            wall_s = float(self._limits.wall_s)
            with measures.parser_run():
                end = await self._run(document, "read_zip", shares_child=False, wall_s=wall_s, asked=member)
                return self._judge(end, MAX_MEMBER_BYTES)

    async def _run(self, document: int, reader: str, *, shares_child: bool, wall_s: float, asked: Any = None) -> _End:
        request = {
            "reader": f"{_PACKAGE}.{reader}",
            "shares_child": shares_child,
            "asked": asked,
            "max_text_bytes": self._limits.max_text_bytes,
            "memory_bytes": self._limits.memory_bytes,
            "cpu_s": self._limits.cpu_s,
            "wall_s": wall_s,
        }
        max_bytes = (self._limits.max_text_bytes if asked is None else MAX_MEMBER_BYTES) + _MAX_HEAD_BYTES
        for _ in range(2):  # a zygote that was killed while idle costs nobody a try
            if self._zygote is not None and not self._zygote.is_alive:
                self._end_zygote()
            if self._zygote is None:
                self._zygote = _Zygote()
            try:
                async with asyncio.timeout(wall_s + _ZYGOTE_GRACE_S):
                    return await self._zygote.run(request, document, max_bytes)
            except _ZygoteGone:
                self._end_zygote()
            except TimeoutError:
                self._end_zygote()
                raise failure("parse.timeout") from None
            except BaseException:
                self._end_zygote()
                raise
        raise Unavailable("parse.unavailable", "No parser process can be started.", hint='see the log of "worker"')

    def _end_zygote(self) -> None:
        if self._zygote is not None:
            self._zygote.end()
        self._zygote = None

    def _met_limit(self, end: _End) -> str | None:
        if end.is_too_long:
            return "document.text_too_large"
        if end.timed_out or end.signal == signal.SIGALRM:
            return "parse.timeout"
        if end.signal == signal.SIGXCPU or (end.signal == signal.SIGKILL and end.cpu_s >= self._limits.cpu_s):
            return "parse.cpu_limit"
        if end.signal in _ABORTS and end.max_rss_bytes >= self._limits.memory_bytes * _MEMORY_SHARE:
            return "parse.memory_limit"
        return None

    def _judge(self, end: _End, max_bytes: int | None = None) -> tuple[dict[str, Any], bytes]:
        if code := self._met_limit(end):
            raise failure(code)
        if end.signal is not None or end.exit_code != 0:
            raise ParserDied(
                "parse.died",
                "The process that read the file died.",
                hint="it is tried again a few times; if that fails, save the file anew and upload that",
                signal=end.signal,
                exit_code=end.exit_code,
            )
        return _believe(end.output, max_bytes or self._limits.max_text_bytes)


class Archive:
    """An archive that is open: its members, and the bytes of one at a time."""

    def __init__(self, members: tuple[Member, ...], ask: _Ask) -> None:
        self.members = members
        self._ask = ask

    async def read(self, member: Member) -> bytes:
        """A member's bytes. Raises Invalid when it cannot be read after all, ParserDied when a child died of it."""
        _, body = await self._ask(member.index)
        return body


class _Zygote:
    """The parent's end of a zygote: its process and its control socket."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        self._unread = b""
        command = [sys.executable, "-I", "-m", f"{_PACKAGE}.zygote", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                [*_bubblewrap(), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={},
                cwd="/",
                start_new_session=True,
            )
        priority.share(self._process.pid)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def run(self, request: dict[str, Any], document: int, max_bytes: int) -> _End:
        """Have a child read the file with this descriptor. Raises _ZygoteGone when no child was started."""
        outcome, write_fd = os.pipe()
        try:
            try:
                message = json.dumps(request).encode() + b"\n"
                socket.send_fds(self._control, [message], [document, write_fd])
            except OSError as exc:
                raise _ZygoteGone from exc
            finally:
                os.close(write_fd)
            if await self._reply() is None:
                raise _ZygoteGone
            crash_points.reach("mid_parse", forker=self._process.pid)
            output, is_too_long = await _drain(outcome, max_bytes)
        finally:
            os.close(outcome)
        if is_too_long:
            self.end()
            return _End(b"", is_too_long=True)
        reply = await self._reply()
        if reply is None:
            self.end()
            return _End(b"", is_too_long=False, signal=signal.SIGKILL)
        return _End(output, is_too_long=False, **reply)

    def end(self) -> None:
        """Kill the zygote and its child, and wait for it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._control.close()
        self._process.wait()

    async def _reply(self) -> dict[str, Any] | None:
        """The next line the zygote says; None when it is gone."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._unread:
            try:
                part = await loop.sock_recv(self._control, MAX_MESSAGE_BYTES)
            except OSError:
                part = b""
            if not part:
                return None
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply


@contextlib.contextmanager
def _as_file(body: bytes | BinaryIO) -> Iterator[int]:
    """A descriptor of a nameless file with these bytes; that of the file where it is one."""
    if not isinstance(body, bytes):
        body.seek(0)
        yield body.fileno()
        return
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("document")
    else:
        fd, path = tempfile.mkstemp()
        os.unlink(path)  # noqa: PTH108
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(fd, view) :]
        yield fd
    finally:
        os.close(fd)


async def _drain(source: int, max_bytes: int) -> tuple[bytes, bool]:
    """Everything from a pipe until its end, and whether it was more than max_bytes (then reading stopped)."""
    os.set_blocking(source, False)
    parts: list[bytes] = []
    length = 0
    while True:
        try:
            part = os.read(source, 1 << 20)
        except BlockingIOError:
            await _readable(source)
            continue
        if not part:
            return b"".join(parts), False
        parts.append(part)
        length += len(part)
        if length > max_bytes:
            return b"", True


async def _readable(source: int) -> None:
    # A tenth of the cost of a pipe transport, which would be made for every document.
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(source, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(source)


def _believe(output: bytes, max_bytes: int) -> tuple[dict[str, Any], bytes]:
    """The head and the bytes a child told; ParserDied when it did not keep to the form."""
    try:
        if len(output) < HEAD.size:
            raise ValueError("no outcome")
        (head_length,) = HEAD.unpack_from(output)
        head = json.loads(output[HEAD.size : HEAD.size + head_length])
        if is_known(head.get("failure")):
            message = head.get("message")
            raise failure(head["failure"], str(message)[:300] if message else None, **_detail(head))
        if len(output) - HEAD.size - head_length > max_bytes:
            raise failure("document.text_too_large")
        if not isinstance(head, dict):
            raise TypeError("no head")
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _no_outcome() from exc
    return head, output[HEAD.size + head_length :]


def _no_outcome() -> ParserDied:
    return ParserDied("parse.died", "The process that read the file gave no proper outcome.")


def _detail(head: dict[str, Any]) -> dict[str, str]:
    return {"detail": str(head["detail"])[:300]} if head.get("detail") else {}


def _parsed(head: dict[str, Any], text: bytes) -> Parsed:
    try:
        return _parsed_of(head, text.decode())
    except (ValueError, KeyError, TypeError) as exc:
        raise _no_outcome() from exc


def _picture(head: dict[str, Any], pixels: bytes) -> Picture:
    """What a child drew, if it is what it says: so what is made of it cannot harm whoever looks at it."""
    width, height, marks = head.get("width"), head.get("height"), head.get("marks")
    are_numbers = all(type(each) is int and each >= 0 for each in (width, height, marks))
    if not are_numbers or not width or not height or width * height * 3 != len(pixels):
        raise _no_outcome()
    return Picture(int(width), int(height), pixels, int(marks or 0))


def _parsed_of(head: dict[str, Any], text: str) -> Parsed:
    headings = tuple(Heading(int(a), int(b), int(level), str(title)) for a, b, level, title in head["headings"])
    page_starts = tuple(int(start) for start in head["page_starts"])
    spots = [spot for h in headings for spot in (h.start, h.end)]
    if spots != sorted(spots) or list(page_starts) != sorted(page_starts):
        raise ValueError("offsets are not in order")
    if any(not 0 <= spot <= len(text) for spot in (*spots[:1], *spots[-1:], *page_starts[:1], *page_starts[-1:])):
        raise ValueError("offsets are outside the text")
    title, language = head["title"], head["language"]
    if language is not None and not (isinstance(language, str) and _TAG.fullmatch(language)):
        raise ValueError("the language is no tag")
    title = None if title is None else str(title)[:300]
    return Parsed(text, page_starts, headings, title, str(head["parser"])[:100], language, bool(head["has_slides"]))


def _members(head: dict[str, Any]) -> Iterator[Member]:
    try:
        told = head["members"]
        if len({member["path"] for member in told}) != len(told) or len(told) > MAX_MEMBERS:
            raise ValueError("members are not told once each")
        yield from [_member(member) for member in told]
    except (ValueError, KeyError, TypeError) as exc:
        raise _no_outcome() from exc


def _member(told: dict[str, Any]) -> Member:
    path, code, message = told["path"], told["refused"], told["message"]
    if not isinstance(path, str) or not path.isprintable() or not 0 < len(path.encode()) <= 4_000:
        raise ValueError("a path that cannot be shown")
    refused = None
    if code is not None:
        refused = failure(code, str(message)[:300] if message else None)
    elif int(told["size"]) > MAX_MEMBER_BYTES:
        refused = failure("document.too_large")
    return Member(int(told["index"]), path, int(told["size"]), bytes.fromhex(told["sha256"]), refused)


@functools.cache
def _bubblewrap() -> tuple[str, ...]:
    """The command that puts a program into namespaces of its own; empty where that does not work."""
    program = shutil.which("bwrap") if sys.platform == "linux" else None
    if program is None:
        return ()
    command = (program, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
    try:
        probe = subprocess.run(
            [*command, sys.executable, "-I", "-S", "-c", ""], capture_output=True, timeout=10, check=False, env={}
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if probe.returncode == 0 else ()
