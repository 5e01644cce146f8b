"""The restore drill: a stack is backed up while it is written to, destroyed, and put back; nothing is lost, nothing comes back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from drystone.adapters.objects import Objects
from drystone.core import crash_points
from tests.e2e.conftest import Stack, project_folder, verdict


@pytest.fixture(scope="module")
def crash_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("points")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, crash_folder: Path) -> Iterator[Stack]:
    made = project_folder(tmp_path_factory.mktemp("drill"), DRYSTONE_CRASH_POINTS=str(crash_folder))
    try:
        made.run("up", "--detach")
        yield made
    finally:
        made.run("down", check=False)


QUESTIONS = ("gannets before breakfast", "cellist diary", "the lamp on tower 7")


class Writer:
    """Uploads one document after the other in a thread, and remembers the ids that were acknowledged."""

    def __init__(self, stack: Stack) -> None:
        api = stack.settings.api
        self.ids: list[str] = []
        self._key = api.key.get_secret_value()
        self._url = f"http://{api.host}:{api.port}/api/v1/documents"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {self._key}"}, timeout=30) as client:
            number = 0
            while not self._stop.wait(0.03):  # so that searches and the model have a turn
                body = f"Entry {number}. A lamp was lit on tower {number} and the watchman counted {number * 7} ships."
                answer = client.post(self._url, files={"file": (f"{number}.txt", body.encode(), "text/plain")})
                assert answer.status_code == 202, answer.text
                self.ids.append(answer.json()["document"]["id"])
                number += 1


def upload(stack: Stack, folder: Path, name: str, text: str) -> str:
    """The id of a document that is now ready."""
    (folder / name).write_text(text)
    stack.run("add", str(folder / name))
    hits = found(stack, text)
    return str(next(hit["document"]["id"] for hit in hits if hit["document"]["name"] == name))


def found(stack: Stack, question: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(stack.run("search", "--json", question).stdout)["hits"]
    return answer


def told(hits: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What must be the same after a restore."""
    return [(hit["document"]["id"], hit["quote"]) for hit in hits]


def call(stack: Stack, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A route of the API, answered well."""
    api = stack.settings.api
    answer = httpx.request(
        method,
        f"http://{api.host}:{api.port}/api/v1{path}",
        json=body,
        headers={"Authorization": f"Bearer {api.key.get_secret_value()}"},
        timeout=30,
    )
    assert answer.is_success, answer.text
    made: dict[str, Any] = answer.json()
    return made


def own_vectors(stack: Stack) -> list[tuple[str, str, list[float], float]]:
    """What is nearest in a collection whose vectors callers brought."""
    found = call(
        stack, "POST", "/collections/brought/passages/search", {"vector": [0.6, 0.8, 0.0], "with_vectors": True}
    )
    return [(hit["id"], hit["text"], hit["vector"], hit["score"]) for hit in found["hits"]]


def ids_there(stack: Stack) -> set[str]:
    return {row["id"] for row in json.loads(stack.run("documents", "list", "--json", "--limit", "0").stdout)["items"]}


def made_backup(stack: Stack, target: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(stack.run("backup", str(target), "--json").stdout)
    return made


@pytest.mark.timeout(900)
def test_the_drill(stack: Stack, tmp_path: Path, crash_folder: Path) -> None:
    target = tmp_path / "backups"
    kept = upload(
        stack, tmp_path, "kept.md", "# Kept\n\nThe lighthouse keeper counted seventeen gannets before breakfast."
    )
    doomed = upload(
        stack, tmp_path, "doomed.md", "# Doomed\n\nA plumber in Ghent repaired the copper boiler at midnight."
    )
    call(stack, "POST", "/collections", {"name": "brought", "vectors": {"source": "caller", "dimension": 3}})
    brought = [{"id": "a", "text": "A shell.", "vector": [1, 0, 0]}, {"id": "b", "text": "Salt.", "vector": [0, 1, 0]}]
    call(stack, "PUT", "/collections/brought/passages", {"passages": brought})
    nearest = own_vectors(stack)
    with Writer(stack) as writer:
        wait_until(lambda: len(writer.ids) >= 20)
        acknowledged = list(writer.ids)
        first = made_backup(stack, target)
        # Killed halfway: nothing that looks like a backup is left, and the next one works.
        crash_points.order(crash_folder, "mid_backup_copy", "kill", skip=100)
        killed = stack.run("backup", str(target), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [each["id"] for each in json.loads(stack.run("backup", "list", str(target), "--json").stdout)] == [
        first["id"]
    ]
    later = upload(stack, tmp_path, "later.md", "# Later\n\nThe cellist of Bergen hid her diary in a violin case.")
    settle(stack)
    second = made_backup(stack, target)
    stack.run("documents", "delete", doomed)
    settle(stack)
    before = [told(found(stack, question)) for question in QUESTIONS]
    third = made_backup(stack, target)

    assert first["is_whole"]
    assert second["is_whole"]
    assert 0 < second["objects"]["new"] < second["objects"]["count"], "what was there is not copied again"
    assert third["objects"]["new"] == 0
    assert modes(target) == {0o600}, "the dump holds hashes of keys and secrets of webhooks"
    verified = json.loads(stack.run("backup", "verify", str(target), "--backup", second["id"], "--json").stdout)
    assert (verified["ok"], verified["backup_id"], verified["problems"]) == (True, second["id"], [])
    assert verified["questions"] > 0
    refused = stack.run("restore", str(target), check=False)
    assert (refused.returncode, "hint: run drystone down" in refused.stderr) == (5, True)
    stack.run("down")
    refused = stack.run("restore", str(target), check=False)
    assert (refused.returncode, "drystone reset" in refused.stderr) == (5, True), "it is not empty"
    destroy(stack)
    restored = stack.run("restore", str(target), "--backup", second["id"])
    assert "deleted again, as the deletion log says: 1" in restored.stderr, "the log of the newer backup knows"
    assert "deletions.replayed" not in restored.stderr, "told once, in words"
    stack.run("up", "--detach")

    there = ids_there(stack)
    assert {kept, later, *acknowledged} <= there, "what was acknowledged before is there"
    assert doomed not in there, "what was deleted stays deleted"
    settle(stack)
    assert [told(found(stack, question)) for question in QUESTIONS] == before
    assert [each[0] for each in nearest] == ["b", "a"]
    assert own_vectors(stack) == nearest, "vectors that callers brought are made by nobody here"
    call(stack, "PUT", "/collections/brought/passages", {"passages": [{**brought[0], "vector": [0, 0, 1]}]})
    found_wrong = asyncio.run(verdict(stack)).violations
    assert found_wrong == []
    assert json.loads(stack.run("verify", "--json").stdout)["ok"], "and it goes on working"


def test_a_blob_changed_in_the_target_is_found_and_told(stack: Stack, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    upload(stack, tmp_path, "flip.md", "# Flip\n\nNine herons stood in the flooded meadow near the mill.")
    made_backup(stack, target)
    blob = next(path for path in sorted(target.glob("sha256/*/*")) if b"herons" in path.read_bytes())
    body = bytearray(blob.read_bytes())
    body[3] ^= 1
    blob.write_bytes(body)

    verified = stack.run("backup", "verify", str(target), "--json", check=False)

    report = json.loads(verified.stdout)
    assert (verified.returncode, report["ok"], report["missing"], report["damaged"]) == (1, False, [], [blob.name])
    assert f"objects of documents damaged, with other bytes than their hash says (1): {blob.name}" in verified.stderr
    assert verified.stderr.endswith("is NOT good: 0 missing, 1 damaged\n")
    assert "objects.corrupt" not in verified.stderr

    removed = stack.run("backup", "verify", str(target), "--remove-damaged", "--json", check=False)
    made_backup(stack, target)

    assert (removed.returncode, json.loads(removed.stdout)["removed"]) == (1, [blob.name])
    assert b"herons" in blob.read_bytes(), "the next backup has copied it again"
    assert stack.run("backup", "verify", str(target)).returncode == 0


def test_a_blob_missing_from_the_store_is_named_and_the_backup_is_not_whole(stack: Stack, tmp_path: Path) -> None:
    upload(stack, tmp_path, "lost.md", "# Lost\n\nA courier left eleven sealed letters under the oak.")
    sha256 = take_blob_away(stack, tmp_path / "lost.md")

    made = stack.run("backup", str(tmp_path / "backups"), check=False)

    assert (made.returncode, f"missing from the store: {sha256}" in made.stderr) == (1, True)
    (listed,) = json.loads(stack.run("backup", "list", str(tmp_path / "backups"), "--json").stdout)
    assert (listed["is_whole"], listed["objects"]["missing"]) == (False, [sha256])
    verified = stack.run("backup", "verify", str(tmp_path / "backups"), "--backup", listed["id"], check=False)
    assert (verified.returncode, sha256[:12] in verified.stderr) == (1, True)
    stack.run("add", str(tmp_path / "lost.md"))  # sent again, it is whole again


def test_prune_keeps_what_it_is_told_and_removes_what_nobody_refers_to(stack: Stack, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    ids = [made_backup(stack, target)["id"] for _ in range(3)]
    before = sum(1 for _ in target.glob("sha256/*/*"))

    nothing_said = stack.run("backup", "prune", str(target), check=False)
    pruned = json.loads(stack.run("backup", "prune", str(target), "--keep", "1", "--json").stdout)

    assert nothing_said.returncode == 2
    assert (pruned["kept"], pruned["removed"]) == (ids[2:], ids[:2])
    assert before - sum(1 for _ in target.glob("sha256/*/*")) == pruned["objects"] > 0
    assert json.loads(stack.run("backup", "verify", str(target), "--json").stdout)["ok"]


def destroy(stack: Stack) -> None:
    """The machine is lost, and with it the deletion log; `.env` was kept."""
    subprocess.run(["rm", "-rf", str(stack.settings.general.data_dir)], check=True)
    stack.settings.general.data_dir.mkdir()


def settle(stack: Stack) -> None:
    """Wait until what was restored in the midst of its work is done."""

    def is_settled() -> bool:
        counts = json.loads(stack.run("jobs", "list", "--json", "--limit", "0").stdout)["items"]
        return all(job["state"] not in ("queued", "running") for job in counts)

    wait_until(is_settled)


def wait_until(holds: Any) -> None:
    waiting = threading.Event()
    while not holds():
        waiting.wait(0.05)


def modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}


def take_blob_away(stack: Stack, file: Path) -> str:
    """Remove a file's blob from the store behind its back; its SHA-256."""
    sha256 = hashlib.sha256(file.read_bytes())
    asyncio.run(Objects.open_s3(stack.settings.s3).delete(sha256.digest()))
    return sha256.hexdigest()
