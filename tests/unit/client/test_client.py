"""What the Python client promises beside its calls: whereabouts, errors, types that keep up with the API, a quick import."""

from __future__ import annotations

import copy
import inspect
import json
import math
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.scripted import answer, as_json, problem
from tests.unit.client.answers import DOCUMENT, JOB
from tests.unit.client.conftest import Open

from drystone.client import (
    ApiError,
    AsyncClient,
    Broken,
    Client,
    DocumentFailed,
    Invalid,
    JobFailed,
    Retries,
    StillPending,
    Unavailable,
    models,
)
from drystone.client.bodies import Source
from drystone.client.models import Model
from drystone.client.passages import _bodies
from drystone.core.settings import parse
from drystone.stack.dotenv import make_environment
from drystone.web import create_app

JSON = {"Content-Type": "application/json"}
ROOMS = ("collections", "documents", "jobs", "batches", "events", "catalogue", "entities", "observations", "passages")

# Everything of the client but LangChain's classes, used, where none of the modules in argv can be imported.
ALONE = """
import asyncio, importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import drystone.client
for module in pkgutil.iter_modules(drystone.client.__path__):
    if module.name != "langchain":
        importlib.import_module("drystone.client." + module.name)
from drystone.client import AsyncClient, Client, Retries, Unavailable, models
try:
    with Client("http://127.0.0.1:1", "ds_key", retries=Retries(for_s=0)) as client:
        client.search("bees")
except Unavailable as error:
    print(type(error).__name__)
async def search():
    async with AsyncClient("http://127.0.0.1:1", "ds_key", retries=Retries(for_s=0)) as client:
        await client.search("bees")
try:
    asyncio.run(search())
except Unavailable as error:
    print(type(error).__name__)
print(models.Document.model_json_schema()["title"])
"""


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("openapi")
    return create_app(parse(make_environment(data_dir=folder, model_dir=folder))).openapi()


def _all_models(kind: type[Model] = Model) -> list[type[Model]]:
    return [each for made in kind.__subclasses__() for each in (made, *_all_models(made))]


def test_every_model_has_the_fields_that_the_api_describes(openapi: dict[str, Any]) -> None:
    components = openapi["components"]["schemas"]
    named = {each: each.__name__ if each.api_name is None else each.api_name for each in _all_models()}

    differing = {
        each.__name__: fields ^ set(components[name]["properties"])
        for each, name in named.items()
        if name and (fields := {field.alias or key for key, field in each.model_fields.items()} - {"etag"})
    }

    assert {name: fields for name, fields in differing.items() if fields} == {}
    assert len(differing) > 50


def test_a_search_takes_all_that_the_api_takes(openapi: dict[str, Any]) -> None:
    taken = set(inspect.signature(Client.search).parameters) - {"self"}

    assert taken == set(openapi["components"]["schemas"]["SearchRequest"]["properties"])


def test_a_question_takes_all_that_the_api_takes(openapi: dict[str, Any]) -> None:
    taken = set(inspect.signature(Client.ask).parameters) - {"self"}

    assert taken == set(openapi["components"]["schemas"]["AskRequest"]["properties"]) - {"stream"}


@pytest.mark.parametrize(
    ("room", "path", "not_taken"),
    [
        ("documents", "/api/v1/documents", set()),
        ("jobs", "/api/v1/jobs", {"subject", "min_attempt"}),
        ("entities", "/api/v1/entities", set()),
        ("observations", "/api/v1/observations", set()),
    ],
)
def test_lists_take_the_parameters_of_the_api(
    openapi: dict[str, Any], room: str, path: str, not_taken: set[str]
) -> None:
    with Client("http://127.0.0.1:1", "ds_key") as client:
        taken = {name.rstrip("_") for name in inspect.signature(getattr(client, room).list).parameters} - {"page"}
    asked = {each["name"] for each in openapi["paths"][path]["get"]["parameters"] if each["in"] == "query"}

    assert taken == asked - {"limit", "cursor"} - not_taken


async def test_both_clients_have_the_same_rooms_and_methods() -> None:
    with Client("http://127.0.0.1:1", "ds_key") as client:
        async with AsyncClient("http://127.0.0.1:1", "ds_key") as async_client:
            for room in ROOMS:
                mine, theirs = getattr(client, room), getattr(async_client, room)
                names = {name for name in dir(mine) if not name.startswith("_")}
                assert names == {name for name in dir(theirs) if not name.startswith("_")}
                for name in names:
                    assert inspect.signature(getattr(mine, name)) == inspect.signature(getattr(theirs, name))
                    assert getattr(mine, name).__doc__


def test_importing_it_imports_nothing_of_the_server() -> None:
    program = "import drystone.client, sys, json; print(json.dumps(sorted(sys.modules)))"

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    loaded = json.loads(said.stdout)
    assert [name for name in loaded if name.startswith("drystone.") and not name.startswith("drystone.client")] == []
    assert {"httpx", "anyio", "asyncio", "numpy", "langchain_core"} & set(loaded) == set()


def _other_modules(*distributions: str) -> set[str]:
    """The top modules of all that is installed but of these distributions and what they ask for without extras."""
    wanted, seen = list(distributions), set[str]()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in seen:
            continue
        seen.add(name)
        needs = map(Requirement, metadata.requires(name) or ())
        wanted += [each.name for each in needs if each.marker is None or each.marker.evaluate({"extra": ""})]
    tops = metadata.packages_distributions().items()
    return {top for top, names in tops if not seen & {canonicalize_name(name) for name in names}}


def test_it_runs_where_only_what_its_guide_names_is_installed() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "python.md").read_text()
    named = re.search(r"^pip install ([a-z][a-z ]+[a-z]) *#", guide, re.MULTILINE)
    assert named is not None
    absent = _other_modules(*named[1].split()) - {"drystone"}

    said = subprocess.run([sys.executable, "-c", ALONE, *absent], capture_output=True, text=True, check=False)

    assert {"fastapi", "numpy", "rich", "langchain_core"} <= absent
    assert said.stderr == ""
    assert said.stdout.split() == ["Unavailable", "Unavailable", "Document"]


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRYSTONE_URL", "http://127.0.0.1:8123/")
    monkeypatch.setenv("DRYSTONE_API_KEY", "ds_key")

    with Client() as client:
        assert client.url == "http://127.0.0.1:8123"
    with Client("https://drystone.example/api/v1") as client:
        assert client.url == "https://drystone.example"


@pytest.mark.parametrize(
    ("url", "key", "said"),
    [("", "ds_key", "DRYSTONE_URL"), ("http://127.0.0.1:1", "", "DRYSTONE_API_KEY"), ("127.0.0.1:1", "k", "http://")],
    ids=["no address", "no key", "no scheme"],
)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, url: str, key: str, said: str) -> None:
    monkeypatch.setenv("DRYSTONE_URL", url)
    monkeypatch.setenv("DRYSTONE_API_KEY", key)

    with pytest.raises(ValueError, match=said):
        Client()


@pytest.mark.parametrize("around", ["{}\n", " {} ", "\t{}\r\n"], ids=["line end", "spaces", "tab"])
async def test_white_space_around_a_key_is_left_out(opened: Open, around: str) -> None:
    ask, server = opened(as_json({"items": []}), key=around.format("ds_key"))

    await ask(lambda c: c.collections.list())

    assert server.asked[0].headers["authorization"] == "Bearer ds_key"


@pytest.mark.parametrize("kind", [Client, AsyncClient], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://127.0.0.1:1", "ds_SECRET\0"),
        ("http://127.0.0.1:1", "ds_SECRET\nx"),
        ("http://127.0.0.1:1", "ds_SECRET x"),
        ("http://127.0.0.1:1", "ds_SECRETä"),
        ("http://user:SECRET@127.0.0.1:1", "ds_key"),
        ("user:SECRET@127.0.0.1", "ds_key"),
        ("http://[SECRET", "ds_key"),
        ("http://drystone.example:99999", "ds_SECRET"),
    ],
    ids=["nul", "line end", "space", "beyond ascii", "user", "user without scheme", "bracket", "port"],
)
def test_what_cannot_be_a_key_or_an_address_is_refused_without_telling_it(kind: Any, url: str, key: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  what it says is looked at below
        kind(url, key)

    assert key not in str(caught.value)
    assert "SECRET@" not in str(caught.value)


async def test_an_error_carries_all_that_the_api_said(opened: Open) -> None:
    errors = [{"pointer": "/limit", "detail": "Too many.", "code": "x", "hint": "fewer", "kind": "entity"}]
    ask, _ = opened(problem(422, "request.invalid", hint="send fewer", errors=errors))

    with pytest.raises(Invalid) as caught:
        await ask(lambda c: c.search("a"))

    error = caught.value
    assert (error.code, error.title, error.detail, error.hint) == ("request.invalid", "No", "It is not.", "send fewer")
    assert (error.status, error.request_id) == (422, "r1")
    (field,) = error.problems
    assert (field.pointer, field.detail, field.code, field.hint) == ("/limit", "Too many.", "x", "fewer")
    assert field.more == {"kind": "entity"}
    assert str(error) == "It is not. (request.invalid)\n  /limit: Too many.\nhint: send fewer"


@pytest.mark.parametrize(
    "error",
    [
        Invalid("a.b", "It is not.", hint="do", status=422, retry_after_s=1.0),
        DocumentFailed(models.Document.model_validate(DOCUMENT)),
        JobFailed(models.Job.model_validate(JOB)),
        StillPending("d", "It is still being worked on."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_are_pickled_and_copied_whole(error: Exception) -> None:
    error.add_note("in the third file")

    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer(200, b"<html>", {"Content-Type": "text/html"}), Broken),
        (as_json(["a list"]), Broken),
        (as_json({}), Broken),
        (as_json({"revision": "many"}), Broken),
        (answer(200, b"", JSON), Broken),
        (answer(200, b'\xff\xfe{"a"', JSON), Broken),
        (answer(200, b"[" * 100_000, JSON), Broken),
        (answer(200, b"no gzip", {**JSON, "Content-Encoding": "gzip"}), Broken),
        (problem(422, "a.b", errors=5), Broken),
        (problem(422, "a.b", errors=["x"], hint=[1]), Broken),
        (problem(422, "a.b", title=[1]), Broken),
        (answer(302, b"", {"Location": "/login"}), Broken),
        (answer(503, b"<html>", {"Content-Type": "text/html"}), Unavailable),
        (answer(404, b"{}", {"Content-Type": "application/problem+json"}), ApiError),
    ],
    ids=[
        "a page",
        "a list",
        "nothing in it",
        "other things in it",
        "empty",
        "no UTF-8",
        "deep",
        "no gzip",
        "errors are a number",
        "errors are words",
        "a title is a list",
        "elsewhere",
        "a proxy",
        "half a problem",
    ],
)
async def test_who_is_not_drystone_is_told_so(opened: Open, said: bytes, kind: type[ApiError]) -> None:
    ask, _ = opened(said, retries=Retries(for_s=0))

    with pytest.raises(kind) as caught:
        await ask(lambda c: c.catalogue.get())

    assert caught.value.code == "api.stranger"


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.documents.delete("d"),
        lambda c: c.entities.delete("pump-7"),
        lambda c: c.documents.text("d"),
        lambda c: c.documents.content("d"),
        lambda c: c.documents.list(),
        lambda c: c.collections.list(),
        lambda c: c.observations.latest(),
        lambda c: c.passages.put("mine", [{"id": "a", "text": "t", "vector": [1]}]),
        lambda c: c.passages.get("mine", ["a"]),
        lambda c: c.passages.delete("mine", ["a"]),
        lambda c: c.passages.search("mine", [1.0]),
        lambda c: c.events.of_document("d"),
        lambda c: c.ask_by_sentences("Why?"),
    ],
)
@pytest.mark.parametrize(
    "said",
    [
        answer(200, b"<html>", {"Content-Type": "text/html"}),
        answer(200, b'{"items": 5}', {"Content-Type": "application/json"}),
        answer(200, b"no gzip", {"Content-Encoding": "gzip", "Content-Type": "text/event-stream"}),
    ],
    ids=["a page", "other JSON", "no gzip"],
)
async def test_nothing_succeeds_by_what_a_stranger_says(opened: Open, call: Callable[[Any], Any], said: bytes) -> None:
    ask, server = opened(said)

    with pytest.raises(Broken) as caught:
        await ask(call)

    assert (caught.value.code, len(server.asked)) == ("api.stranger", 1)


async def test_a_text_that_is_none_is_told(opened: Open) -> None:
    ask, _ = opened(answer(200, b"\xff", {"Content-Type": "text/plain; charset=utf-8"}))

    with pytest.raises(Broken):
        await ask(lambda c: c.documents.text("d"))


@pytest.mark.parametrize("wait_s", [math.inf, 1e308, 0.2], ids=["for ever", "long", "shortly"])
async def test_however_long_is_waited_the_api_waits_what_it_can(opened: Open, wait_s: float) -> None:
    received = {"document": {**DOCUMENT, "state": "ready"}, "job_id": None, "already_there": True}
    ask, server = opened(as_json(received))

    await ask(lambda c: c.documents.add(text="Bees dance.", wait_s=wait_s))

    assert server.asked[0].headers["prefer"] == ("wait=1" if wait_s < 1 else "wait=60")


async def test_fields_that_a_newer_server_adds_are_kept(opened: Open) -> None:
    told = {"revision": 1, "changed_at": None, "changed_by": None, "message": None}
    ask, _ = opened(as_json({**told, "entities": 1, "modules": 0, "profiles": 0, "moons": 3}, ETag='"1"'))

    found = await ask(lambda c: c.catalogue.get())

    assert (found.model_extra, found.etag) == ({"moons": 3}, '"1"')


async def test_lists_booleans_and_odd_names_are_sent_as_the_api_reads_them(opened: Open) -> None:
    ask, server = opened(as_json({"items": [], "next_cursor": None}))

    await ask(lambda c: c.jobs.list(state=["failed", "queued"]))
    await ask(lambda c: c.documents.list(fits=False, filter={"type": "eq", "key": "a", "value": 1}))
    await ask(lambda c: c.entities.passages("a/b ü", from_="2026-11-01"))

    paths = [each.path for each in server.asked]
    assert paths[0] == "/api/v1/jobs?state=failed&state=queued&limit=1000"
    assert "fits=false" in paths[1]
    assert paths[2] == "/api/v1/entities/a%2Fb%20%C3%BC/passages?from=2026-11-01&limit=1000"
    assert {each.headers["authorization"] for each in server.asked} == {"Bearer ds_key"}


async def test_options_of_httpx_are_taken_and_the_key_stays(opened: Open) -> None:
    ask, server = opened(as_json({"items": []}), http={"headers": {"X-Team": "birds"}, "trust_env": False})

    await ask(lambda c: c.collections.list())

    assert (server.asked[0].headers["x-team"], server.asked[0].headers["authorization"]) == ("birds", "Bearer ds_key")


@pytest.mark.parametrize("name", ["", ".", ".."], ids=["nothing", "here", "above"])
async def test_what_would_be_another_path_is_not_sent(opened: Open, name: str) -> None:
    ask, server = opened(as_json({}))

    with pytest.raises(ValueError, match="no id"):
        await ask(lambda c: c.documents.delete(name))

    assert server.asked == []


def test_a_source_is_one_thing_with_a_name() -> None:
    with pytest.raises(TypeError, match="not both"):
        Source.of(None, None, "a.txt")
    with pytest.raises(ValueError, match="name"):
        Source.of(b"bytes", None, None)
    with pytest.raises(TypeError, match="rb"), open(__file__) as text:  # noqa: PTH123  what people do
        Source.of(text, None, None)  # type: ignore[arg-type]  # the point
    with pytest.raises(TypeError, match="not int"):
        Source.of(5, None, "a.txt")  # type: ignore[arg-type]  # the point


def test_passages_are_sent_in_bodies_that_the_api_takes() -> None:
    passages = [{"id": str(number), "text": "x", "vector": [0.123456789] * 2000} for number in range(1001)]

    bodies = [json.loads(body)["passages"] for body in _bodies(passages)]

    assert [each for body in bodies for each in body] == passages
    assert all(len(json.dumps(body)) < 8 << 20 and len(body) <= 1000 for body in bodies)
    assert len(bodies) > 2


def test_words_that_models_choose_from_are_those_of_the_api(openapi: dict[str, Any]) -> None:
    asked = openapi["components"]["schemas"]["SearchRequest"]["properties"]

    assert set(get_args(models.Mode)) == set(asked["mode"]["enum"])
    assert set(get_args(models.EntityType)) == set(
        openapi["components"]["schemas"]["Entity"]["properties"]["type"]["enum"]
    )
