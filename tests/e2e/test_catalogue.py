"""The catalogue on the command line: the guide as it is written, a folder and back, and what is told of mistakes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
from sqlalchemy import text

from drystone.core.db import Sessions, transaction
from drystone.stack import ports
from tests import canaries

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "catalogue.md").read_text()
OF_DRAFTS = (ROOT / "docs" / "guides" / "drafts.md").read_text()
OF_OBSERVATIONS = (ROOT / "docs" / "guides" / "observations.md").read_text()
_DRYSTONE = (sys.executable, "-m", "drystone.cli.main")
_DEADLINE_S = 120


@pytest.fixture(scope="module")
def running(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a shell in which a web process runs."""
    port, logs = str(ports.find((0,))), tmp_path_factory.mktemp("logs")
    shell = {**os.environ, **environment, "API_PORT": port, "DRYSTONE_ROOT": str(ROOT), "SAID_IN": str(logs)}
    argv = (sys.executable, "-m", "uvicorn", "--factory", "drystone.web:create_app", "--port", port)
    with (logs / "web").open("wb") as out:
        web = subprocess.Popen(argv, env=shell, stdout=out, stderr=out, cwd=ROOT, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/health/live", web)
        yield shell
    finally:
        os.killpg(web.pid, signal.SIGKILL)
        web.wait()


def _wait(url: str, web: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline and web.poll() is None:
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("web did not start")


@pytest.fixture
def shell(running: dict[str, str], sessions: Sessions) -> dict[str, str]:
    """The same, with an empty catalogue."""
    assert sessions
    return running


def _run(shell: Mapping[str, str], *args: object, given: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
    argv = (*_DRYSTONE, *map(str, args))
    done = subprocess.run(
        argv, env=shell, input=given, capture_output=True, text=True, timeout=_DEADLINE_S, check=False
    )
    canaries.note(Path(shell["SAID_IN"]), tuple(map(str, args)), done.stdout + done.stderr)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.yaml"))}


def _follow(shell: Mapping[str, str], folder: Path, blocks: list[str]) -> str:
    """Do what the guide says, block after block; what was printed."""
    launcher = folder / "drystone"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m drystone.cli.main "$@"\n')
    launcher.chmod(0o755)
    (folder / ".env").write_text(f"API_PORT={shell['API_PORT']}\n")
    script = "set -e\n" + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=dict(shell), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_guide_does_what_it_says(shell: dict[str, str], tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 4

    said = _follow(shell, tmp_path, blocks)

    assert "air\t1.1.0\t3\tAir quality" in said
    assert "noise of the instrument goes below zero" in said
    assert (tmp_path / "air" / "entities" / "no2.yaml").read_text().endswith("minimum: -5\n")
    validator = jsonschema_rs.Draft202012Validator(json.loads((tmp_path / "city.schema.json").read_text()))
    assert validator.is_valid({"name": "Mitte", "no2": -4.5})
    assert not validator.is_valid({"name": "Mitte", "no2": -6})
    assert not validator.is_valid({"no2": 1})
    assert "no2" in json.loads((tmp_path / "city.openapi.json").read_text())["components"]["schemas"]
    assert "version: 1.1.0" in (tmp_path / "air" / "modules" / "air.yaml").read_text()


def test_the_guide_of_drafts_does_what_it_says(shell: dict[str, str], tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", OF_DRAFTS, re.DOTALL)
    assert len(blocks) == 4

    said = _follow(shell, tmp_path, blocks)

    assert '"status":"validated"' in said
    assert "label: Sulphur dioxide" in said
    assert "draft.merge" in said
    assert 'conflict\tentity nh3\t/label\t"Ammonia"\t"Ammonia, NH3"\t"Azane"' in said
    assert "label: Ammonia, NH3" in said.rpartition("there is a conflict")[2]


def test_the_guide_of_observations_begins_with_what_it_needs(shell: dict[str, str], tmp_path: Path) -> None:
    said = _follow(shell, tmp_path, re.findall(r"```sh\n(.*?)```", OF_OBSERVATIONS, re.DOTALL)[:1])

    assert "inserted\t2\n" in said
    assert "2026-11-23T09:30:00Z\tpump-7\ttemperature\tdefault\t21.6\t°C" in said
    assert "2026-11-23T00:00:00+01:00\t21.55" in said


def test_guides_can_be_followed_one_after_the_other(shell: dict[str, str], tmp_path: Path) -> None:
    blocks = [re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) for guide in (GUIDE, OF_OBSERVATIONS, OF_DRAFTS)]

    said = _follow(shell, tmp_path, [*blocks[0], blocks[1][0], *blocks[2]])

    assert "label: Ammonia, NH3" in said


def test_a_draft_goes_to_a_folder_and_back(shell: dict[str, str], tmp_path: Path) -> None:
    air = tmp_path / "air" / "entities"
    air.mkdir(parents=True)
    (air / "o3.yaml").write_text("type: property\nlabel: Ozone\nschema_definition: {type: number}\n")
    (air / "no2.yaml").write_text("type: property\nlabel: NO2\nschema_definition: {type: number}\n")
    link = _run(shell, "drafts", "create", tmp_path / "air").stdout
    assert re.fullmatch(rf"http://127\.0\.0\.1:{shell['API_PORT']}/draft#dsd_\S+\n", link)
    draft_id = json.loads(_run(shell, "drafts", "list", "--json").stdout)["items"][0]["id"]

    _run(shell, "drafts", "export", draft_id, tmp_path / "draft")
    file = tmp_path / "draft" / "entities" / "o3.yaml"
    file.write_text(file.read_text().replace("label: Ozone", "label: O3"))
    put = _run(shell, "drafts", "put", draft_id, tmp_path / "draft")
    again = _run(shell, "drafts", "put", draft_id, tmp_path / "draft")
    changes = json.loads(_run(shell, "drafts", "show", draft_id, "--json").stdout)["changes"]

    assert (put.stderr.strip(), again.stderr.strip()) == ("1 of 2 put into the draft", "0 of 2 put into the draft")
    assert [(each["key"], each["content"]["label"]) for each in changes] == [("no2", "NO2"), ("o3", "O3")]


def test_what_keeps_a_draft_from_going_on_is_told(shell: dict[str, str], tmp_path: Path) -> None:
    air = tmp_path / "air" / "entities"
    air.mkdir(parents=True)
    (air / "c.yaml").write_text("type: category\nlabel: C\nschema_definition: {required: [none]}\n")
    never = _run(shell, "drafts", "create", tmp_path / "air", "--expires", "never", code=2)
    _run(shell, "drafts", "create", tmp_path / "air", "--title", "a category")
    draft_id = json.loads(_run(shell, "drafts", "list", "--json").stdout)["items"][0]["id"]

    invalid = _run(shell, "drafts", "validate", draft_id, code=2)
    blind = _run(shell, "drafts", "approve", draft_id, code=2)
    early = _run(shell, "drafts", "merge", draft_id, code=5)
    _run(shell, "drafts", "delete", draft_id)
    gone = _run(shell, "drafts", "show", draft_id, code=4)
    _run(shell, "drafts", "restore", draft_id)

    assert "a draft ends, within a year" in never.stderr
    assert "there is no such entity" in invalid.stderr
    assert "say --revision N" in blind.stderr
    assert "The draft is open, and cannot be merged." in early.stderr
    assert '"drystone drafts list" lists those there are' in gone.stderr


def test_the_problem_that_the_guide_shows_is_told_so(shell: dict[str, str], tmp_path: Path) -> None:
    first = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)[0].partition("./drystone")[0]
    _follow(shell, tmp_path, [first.replace("no2: {}", "no3: {}")])
    shown = re.findall(r"```\n(error: .*?)```", GUIDE, re.DOTALL)[0]

    done = subprocess.run(
        (*_DRYSTONE, "catalogue", "import", "air"), cwd=tmp_path, env=shell, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr == shown
    assert done.stdout == ""


def test_a_folder_and_back_are_the_same_bytes(shell: dict[str, str], tmp_path: Path) -> None:
    folder, again, third = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    for name in ("entities", "modules"):
        (folder / name).mkdir(parents=True)
    odd = """{"type": "property", "label": "NO: \\"a\\" # b", "description": "two\\nlines \\u00e9\\ud83d\\ude00",
      "aliases": {"no": ["NO", "1e3", "0o7", "~", "2026-01-01", "1:30", " x ", "a\\tb"]},
      "schema_definition": {"type": ["number", "string"], "minimum": 1e-7, "maximum": 1e300, "enum": [1, 1.5, "1", true, null]}}"""
    (folder / "entities" / "odd.json").write_text(odd)
    (folder / "modules" / "m.yml").write_text("label: M\nentities: [odd]\n")
    _run(shell, "catalogue", "import", folder)

    _run(shell, "catalogue", "export", again)
    same = _run(shell, "catalogue", "import", again)
    _run(shell, "catalogue", "export", third)

    assert "0 done" in same.stderr
    assert _files(again) == _files(third)
    assert sorted(_files(again)) == ["entities/odd.yaml", "modules/m.yaml"]


def test_an_export_neither_overwrites_nor_removes_unasked(shell: dict[str, str], tmp_path: Path) -> None:
    _run(
        shell, "entities", "put", "-", "--key", "a", given="type: property\nlabel: A\nschema_definition: {type: number}"
    )
    (tmp_path / "entities").mkdir()
    mine, others = tmp_path / "entities" / "mine.yaml", tmp_path / "README.md"
    mine.write_text("label: not there\n")
    others.write_text("words")

    refused = _run(shell, "catalogue", "export", tmp_path, code=5)

    assert str(mine) in refused.stderr
    assert list(_files(tmp_path)) == ["entities/mine.yaml"]
    _run(shell, "catalogue", "export", tmp_path, "--replace")
    assert list(_files(tmp_path)) == ["entities/a.yaml"]
    assert others.read_text() == "words"


def test_what_has_no_file_is_deleted_only_where_that_is_asked_for(shell: dict[str, str], tmp_path: Path) -> None:
    for key in ("a", "b"):
        given = f"type: property\nlabel: {key}\nschema_definition: {{type: number}}"
        _run(shell, "entities", "put", "-", "--key", key, given=given)
    _run(shell, "catalogue", "export", tmp_path)
    (tmp_path / "entities" / "b.yaml").unlink()

    _run(shell, "catalogue", "import", tmp_path)
    assert "b\t" in _run(shell, "entities", "list").stdout
    _run(shell, "catalogue", "import", tmp_path, "--prune")

    assert "b\t" not in _run(shell, "entities", "list").stdout
    assert "b\t" in _run(shell, "entities", "list", "--deleted").stdout
    _run(shell, "entities", "restore", "b")
    assert "restore" in _run(shell, "entities", "history", "b").stdout


def test_a_folder_that_says_nothing_deletes_nothing(shell: dict[str, str], tmp_path: Path) -> None:
    given = "type: property\nlabel: A\nschema_definition: {type: number}"
    _run(shell, "entities", "put", "-", "--key", "a", given=given)
    empty, misspelt = tmp_path / "empty", tmp_path / "misspelt"
    empty.mkdir()
    (misspelt / "entity").mkdir(parents=True)
    (misspelt / "entity" / "b.yaml").write_text(given)

    nothing = _run(shell, "catalogue", "import", empty, "--prune", code=2)
    stray = _run(shell, "catalogue", "import", misspelt, "--prune", code=2)
    proposed = _run(shell, "drafts", "create", empty, "--prune", code=2)

    assert f"{empty} holds no files in entities/, modules/, profiles/" in nothing.stderr
    assert f"{misspelt / 'entity'} is read as nothing" in stray.stderr
    assert f"{empty} holds no files" in proposed.stderr
    assert "a\t" in _run(shell, "entities", "list").stdout
    _run(shell, "catalogue", "import", empty, "--prune", "--all-gone")
    assert "a\t" not in _run(shell, "entities", "list").stdout


def test_a_change_is_taken_out_of_a_draft(shell: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "entities").mkdir()
    for key in ("a", "b", "c"):
        (tmp_path / "entities" / f"{key}.yaml").write_text(
            f"type: property\nlabel: {key}\nschema_definition: {{type: number}}"
        )
    _run(shell, "drafts", "create", tmp_path)
    draft_id = json.loads(_run(shell, "drafts", "list", "--json").stdout)["items"][0]["id"]

    _run(shell, "drafts", "drop", draft_id, "entity", "a", "c")
    unknown = _run(shell, "drafts", "drop", draft_id, "entity", "a", code=4)
    shown = _run(shell, "drafts", "show", draft_id).stdout

    assert "The draft does not change the entity 'a'." in unknown.stderr
    assert shown.endswith("action\tkind\tkey\tlabel\nput\tentity\tb\tb\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("type: property\nlabel: x\ntype: y\n", "-:3: type stands there twice, first on line 1."),
        ("a: &x 1\nb: *x\n", "-:1: an anchor is not taken."),
        ("label: !!python/object/apply:os.system ['true']\n", "-:1: "),
        ("label: *\n", "-:1: "),
        ("type: property\nlabel: [\n", "-:3: "),
        ("1: x\n", "-:1: a name here is no text."),
        ("type: property\nlabel: 1.5\nschema_definition: {type: number}\n", "-:2: label: Input should be a valid string\n    put it in quotes: label: \"1.5\"\n"),
        ("type: property\nlabel: x\ncolour: red\nschema_definition: {type: number}\n", "-:3: colour: There is no such field; there are: type, label, description,"),
        ("label: x\n", "-:1: type: Field required"),
        ("- a\n", "-:1: it holds no fields."),
        ("type: property\nlabel: x\nschema_definition:\n  type: number\n  minimun: 3\n", "-:5: There is no keyword 'minimun'."),
        ("type: category\nlabel: x\nparents:\n  - x\n", "-:3: 'x' is its own ancestor: x → x."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_told_with_its_line(shell: dict[str, str], given: str, said: str) -> None:
    done = _run(shell, "entities", "put", "-", "--key", "x", given=given, code=2)

    assert said in done.stderr


def test_who_refers_is_told_before_anything_is_deleted(shell: dict[str, str], tmp_path: Path) -> None:
    _run(shell, "entities", "put", "-", "-k", "a", given="type: property\nlabel: A\nschema_definition: {type: number}")
    _run(shell, "modules", "put", "-", "-k", "m", given="label: M\nentities: [a]")

    refused = _run(shell, "entities", "delete", "a", code=5)
    shown = _run(shell, "entities", "show", "a").stdout

    assert "the module 'm' holds it" in refused.stderr
    assert "# referred to by module m (member)" in shown
    _run(shell, "entities", "put", "-", "-k", "a", given=shown)
    assert "is at revision 2" in _run(shell, "catalogue", "import", _exported(shell, tmp_path)).stderr


def _exported(shell: Mapping[str, str], folder: Path) -> Path:
    _run(shell, "catalogue", "export", folder / "out")
    return folder / "out"


async def test_nothing_is_left_of_a_mistake(shell: dict[str, str], sessions: Sessions, owner: Sessions) -> None:
    _run(shell, "entities", "put", "-", "--key", "x", given="label: x\n", code=2)

    async with transaction(owner) as session:
        assert await session.scalar(text("select count(*) from entity_versions")) == 0


async def test_documents_are_put_under_a_category_and_say_why_they_do_not_fit(
    shell: dict[str, str], work: Callable[[], Coroutine[Any, Any, None]], tmp_path: Path
) -> None:
    entities = tmp_path / "air" / "entities"
    entities.mkdir(parents=True)
    (entities / "day.yaml").write_text("type: property\nlabel: Day\nschema_definition: {type: string, format: date}\n")
    report = entities / "report.yaml"
    report.write_text("type: category\nlabel: Report\nschema_definition: {required: [day]}\n")
    _run(shell, "catalogue", "import", tmp_path / "air")
    (tmp_path / "papers").mkdir()
    file = tmp_path / "papers" / "a.txt"
    file.write_text("Some words.")
    add = ("add", file, "-c", "papers", "--no-wait", "--schema", "category:report", "--json")

    refused = _run(shell, *add, "-a", "day=today", code=1)
    _run(shell, *add, "-a", "day=2025-01-31")
    listed = json.loads(_run(shell, "documents", "--schema", "category:report", "--json").stdout)["items"]
    wrong = _run(shell, "documents", "describe", listed[0]["id"], "-a", "day=null", code=2)
    shown = json.loads(_run(shell, "documents", "describe", listed[0]["id"], "-a", "day=2025-02-01", "--json").stdout)
    nothing = _run(shell, "documents", "describe", listed[0]["id"], code=2)
    report.write_text("type: category\nlabel: Report\nschema_definition: {required: [day], maxProperties: 0}\n")
    _run(shell, "catalogue", "import", tmp_path / "air")
    await work()
    lines = _run(shell, "documents", "--not-fitting").stdout.splitlines()
    free = json.loads(_run(shell, "documents", "describe", listed[0]["id"], "--schema", "none", "--json").stdout)
    _run(shell, "sync", tmp_path / "papers", "-c", "kept", "--no-wait", "--schema", "category:report", code=1)

    assert "'day' is \\\"today\\\", which is no date." in refused.stdout
    assert [(each["schema"], each["schema_version"]) for each in listed] == [("category:report", 1)]
    assert "The attributes do not fit category:report:\n  'day' is missing. (add it: a date such as" in wrong.stderr
    assert shown["attributes"] == {"day": "2025-02-01"}
    assert "Nothing is to be changed." in nothing.stderr
    assert lines[1].split("\t")[:2] == [listed[0]["id"], "category:report"]
    assert (free["schema"], free["schema_problem"]) == (None, None)
