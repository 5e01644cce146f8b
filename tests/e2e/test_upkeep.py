"""`sync`, `scrub`, `keys` and `audit` as a person runs them, against a whole stack."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.conftest import Stack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three files and a hidden one."""
    papers = tmp_path / "papers"
    (papers / "deep").mkdir(parents=True)
    for name in ("one.txt", "two.txt", "deep/three.txt", ".hidden.txt"):
        (papers / name).write_text(f"This is {name}.")
    return papers


@pytest.fixture
def collection() -> str:
    return f"c-{uuid4().hex[:12]}"


def _sync(up: Stack, folder: Path, collection: str, *options: str, code: int = 0) -> dict[str, Any]:
    done = up.run("sync", str(folder), "-c", collection, "--json", *options, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"error": done.stderr}
    return result


def _external_ids(up: Stack, collection: str) -> dict[str, str]:
    listed = json.loads(up.run("documents", "-c", collection, "--json").stdout)["items"]
    return {document["external_id"]: document["sha256"] for document in listed}


def _numbers(result: dict[str, Any]) -> tuple[int, ...]:
    return tuple(result[name] for name in ("added", "changed", "deleted", "unchanged"))


def test_a_collection_follows_its_folder(up: Stack, folder: Path, collection: str) -> None:
    first = _sync(up, folder, collection)
    again = _sync(up, folder, collection)
    before = _external_ids(up, collection)
    (folder / "one.txt").write_text("This is another.")
    (folder / "two.txt").rename(folder / "renamed.txt")
    (folder / "deep" / "three.txt").unlink()
    planned = _sync(up, folder, collection, "--dry-run")
    unchanged_by_the_plan = _external_ids(up, collection)
    then = _sync(up, folder, collection)
    after = _external_ids(up, collection)

    assert [_numbers(each) for each in (first, again, planned, then)] == [
        (3, 0, 0, 0),
        (0, 0, 0, 3),
        (1, 1, 2, 0),
        (1, 1, 2, 0),
    ]
    assert (first["sent"]["ready"], then["sent"]["ready"]) == (3, 2)
    assert set(before) == {"papers/one.txt", "papers/two.txt", "papers/deep/three.txt"}
    assert unchanged_by_the_plan == before
    assert set(after) == {"papers/one.txt", "papers/renamed.txt"}
    assert after["papers/one.txt"] != before["papers/one.txt"]
    assert after["papers/renamed.txt"] == before["papers/two.txt"]


def test_an_empty_or_missing_folder_deletes_nothing_unless_told_to(
    up: Stack, folder: Path, collection: str, tmp_path: Path
) -> None:
    _sync(up, folder, collection, "--prefix", "p/")
    (tmp_path / "empty").mkdir()

    empty = _sync(up, tmp_path / "empty", collection, "--prefix", "p/", code=5)
    missing = _sync(up, tmp_path / "nowhere", collection, "--prefix", "p/", code=4)
    kept = len(_external_ids(up, collection))
    allowed = _sync(up, tmp_path / "empty", collection, "--prefix", "p/", "--allow-empty", "--take-over")

    assert "hint: is it the right folder" in empty["error"]
    assert "hint:" in missing["error"]
    assert (kept, _numbers(allowed)) == (3, (0, 0, 3, 0))
    assert _external_ids(up, collection) == {}


def test_many_deletions_want_a_yes_and_other_documents_are_left_alone(up: Stack, folder: Path, collection: str) -> None:
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"Number {number}.")
    _sync(up, folder, collection, "--no-wait")
    up.run("add", str(folder / "one.txt"), "-c", collection, "--external-id", "mine", "--no-wait")
    for number in range(12):
        (folder / f"{number}.txt").unlink()

    refused = _sync(up, folder, collection, code=5)
    without = _sync(up, folder, collection, "--no-delete")
    done = _sync(up, folder, collection, "--yes")

    assert "12 of 15 documents" in refused["error"]
    assert (_numbers(without), _numbers(done)) == ((0, 0, 0, 3), (0, 0, 12, 3))
    assert set(_external_ids(up, collection)) == {"mine", *(f"papers/{n}.txt" for n in ("one", "two", "deep/three"))}


def test_a_file_that_is_refused_is_told_and_the_others_are_there(up: Stack, folder: Path, collection: str) -> None:
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))

    result = _sync(up, folder, collection, code=1)

    assert (result["added"], result["sent"]["ready"], result["sent"]["refused"]) == (3, 3, 1)
    assert len(_external_ids(up, collection)) == 3


def test_two_folders_of_one_name_leave_each_other_alone(
    up: Stack, folder: Path, collection: str, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere" / "papers"
    other.mkdir(parents=True)
    (other / "one.txt").write_text("Another one.")
    _sync(up, folder, collection, "--no-wait")

    refused = _sync(up, other, collection, code=5)
    kept = set(_external_ids(up, collection))
    beside = _sync(up, other, collection, "--prefix", "others/", "--no-wait")
    taken = up.run("sync", str(other), "-c", collection, "--take-over")
    again = _sync(up, other, collection)

    assert f"came from {socket.gethostname()}:{folder}" in refused["error"]
    assert kept == {"papers/one.txt", "papers/two.txt", "papers/deep/three.txt"}
    assert _numbers(beside) == (1, 0, 0, 0)
    assert "deleted_path\tpapers/two.txt" in taken.stdout.splitlines()
    assert _numbers(again) == (0, 0, 0, 1)
    assert set(_external_ids(up, collection)) == {"papers/one.txt", "others/one.txt"}


def test_a_file_that_had_failed_is_told_each_time(up: Stack, folder: Path, collection: str) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF follows")
    first = _sync(up, folder, collection, code=1)

    again = _sync(up, folder, collection, code=1)
    planned = up.run("sync", str(folder), "-c", collection, "--dry-run")

    assert (first["added"], first["failed_before"], again["failed_before"]) == (4, 0, 1)
    (failed,) = again["sent"]["files"]
    assert (Path(failed["path"]).name, failed["outcome"], failed["code"]) == (
        "broken.pdf",
        "failed",
        "document.corrupt",
    )
    assert "it would be: 0 added, 0 changed, 0 deleted, 3 unchanged, 1 failed before" in planned.stderr


def test_a_badly_named_file_is_refused_and_the_others_are_there(up: Stack, folder: Path, collection: str) -> None:
    Path(os.fsdecode(bytes(folder) + b"/caf\xe9.txt")).write_text("A coffee.")

    result = _sync(up, folder, collection, code=1)

    (refused,) = [file for file in result["sent"]["files"] if file["outcome"] == "refused"]
    assert (refused["code"], refused["path"]) == ("sync.bad_name", f"{folder}/caf\ufffd.txt")
    assert (result["added"], set(_external_ids(up, collection))) == (
        3,
        {"papers/one.txt", "papers/two.txt", "papers/deep/three.txt"},
    )


def test_a_name_may_hold_what_a_keyboard_of_a_mac_writes(up: Stack, folder: Path, collection: str) -> None:
    names = ("at 3.00.00\u202fPM.txt", "\U0001f468\u200d\U0001f469.txt")
    for name in names:
        (folder / name).write_text(f"Shot {name}.")

    result = _sync(up, folder, collection)

    assert result["sent"]["ready"] == 5
    assert {f"papers/{name}" for name in names} < set(_external_ids(up, collection))


def test_what_lies_behind_a_link_that_leads_nowhere_for_now_is_kept(
    up: Stack, folder: Path, collection: str, tmp_path: Path
) -> None:
    share = tmp_path / "share"
    share.mkdir()
    for number in range(3):
        (share / f"{number}.txt").write_text(f"On the share: {number}.")
    (folder / "share").symlink_to(share)
    _sync(up, folder, collection)
    before = _external_ids(up, collection)
    share.rename(tmp_path / "not mounted")

    away = _sync(up, folder, collection, code=1)
    after = _external_ids(up, collection)

    assert (away["deleted"], after) == (0, before)
    assert [file["code"] for file in away["sent"]["files"] if file["outcome"] == "refused"] == ["file.unreadable"]


def test_a_scrub_of_a_whole_store_says_so(up: Stack, folder: Path, collection: str) -> None:
    _sync(up, folder, collection)

    done = up.run("scrub", "--all", "--json")

    found = json.loads(done.stdout)
    assert (found["state"], found["problems"]) == ("done", [])
    assert found["checked"] == found["total"] > 3


def test_a_limited_key_is_refused_and_told_why(up: Stack, folder: Path, collection: str) -> None:
    prefix = up.settings.api.key.get_secret_value().split(".")[0]
    up.run("keys", "limit", prefix, "--documents", "0")
    try:
        shown = up.run("keys", "limit", prefix).stdout
        refused = up.run("add", str(folder), "-c", collection, check=False)
    finally:
        removed = up.run("keys", "limit", prefix, "--documents", "default").stdout

    assert shown == "documents_per_day\t0\nbytes_per_day\tno limit\n"
    assert removed == "documents_per_day\tno limit\nbytes_per_day\tno limit\n"
    assert refused.returncode == 3
    assert "This key may upload 0 documents a day" in refused.stderr
    assert up.run("add", str(folder), "-c", collection).returncode == 0


def _searches(up: Stack, key: str, collection: str) -> int:
    done = up.run("search", "one", "-c", collection, "--json", check=False, key=key)
    return done.returncode


def test_a_key_is_made_narrowed_rotated_and_revoked(up: Stack, folder: Path, collection: str) -> None:
    up.run("add", str(folder), "-c", collection)
    up.run("add", str(folder), "-c", f"{collection}-b")

    made = up.run("keys", "create", "website", "--scope", "read", "-c", collection, "--expires", "90d")
    key = made.stdout.strip()
    prefix = key.partition(".")[0]

    assert made.stdout == f"{key}\n"
    assert "not shown again" in made.stderr
    assert [_searches(up, key, name) for name in (collection, f"{collection}-b")] == [0, 4]
    refused = up.run("add", str(folder), "-c", collection, check=False, key=key)
    assert refused.returncode == 3
    assert "scope 'write'" in refused.stderr
    row = next(line for line in up.run("keys", "list").stdout.splitlines() if line.startswith(prefix)).split("\t")
    assert row[1:4] == ["website", "read", collection]

    changed = json.loads(up.run("keys", "change", prefix, "-c", "all", "--expires", "never", "--json").stdout)
    assert (changed["collection_ids"], changed["expires_at"]) == (None, None)
    assert _searches(up, key, f"{collection}-b") == 0

    new = up.run("keys", "rotate", prefix, "--overlap", "0").stdout.strip()
    assert [_searches(up, each, collection) for each in (key, new)] == [3, 0]

    up.run("keys", "revoke", prefix)
    assert _searches(up, new, collection) == 3
    assert prefix not in up.run("keys", "list").stdout
    assert prefix in up.run("keys", "list", "--ended").stdout


def test_who_changed_what_is_listed_and_exported(up: Stack, folder: Path, collection: str, tmp_path: Path) -> None:
    up.run("add", str(folder), "-c", collection)
    ids = {each["id"] for each in json.loads(up.run("documents", "-c", collection, "--json").stdout)["items"]}

    listed = json.loads(up.run("audit", "list", "--action", "document.create", "-n", "0", "--json").stdout)["items"]
    table = up.run("audit", "list", "--subject", min(ids)).stdout.splitlines()
    up.run("audit", "export", str(tmp_path / "audit.jsonl"), "--newer-than", "1h")
    up.run("audit", "export", str(tmp_path / "audit.csv"))

    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert ids <= {row["subject_id"] for row in listed}
    assert [line.split("\t")[2] for line in table] == ["what", "document.create"]
    assert [row["id"] for row in lines] == sorted(row["id"] for row in lines)
    assert ids <= {row["subject_id"] for row in lines if row["action"] == "document.create"}
    assert (tmp_path / "audit.csv").read_text().startswith("id,at,actor,action,")


def test_what_became_of_a_document_stands_in_the_workers_log(up: Stack, folder: Path, collection: str) -> None:
    up.run("add", str(folder / "one.txt"), "-c", collection)
    (document,) = json.loads(up.run("documents", "-c", collection, "--json").stdout)["items"]

    said = up.run("logs", "worker").stdout

    assert any("document.ready" in line and document["id"] in line for line in said.splitlines())
