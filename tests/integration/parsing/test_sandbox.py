"""Real child processes: what they give, what stops them, and what is left when something dies."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pypdf
import pytest

from drystone.adapters.parsing import PARSER_VERSION, SUPPORTED, Parsed, Parser, ParserDied, sandbox
from drystone.core.errors import Invalid
from drystone.core.settings import ParsingSettings

_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
# Some ten seconds of honest work: as large as a page may be, all of it small elements.
_T = TypeVar("_T")
_SLOW_PAGE = b"<p>a <b>dry</b> wall</p>" * 600_000


_OTHERS: set[psutil.Process] = set()


@pytest.fixture(autouse=True)
def _what_others_left_running() -> None:
    """Zygotes of the worker that other tests share are none of ours."""
    _OTHERS.clear()
    _OTHERS.update(psutil.Process().children(recursive=True))


@pytest.fixture
async def parser() -> AsyncIterator[Parser]:
    parser = Parser(ParsingSettings())
    yield parser
    await parser.aclose()


def _limits(**changed: int) -> ParsingSettings:
    return ParsingSettings.model_validate(changed)


def _descendants() -> list[psutil.Process]:
    """Zygotes and their children; not the bubblewrap around them."""
    ours = set(psutil.Process().children(recursive=True)) - _OTHERS
    below = [(process, _command(process)) for process in sorted(ours, key=lambda process: process.create_time())]
    return [
        p for p, command in below if any("parsing.zygote" in word for word in command) and "bwrap" not in command[0]
    ]


def _command(process: psutil.Process) -> list[str]:
    command: list[str] = []
    with contextlib.suppress(psutil.Error):
        command = process.cmdline()
    return command


def _zygotes() -> list[psutil.Process]:
    below = _descendants()
    return [process for process in below if process.ppid() not in {other.pid for other in below}]


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def _until(question: Callable[[], _T | None], timeout_s: float = 20) -> _T:
    """The first answer that is true; fails when none comes in time."""
    deadline = time.monotonic() + timeout_s
    while not (answer := question()):
        assert time.monotonic() < deadline, "what was waited for did not come"
        await asyncio.sleep(0.01)
    return answer


def _a_child() -> psutil.Process | None:
    """The process that reads a document now: a zygote's child."""
    zygotes = _descendants()
    pids = {p.pid for p in zygotes}
    return next((p for p in zygotes if p.ppid() in pids), None)


def _pdf(pages: int, text: str = "A dry stone wall stands without mortar") -> bytes:
    writer = pypdf.PdfWriter()
    names = pypdf.generic.NameObject
    font = pypdf.generic.DictionaryObject(
        {names("/Type"): names("/Font"), names("/Subtype"): names("/Type1"), names("/BaseFont"): names("/Helvetica")}
    )
    for _ in range(pages):
        page = writer.add_blank_page(612, 792)
        stream = pypdf.generic.StreamObject()
        stream.set_data(
            b"".join(b"BT /F1 11 Tf 72 %d Td (%s) Tj ET\n" % (y, text.encode()) for y in range(100, 700, 12))
        )
        page[names("/Contents")] = writer._add_object(stream)
        fonts = pypdf.generic.DictionaryObject({names("/F1"): font})
        page[names("/Resources")] = pypdf.generic.DictionaryObject({names("/Font"): fonts})
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


async def test_documents_of_every_family_come_back_from_one_zygote(parser: Parser) -> None:
    docx = io.BytesIO()
    with zipfile.ZipFile(docx, "w") as archive:
        archive.writestr("word/document.xml", "<document><body><p><r><t>from Word</t></r></p></body></document>")

    bodies = {
        "text/plain": "größe".encode(),
        "text/markdown": b"# Title\n\ntext",
        "text/html": b"<title>T</title><p>page</p>",
        "text/csv": b"name,cm\nNorth,120\n",
        "application/pdf": _pdf(2),
        _DOCX: docx.getvalue(),
    }
    parsed = {media_type: await parser.parse(body, media_type) for media_type, body in bodies.items()}

    assert parsed["text/plain"].text == "größe"
    assert parsed["text/markdown"].headings[0].title == "Title"
    assert parsed["text/html"] == Parsed("page", (), (), "T", f"lexbor-{PARSER_VERSION}")
    assert (await parser.parse(b"<html lang=nl-BE><p>De imker en de bij</p>", "text/html")).language == "nl"
    assert parsed["text/csv"].text == "name: North | cm: 120"
    assert len(parsed["application/pdf"].page_starts) == 2
    assert parsed[_DOCX].text == "from Word"
    assert len(_zygotes()) == 1


async def test_what_is_wrong_with_a_file_is_told(parser: Parser) -> None:
    for body, media_type, code in (
        (b" \n ", "text/plain", "document.no_text"),
        (b"PK\x03\x04 no zip", _DOCX, "document.corrupt"),
        (b"%PDF-1.4 nothing", "application/pdf", "document.corrupt"),
        (b"<div>" * 300_000 + b"x", "text/html", "document.too_nested"),
        (b"", "application/pdf", "document.corrupt"),
    ):
        with pytest.raises(Invalid) as caught:
            await parser.parse(body, media_type)
        assert caught.value.code == code
        assert caught.value.hint


async def test_every_format_survives_bytes_of_every_kind(parser: Parser) -> None:
    for media_type in SUPPORTED:
        for body in (
            b"",
            b"\0" * 100,
            bytes(range(256)) * 20,
            b"%PDF-1.4\n" + b"<<" * 5_000,
            b"PK\x03\x04" + b"\xff" * 99,
        ):
            with contextlib.suppress(Invalid):
                assert (await parser.parse(body, media_type)).text


async def test_small_documents_are_children_of_one_process(parser: Parser) -> None:
    await parser.parse(b"warm", "text/plain")
    before = [each.pid for each in _descendants()]

    for number in range(50):
        assert (await parser.parse(b"document %d" % number, "text/plain")).text == f"document {number}"

    assert [each.pid for each in _descendants()] == before


async def test_a_child_inherits_no_secret_and_may_not_write(parser: Parser) -> None:
    os.environ["DRYSTONE_TEST_SECRET"] = "must stay here"
    try:
        running = asyncio.create_task(parser.parse(_SLOW_PAGE, "text/html"))
        child = await _until(_a_child)

        await _until(lambda: child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0))
        assert "DRYSTONE_TEST_SECRET" not in child.environ()
        assert child.rlimit(psutil.RLIMIT_NOFILE) == (64, 64)
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_AS) == (1_073_741_824, 1_073_741_824)
        assert child.rlimit(psutil.RLIMIT_CPU) == (30, 31)
        assert child.nice() == os.getpriority(os.PRIO_PROCESS, 0)
        assert child.num_fds() <= 8
        assert os.getsid(child.pid) != os.getsid(0)
    finally:
        del os.environ["DRYSTONE_TEST_SECRET"]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await _until(lambda: not _descendants())


@pytest.mark.parametrize(
    ("limits", "body", "media_type", "code"),
    [
        ({"PARSE_CPU_S": 1}, _SLOW_PAGE, "text/html", "parse.cpu_limit"),
        ({"PARSE_WALL_S": 1}, _SLOW_PAGE, "text/html", "parse.timeout"),
        ({"PARSE_MEMORY_BYTES": 100_663_296}, b"<i>word</i>" * 700_000, "text/html", "parse.memory_limit"),
        ({"PARSE_MEMORY_BYTES": 134_217_728}, b"words " * 12_000_000, "text/plain", "parse.memory_limit"),
        ({"PARSE_MAX_TEXT_BYTES": 1_000}, b"words " * 1_000, "text/plain", "document.text_too_large"),
        ({"PARSE_MAX_TEXT_BYTES": 1_000}, b"<p>words " * 1_000, "text/html", "document.text_too_large"),
    ],
)
async def test_a_limit_is_final_and_says_which(limits: dict[str, int], body: bytes, media_type: str, code: str) -> None:
    parser = Parser(_limits(**limits))
    try:
        started = time.monotonic()
        with pytest.raises(Invalid) as caught:
            await parser.parse(body, media_type)

        assert caught.value.code == code
        assert time.monotonic() - started < 30
        zygotes = _zygotes()
        assert (await parser.parse(b"still here", "text/plain")).text == "still here"
        assert _zygotes() == zygotes
    finally:
        await parser.aclose()


async def test_a_killed_child_is_a_death_and_the_next_document_is_read(parser: Parser) -> None:
    running = asyncio.create_task(parser.parse(_SLOW_PAGE, "text/html"))
    child = await _until(_a_child)
    zygote = child.parent()

    child.kill()

    with pytest.raises(ParserDied):
        await running
    assert (await parser.parse(b"next", "text/plain")).text == "next"
    assert _zygotes() == [zygote]


async def test_a_killed_zygote_takes_its_child_along_and_is_replaced(parser: Parser) -> None:
    running = asyncio.create_task(parser.parse(_SLOW_PAGE, "text/html"))
    child = await _until(_a_child)
    zygote = child.parent()
    assert zygote is not None

    zygote.kill()

    with pytest.raises(ParserDied):
        await running
    await _until(lambda: _is_gone(child))
    assert (await parser.parse(b"next", "text/plain")).text == "next"


async def test_a_zygote_killed_while_idle_costs_nobody_a_try(parser: Parser) -> None:
    await parser.parse(b"first", "text/plain")
    [zygote] = _zygotes()

    zygote.kill()

    assert (await parser.parse(b"second", "text/plain")).text == "second"


async def test_small_texts_share_a_child_and_others_do_not(parser: Parser) -> None:
    await parser.parse(b"first", "text/plain")
    shared = _a_child()
    assert shared is not None

    await parser.parse(b"# second", "text/markdown")
    await parser.parse(b"<p>third", "text/html")
    await parser.parse(b"a,b\n1,2\n", "text/csv")

    assert _a_child() == shared
    assert len(_descendants()) == 2


async def test_a_shared_child_that_has_used_much_is_not_used_again(parser: Parser) -> None:
    await parser.parse(b"first", "text/plain")
    shared = _a_child()

    with contextlib.suppress(Invalid):
        await parser.parse(b"word " * 8_000_000, "text/plain")

    await _until(lambda: _a_child() is None)
    assert (await parser.parse(b"next", "text/plain")).text == "next"
    assert _a_child() != shared


async def test_a_shared_child_killed_while_idle_costs_nobody_a_try(parser: Parser) -> None:
    await parser.parse(b"first", "text/plain")
    shared = _a_child()
    assert shared is not None

    shared.kill()
    await _until(lambda: _is_gone(shared))

    assert (await parser.parse(b"second", "text/plain")).text == "second"


async def test_a_shared_child_killed_at_work_is_a_death_of_that_document_alone(parser: Parser) -> None:
    await parser.parse(b"first", "text/plain")
    shared = _a_child()
    assert shared is not None
    before_s = sum(shared.cpu_times()[:2])
    running = asyncio.create_task(parser.parse(b"# a\n\n- b\n- c\n\n" * 30_000, "text/markdown"))
    await _until(lambda: sum(shared.cpu_times()[:2]) > before_s + 0.02)

    shared.kill()

    with pytest.raises(ParserDied):
        await running
    assert (await parser.parse(b"next", "text/plain")).text == "next"


async def test_a_pdf_that_aborts_one_library_is_read_by_the_other(parser: Parser) -> None:
    body = _pdf(200)
    await parser.parse(_pdf(1), "application/pdf")
    running = asyncio.create_task(parser.parse(body, "application/pdf"))
    child = await _until(_a_child)

    child.send_signal(signal.SIGSEGV)

    parsed = await running
    assert parsed.parser.startswith("pypdf-")
    assert len(parsed.page_starts) == 200


async def test_a_library_that_falls_over_late_is_not_asked_again(parser: Parser) -> None:
    parser = Parser(_limits(PARSE_WALL_S=2))  # late: after 0.83 s
    try:
        running = asyncio.create_task(parser.parse(_SLOW_PAGE, "text/html"))
        child = await _until(_a_child)
        await asyncio.sleep(1)  # by this clock: what the child's own birth is told by may be most of a second off
        child.send_signal(signal.SIGSEGV)

        with pytest.raises(Invalid) as caught:
            await running
        assert caught.value.code == "parse.crashed"
    finally:
        await parser.aclose()


async def test_a_child_has_no_network_and_with_bubblewrap_no_other_processes(parser: Parser) -> None:
    running = asyncio.create_task(parser.parse(_SLOW_PAGE, "text/html"))
    child = await _until(_a_child)
    spaces = {
        name: _namespace(child.pid, name) != _namespace(os.getpid(), name) for name in ("net", "ipc", "pid", "mnt")
    }
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    if not spaces["net"]:
        pytest.skip("this system lets an ordinary process make no namespaces")
    assert spaces["ipc"]
    if sandbox._bubblewrap():
        assert spaces == dict.fromkeys(spaces, True)


_CONFINED = """
import pathlib, subprocess, sys
from drystone.adapters.parsing import hardening
folder = pathlib.Path(sys.argv[1])
(held := (folder / "secret").open("rb")) and hardening.give_up_rights()
def may(what):
    try:
        what()
    except PermissionError:
        return False
    return True
import colorsys, lxml.etree  # loaded only now
print(
    may(lambda: (folder / "secret").read_bytes()),
    may(lambda: list(folder.iterdir())),
    may(lambda: (folder / "made").write_bytes(b"")),
    may(lambda: subprocess.run(["/bin/sh", "-c", "true"])),
    held.read().decode(),
)
"""


async def test_what_reads_documents_reads_no_other_file_and_starts_no_program(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("open before")
    command = [sys.executable, "-I", "-c", _CONFINED, str(tmp_path)]

    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)

    if done.stdout.startswith("True True True True"):
        pytest.skip("this system has no Landlock, by which an ordinary process could give up files")
    assert (done.stdout, done.stderr) == ("False False False False open before\n", "")


def _namespace(pid: int, name: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{name}").readlink())


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return out.getvalue()


async def test_an_archive_gives_its_members_one_by_one(parser: Parser) -> None:
    body = _zip({"a/": b"", "a/größe.txt": b"first", "b.md": b"# second", "photo.png": b"\x89PNG\0\0\1"})

    async with parser.archive(body) as archive:
        members = {member.path: member for member in archive.members}
        assert list(members) == ["a/größe.txt", "b.md", "photo.png"]
        assert await archive.read(members["b.md"]) == b"# second"
        assert await archive.read(members["a/größe.txt"]) == b"first"
        assert members["a/größe.txt"].sha256 == hashlib.sha256(b"first").digest()
        assert members["b.md"].refused is None
        refused = members["photo.png"].refused
        assert refused is not None
        assert refused.code == "document.unsupported_type"
        assert (await parser.parse(b"between", "text/plain")).text == "between"


async def test_names_in_old_archives_are_in_some_encoding_of_their_time(parser: Parser) -> None:
    for encoding, name in (
        ("cp932", "石垣は漆喰を使わずに積まれた壁.txt"),
        ("utf-8", "größe.txt"),
        ("cp850", "größe und übermaß.txt"),
    ):
        plain = "n" * len(name.encode(encoding))
        body = _zip({plain: b"words"}).replace(plain.encode(), name.encode(encoding))
        async with parser.archive(body) as archive:
            assert [member.path for member in archive.members] == [name]


async def test_an_archive_that_is_none_is_corrupt_and_an_empty_one_holds_nothing(parser: Parser) -> None:
    for body, code in ((b"PK\x03\x04 no zip", "document.corrupt"), (_zip({"a/": b""}), "document.no_text")):
        with pytest.raises(Invalid) as caught:
            async with parser.archive(body):
                pass
        assert caught.value.code == code


_PARENT = """
import asyncio, sys
from drystone.adapters.parsing import Parser
from drystone.core.settings import ParsingSettings

async def main():
    await Parser(ParsingSettings()).parse(b"<p>a <b>dry</b> wall</p>" * 600_000, "text/html")

asyncio.run(main())
"""


async def test_nothing_outlives_the_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(_PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"])
    try:
        await _until(lambda: len(psutil.Process(parent.pid).children(recursive=True)) >= 2)
        family = psutil.Process(parent.pid).children(recursive=True)
    finally:
        parent.kill()
        parent.wait()

    await _until(lambda: all(_is_gone(process) for process in family))
