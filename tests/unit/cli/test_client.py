"""The client against real sockets: our own error edge answers, or nobody, or somebody else."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from drystone.cli.client import Client, address, upload_name
from drystone.core.errors import Conflict, Denied, DrystoneError, Invalid, NotFound, Unavailable
from drystone.http import problems

_ID = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """A port of our own where nobody listens: a call is refused until a server takes the socket."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def _url(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def _serving(app: FastAPI, bound: socket.socket) -> Iterator[str]:
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    bound.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield _url(bound)
    finally:
        server.should_exit = True
        thread.join()


def _app(answer: Callable[[Request], object]) -> FastAPI:
    """An app whose every path does `answer`, with the error edge of the real one."""
    app = FastAPI()
    problems.install(app)

    @app.api_route("/{path:path}", methods=["GET", "POST", "DELETE"])
    async def any_path(request: Request) -> object:
        await request.body()
        result = answer(request)
        if isinstance(result, Exception):
            raise result
        return result

    return app


def test_an_api_that_is_not_there_is_unavailable_with_the_way_to_start_it(bound: socket.socket) -> None:
    with Client(_url(bound), "k") as client, pytest.raises(Unavailable) as away:
        client.check()

    assert away.value.message == f"The API does not answer at {_url(bound)}."
    assert away.value.hint == 'run "drystone up"'


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (NotFound("workspace.not_found", "No.", hint="look"), NotFound),
        (Conflict("document.not_ready", "No.", hint="look"), Conflict),
        (Invalid("document.unsupported_type", "No.", hint="look"), Invalid),
        (Denied("access.scope_missing", "No.", hint="look", status=403), Denied),
        (Unavailable("objects.away", "No.", hint="look"), Unavailable),
    ],
)
def test_each_kind_of_error_comes_through_the_wire_as_it_was(
    bound: socket.socket, raised: DrystoneError, kind: type[DrystoneError]
) -> None:
    with (
        _serving(_app(lambda _: raised), bound) as url,
        Client(url, "k") as client,
        pytest.raises(DrystoneError) as told,
    ):
        client.document(_ID)

    assert type(told.value) is kind
    assert (told.value.code, told.value.message, told.value.hint) == (raised.code, "No.", "look")


def test_a_document_that_is_not_there_is_told_with_the_command_that_lists_them(bound: socket.socket) -> None:
    with (
        _serving(_app(lambda _: NotFound("document.not_found", "No.")), bound) as url,
        Client(url, "k") as client,
        pytest.raises(NotFound) as told,
    ):
        client.document(_ID)

    assert told.value.hint == '"drystone documents" lists those there are'


def test_a_fault_of_the_server_is_of_no_kind_and_carries_its_id(bound: socket.socket) -> None:
    with (
        _serving(_app(lambda _: RuntimeError("boom")), bound) as url,
        Client(url, "k") as client,
        pytest.raises(DrystoneError, match=r"A fault of ours, id [0-9a-f]{12}") as told,
    ):
        client.document(_ID)

    assert type(told.value) is DrystoneError


def test_a_wrong_key_is_denied_with_the_variable_to_set(bound: socket.socket) -> None:
    denied = Denied("access.key_unknown", "The key is not known.", status=401)

    with _serving(_app(lambda _: denied), bound) as url, Client(url, "k") as client, pytest.raises(Denied) as told:
        client.check()

    assert "DRYSTONE_API_KEY" in (told.value.hint or "")


def test_wrong_fields_are_told_one_by_one(bound: socket.socket) -> None:
    app = FastAPI()
    problems.install(app)

    @app.post("/api/v1/search")
    async def search(limit: int, size: int) -> None: ...

    with _serving(app, bound) as url, Client(url, "k") as client, pytest.raises(Invalid) as told:
        client.search({"query": "x"})

    assert told.value.message.splitlines()[1:] == ["  /limit: Field required", "  /size: Field required"]


@pytest.mark.parametrize("status", [200, 404])
def test_another_program_on_the_port_is_not_taken_for_the_api(bound: socket.socket, status: int) -> None:
    stranger = _app(lambda _: PlainTextResponse("hello", status))

    with _serving(stranger, bound) as url, Client(url, "k") as client, pytest.raises(Unavailable) as told:
        client.check()

    assert told.value.code == "api.stranger"


def test_an_upload_is_repeated_from_its_start_while_the_api_is_unavailable(bound: socket.socket) -> None:
    received: list[bytes] = []

    async def answer(request: Request) -> object:
        received.append(await request.body())
        if len(received) < 3:
            raise Unavailable("objects.away", "The store is away.", retry_after_s=0.01)
        return {"document": {"id": _ID}}

    app = FastAPI()
    problems.install(app)
    app.post("/api/v1/documents")(answer)

    with _serving(app, bound) as url, Client(url, "k", retry_s=30) as client:
        answered = client.upload(lambda: io.BytesIO(b"the bytes"), name="a.txt", fields={"collection": "c"})

    assert answered["document"]["id"] == _ID
    assert len(received) == 3
    assert all(b"the bytes" in body and b'filename="a.txt"' in body for body in received)


@pytest.mark.parametrize(("code", "times"), [("rate.exceeded", 3), ("access.guessing", 1), ("quota.exceeded", 1)])
def test_only_a_key_that_asks_too_often_is_waited_for(bound: socket.socket, code: str, times: int) -> None:
    asked = []

    def answer(request: Request) -> object:
        asked.append(request)
        return {"items": []} if len(asked) == 3 else Denied(code, "Too often.", status=429, retry_after_s=0.01)

    def ask(client: Client) -> None:
        try:
            client.collections()
        except Denied as exc:
            assert exc.code == code  # noqa: PT017  it is raised for two of the three

    with _serving(_app(answer), bound) as url, Client(url, "k", retry_s=30) as client:
        ask(client)

    assert len(asked) == times


def test_an_upload_outlives_a_restart_of_the_api(bound: socket.socket) -> None:
    was_tried = threading.Event()

    def body() -> io.BytesIO:
        was_tried.set()
        return io.BytesIO(b"x")

    with Client(_url(bound), "k", retry_s=30) as client, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(client.upload, body, name="a.txt", fields={})
        assert was_tried.wait(30)
        with _serving(_app(lambda _: {"document": {"id": _ID}}), bound):
            assert answered.result(30)["document"]["id"] == _ID


def test_waiting_between_tries_ends_when_it_is_told_to(bound: socket.socket) -> None:
    with Client(_url(bound), "k", retry_s=3600) as client, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(client.document, _ID)
        client.stop.set()

        with pytest.raises(Unavailable):
            answered.result(30)


def test_a_file_that_shrinks_while_it_is_sent_is_refused_not_repeated(bound: socket.socket) -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            self.truncate(3)
            return super().read(size)

    with (
        _serving(_app(lambda _: {}), bound) as url,
        Client(url, "k", retry_s=3600) as client,
        pytest.raises(Invalid) as told,
    ):
        client.upload(lambda: Shrinking(b"x" * 1000), name="a.txt", fields={})

    assert told.value.code == "file.changed"


def test_what_is_appended_to_a_file_while_it_is_sent_stays_behind(bound: socket.socket) -> None:
    received: list[bytes] = []

    class Growing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            part = super().read(size)
            if self.getbuffer().nbytes < 1000:
                place = self.tell()
                self.seek(0, io.SEEK_END)
                self.write(b"later")
                self.seek(place)
            return part

    async def answer(request: Request) -> object:
        received.append(await request.body())
        return {}

    app = FastAPI()
    app.post("/api/v1/documents")(answer)

    with _serving(app, bound) as url, Client(url, "k") as client:
        client.upload(lambda: Growing(b"now"), name="a.txt", fields={})

    assert b"now" in received[0]
    assert b"later" not in received[0]


@pytest.mark.parametrize(
    ("host", "called"),
    [
        ("127.0.0.1", "http://127.0.0.1:8310"),
        ("0.0.0.0", "http://127.0.0.1:8310"),
        ("::", "http://[::1]:8310"),
        ("api.example.org", "http://api.example.org:8310"),
    ],
)
def test_a_server_on_every_interface_is_called_on_one(host: str, called: str) -> None:
    assert address(host, 8310) == called


def test_a_name_that_is_no_utf_8_on_disk_can_still_be_sent() -> None:
    assert upload_name("folder/caf\udce9.txt") == "caf\ufffd.txt"
