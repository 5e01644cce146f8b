"""The data commands as a person runs them: processes of their own against a real web and worker process."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests import canaries

_ROOT = Path(__file__).parents[2]
_DRYSTONE = (sys.executable, "-m", "drystone.cli.main")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_DEADLINE_S = 120


@pytest.fixture(scope="module")
def running(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a shell in which a web and a worker process run, on a port and a database of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shell = {**os.environ, **environment, "API_PORT": port, "DRYSTONE_ROOT": str(_ROOT)}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        shell.pop(name, None)
    web = (sys.executable, "-m", "uvicorn", "--factory", "drystone.web:create_app", "--port", port)
    logs = tmp_path_factory.mktemp("logs")
    started = [_start(argv, shell, logs / name) for name, argv in (("web", web), ("worker", (*_DRYSTONE, "worker")))]
    try:
        _wait_until_alive(f"http://127.0.0.1:{port}/health/live", started[0], logs / "web")
        yield {**shell, "SAID_IN": str(logs)}
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _start(argv: tuple[str, ...], shell: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(argv, env=shell, stdout=out, stderr=out, cwd=_ROOT, start_new_session=True)


def _wait_until_alive(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"web did not start:\n{log.read_text()}")


def _run(shell: Mapping[str, str], *args: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = (*_DRYSTONE, *args)
    done = subprocess.run(argv, env=shell, input=given, capture_output=True, timeout=_DEADLINE_S, check=False)
    canaries.note(Path(shell["SAID_IN"]), args, (done.stdout + done.stderr).decode(errors="replace"))
    return done


def _json(shell: Mapping[str, str], *args: str, given: bytes = b"", code: int = 0) -> Any:
    done = _run(shell, *args, "--json", given=given)
    assert done.returncode == code, done.stderr.decode()
    return json.loads(done.stdout)


def _on_terminal(
    shell: Mapping[str, str],
    *args: str,
    columns: int,
    code: int = 0,
    interrupt_after: bytes | None = None,
    keys: bytes = b"",
) -> str:
    """What a terminal of this width is sent. interrupt_after: press Ctrl-C when this has been seen; keys: typed before."""
    keeper, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    if keys:
        os.write(keeper, keys + b"\n")
    env = {**shell, "TERM": "xterm-256color"}
    with subprocess.Popen((*_DRYSTONE, *args), env=env, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        seen = b""
        while part := _read(keeper):
            seen += part
            if interrupt_after is not None and interrupt_after in seen:
                process.send_signal(signal.SIGINT)
                interrupt_after = None
        os.close(keeper)
    assert process.returncode == code, seen.decode()
    return seen.decode().replace("\r\n", "\n")


def _read(keeper: int) -> bytes:
    try:
        return os.read(keeper, 65536)
    except OSError:  # Linux says so when the other side has been closed
        return b""


def test_a_folder_ends_with_an_outcome_for_every_file(running: dict[str, str], tmp_path: Path, collection: str) -> None:
    for number in range(25):
        (tmp_path / f"note-{number:02}.txt").write_text(f"Note number {number}: a dry stone wall of {number} stones.")
    (tmp_path / "same.txt").write_text((tmp_path / "note-00.txt").read_text())
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF follows")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")
    (tmp_path / ".hidden.txt").write_text("not for others")

    report = _json(running, "add", str(tmp_path), "-c", collection, code=1)

    outcomes = {Path(file["path"]).name: (file["outcome"], file["code"]) for file in report["files"]}
    assert report["ready"] + report["already_there"] == 26
    assert (report["already_there"], report["failed"], report["refused"]) == (1, 1, 3)
    assert outcomes["broken.pdf"][0] == "failed"
    assert outcomes["empty.txt"] == ("refused", "document.empty")
    assert outcomes["picture.png"] == ("refused", "document.unsupported_type")
    assert outcomes["gone.txt"] == ("refused", "file.unreadable")
    assert ".hidden.txt" not in outcomes
    failed = _json(running, "documents", "--state", "failed", "-c", collection)["items"]
    assert [document["name"] for document in failed] == ["broken.pdf"]


def test_the_plain_report_has_a_line_with_the_reason_for_each_problem(
    running: dict[str, str], tmp_path: Path, collection: str
) -> None:
    (tmp_path / "empty.txt").touch()

    done = _run(running, "add", str(tmp_path / "empty.txt"), "-c", collection)

    assert done.returncode == 1
    lines = done.stdout.decode().splitlines()
    assert "refused\t1" in lines
    assert lines[-1].split("\t")[:3] == ["refused", str(tmp_path / "empty.txt"), "document.empty"]
    assert done.stderr == b""


def test_the_same_file_again_is_there_already(running: dict[str, str], tmp_path: Path, collection: str) -> None:
    (tmp_path / "a.txt").write_text("A wall.")
    first = _json(running, "add", str(tmp_path / "a.txt"), "-c", collection)

    again = _json(running, "add", str(tmp_path / "a.txt"), "-c", collection)

    assert (first["ready"], again["already_there"]) == (1, 1)
    assert first["files"][0]["document_id"] == again["files"][0]["document_id"]


def test_what_is_piped_in_is_found_and_its_quote_is_the_slice_of_its_text(
    running: dict[str, str], collection: str
) -> None:
    page = "<h1>Walls</h1><p>A dry stone wall — 墙 — stands without mortar.</p>".encode()
    _json(running, "add", "-", "--name", "page.html", "-c", collection, given=page)

    answer = _json(running, "search", "which", "wall", "needs", "no", "mortar", "-c", collection)

    hit = answer["hits"][0]
    text = _run(running, "documents", "text", hit["document"]["id"]).stdout.decode()
    assert "without mortar" in hit["quote"]
    assert text[hit["start"] : hit["end"]] == hit["quote"]
    assert hit["document"]["name"] == "page.html"


def test_title_external_id_and_attributes_arrive_and_filter(
    running: dict[str, str], tmp_path: Path, collection: str
) -> None:
    for year in (1950, 1970):
        (tmp_path / "shell.txt").write_text(f"Thin shells buckle, as was known in {year}.")
        options = ("--external-id", f"s-{year}", "--title", f"Shells {year}", "-a", f"year={year}", "-a", "by=Ada")
        _json(running, "add", str(tmp_path / "shell.txt"), "-c", collection, *options)

    filter_ = json.dumps({"type": "gte", "key": "year", "value": 1960})
    answer = _json(running, "search", "shells", "-c", collection, "--filter", filter_)
    plain = ("--merge", "--collapse", "none", "--diversity", "0.5")
    assert len(_json(running, "search", "shells", "-c", collection, *plain)["hits"]) == 2

    (document,) = [hit["document"] for hit in answer["hits"]]
    assert (document["title"], document["external_id"]) == ("Shells 1970", "s-1970")
    assert document["attributes"] == {"year": 1970, "by": "Ada"}


def test_a_deleted_document_is_gone(running: dict[str, str], collection: str) -> None:
    report = _json(running, "add", "-", "-c", collection, given=b"A wall.")
    document_id = report["files"][0]["document_id"]

    assert _json(running, "documents", "show", document_id)["state"] == "ready"
    deleted = _run(running, "documents", "delete", document_id)
    shown = _run(running, "documents", "show", document_id)

    assert (deleted.returncode, deleted.stdout) == (0, b"")
    assert (shown.returncode, shown.stdout) == (4, b"")
    assert shown.stderr.startswith(b"error: There is no document")


def test_many_documents_are_deleted_by_filter_after_a_look_and_a_yes(
    running: dict[str, str], collection: str, tmp_path: Path
) -> None:
    for year in (1950, 1960, 1970):
        (tmp_path / f"{year}.txt").write_text(f"A wall of {year}.")
        _json(running, "add", str(tmp_path / f"{year}.txt"), "-c", collection, "-a", f"year={year}")
    chosen = ("documents", "delete", "-c", collection, "--filter", '{"type": "lt", "key": "year", "value": 1965}')

    looked = _json(running, *chosen, "--dry-run")
    nobody = _run(running, *chosen)
    done = _json(running, *chosen, "--yes")
    nothing = _run(running, "documents", "delete")

    assert (looked["count"], len(looked["sample"]), done["count"]) == (2, 2, 2)
    assert (nobody.returncode, b"hint: add --yes" in nobody.stderr) == (2, True)
    assert len(_json(running, "documents", "-c", collection)["items"]) == 1
    assert (nothing.returncode, b"Say which documents" in nothing.stderr) == (2, True)


def test_versions_are_listed_and_an_old_one_is_restored(running: dict[str, str], collection: str) -> None:
    for text in (b"A wall of old.", b"A wall of today."):
        report = _json(running, "add", "-", "-c", collection, "--external-id", "wall", given=text)
    document_id = report["files"][0]["document_id"]

    _run(running, "documents", "restore", document_id, "1")
    listed = _json(running, "documents", "versions", document_id)["items"]
    shown = _COLOUR.sub("", _on_terminal(running, "documents", "versions", document_id, columns=80))
    (plain, *_) = _run(running, "documents", "versions", document_id).stdout.decode().splitlines()[1:]
    (mine,) = [each for each in _json(running, "collections")["items"] if each["name"] == collection]
    named = _COLOUR.sub("", _on_terminal(running, "collections", columns=80))

    by_number = {each["number"]: each["sha256"] for each in listed}
    assert by_number[3] == by_number[1] != by_number[2]
    assert listed[0]["id"] in plain.split("\t")
    assert len(shown.splitlines()) >= 5
    assert sum(mine["documents"].values()) == 1
    assert collection in named


def test_nothing_found_is_said_beside_the_data_and_is_no_error(running: dict[str, str], collection: str) -> None:
    _json(running, "add", "-", "-c", collection, given=b"A wall.")

    done = _run(running, "search", "zebra", "--mode", "lexical", "-c", collection)

    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode().strip() == f"no hits in {collection}"


def test_the_guide_of_answers_does_what_it_says(running: dict[str, str], tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (_ROOT / "docs" / "guides" / "answers.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    launcher = tmp_path / "drystone"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m drystone.cli.main "$@"\n')
    launcher.chmod(0o755)
    (tmp_path / ".env").write_text(f"API_PORT={running['API_PORT']}\n")

    done = subprocess.run(
        ["bash", "-c", "set -e\n" + "\n".join(blocks)],
        cwd=tmp_path,
        env=dict(running),
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "The Forth Bridge was opened on 4 March 1890. [1]\n\n[1] The Forth Bridge  bridge.md\n" in done.stdout
    assert '"is_supported":true' in done.stdout
    kinds = re.findall(r"^event: (\w+)$", done.stdout, re.MULTILINE)
    assert (kinds[0], kinds[-1]) == ("passages", "done")
    assert "span 521 metres each" in done.stdout.rpartition("event: sentence")[2]


def test_an_answer_is_sentences_with_sources_or_nothing(running: dict[str, str], collection: str) -> None:
    _json(running, "add", "-", "-c", collection, given=b"Dry stone walls stand without any mortar between the stones.")

    answer = _json(running, "ask", "do dry stone walls need mortar", "-c", collection)
    none = _run(running, "ask", "who", "won", "the", "cup", "in", "1974", "-c", collection)
    refused = _run(running, "ask", "why", "-c", collection, "--mode", "generated")

    assert answer["sentences"][0]["support"][0]["quote"].startswith("Dry stone walls stand")
    assert (none.returncode, none.stdout) == (0, b"")
    assert f"no answer in {collection}" in none.stderr.decode()
    assert (refused.returncode, b"There is no model here" in refused.stderr) == (2, True)


def test_jobs_are_listed_newest_first_and_shown(running: dict[str, str], collection: str) -> None:
    _json(running, "add", "-", "-c", collection, given=b"A wall to list.")

    listed = _json(running, "jobs", "--limit", "2")["items"]

    assert listed[0]["created_at"] >= listed[-1]["created_at"]
    assert _json(running, "jobs", "show", listed[0]["id"])["kind"] == listed[0]["kind"]


def test_each_job_is_one_line_that_begins_with_its_file(
    running: dict[str, str], tmp_path: Path, collection: str
) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7\nnothing of a PDF follows")
    _json(running, "add", str(broken), "-c", collection, code=1)

    for columns in (80, 110, 150):
        seen = _COLOUR.sub("", _on_terminal(running, "jobs", "-c", collection, columns=columns))

        _head, _rule, *rows = seen.splitlines()
        (row,) = [row for row in rows if row.strip()]
        assert re.match(r"broken\.pdf +failed +ingest +[0-9a-f-]{18} +The file is dam", row), seen
        assert len(row) <= columns


def test_a_job_is_named_by_what_lists_show_of_its_id_or_by_its_document(
    running: dict[str, str], collection: str
) -> None:
    report = _json(running, "add", "-", "-c", collection, given=b"A wall with a job.")
    (job,) = _json(running, "jobs", "-c", collection)["items"]

    by_part = _json(running, "jobs", "show", job["id"][:18])
    by_document = _json(running, "jobs", "show", report["files"][0]["document_id"])
    done = _run(running, "jobs", "retry", report["files"][0]["document_id"])
    nothing = _run(running, "jobs", "show", "01234567-89ab-7")

    assert by_part["id"] == by_document["id"] == job["id"]
    assert (done.returncode, b"The job is done" in done.stderr) == (5, True)
    assert (nothing.returncode, b"There is no job 01234567-89ab-7" in nothing.stderr) == (4, True)


def test_deliveries_of_webhooks_are_listed_and_cancelled_only_when_they_are_named(
    running: dict[str, str], collection: str
) -> None:
    api = f"http://127.0.0.1:{running['API_PORT']}/api/v1"
    key = {"Authorization": f"Bearer {running['DRYSTONE_API_KEY']}"}
    given = {"url": "http://127.0.0.1:9/away", "collection": collection}
    _json(running, "add", "-", "-c", collection, given=b"A wall that is there before anybody asks.")
    httpx.post(f"{api}/webhooks", json=given, headers=key, trust_env=False).raise_for_status()
    _json(running, "add", "-", "-c", collection, given=b"A wall that nobody is told of.")
    _wait_for_a_delivery(running)

    listed = _json(running, "jobs")["items"]
    beside = _run(running, "jobs").stderr.decode()
    every = _run(running, "jobs", "cancel", "--all", "--dry-run").stderr.decode()
    asked = _COLOUR.sub(
        "", _on_terminal(running, "jobs", "cancel", "--kind", "webhooks.*", columns=80, code=1, keys=b"n")
    )
    named = _run(running, "jobs", "cancel", "--kind", "webhooks.*").stderr.decode()

    assert all(job["kind"].startswith("documents.") for job in listed)
    assert re.search(r"[1-9]\d* for webhooks left out", beside)
    assert every.startswith("0 jobs would be cancelled")
    assert re.search(r"[1-9]\d* jobs? would be cancelled\. Go on\?", asked)
    assert re.match(r"[1-9]\d* jobs? cancelled", named)


def _wait_for_a_delivery(running: dict[str, str]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not _json(running, "jobs", "--kind", "webhooks.*", "--state", "queued")["items"]:
        assert time.monotonic() < deadline, "no webhook was tried"
        time.sleep(0.2)


def test_documents_of_one_title_are_told_apart(running: dict[str, str], tmp_path: Path, collection: str) -> None:
    for name in ("first.md", "second.md"):
        (tmp_path / name).write_text(f"# A Report on Kites\n\nThis is the {name}.")
    _json(running, "add", str(tmp_path), "-c", collection)

    for columns in (60, 80, 130):
        seen = _COLOUR.sub("", _on_terminal(running, "documents", "-c", collection, columns=columns))

        assert (seen.count("A Report on Kites"), "first.md" in seen, "second.md" in seen) == (2, True, True), seen


def test_nothing_is_wider_than_a_narrow_terminal_and_ids_stay_whole(running: dict[str, str], collection: str) -> None:
    text = b"A dry stone wall stands without mortar. " * 20
    report = _json(
        running, "add", "-", "--name", "a-file-with-a-very-long-name-indeed.txt", "-c", collection, given=text
    )
    document_id = report["files"][0]["document_id"]

    for args in (("search", "walls", "-c", collection, "-n", "1"), ("documents", "-c", collection)):
        seen = _COLOUR.sub("", _on_terminal(running, *args, columns=40))

        assert max(map(len, seen.splitlines())) <= 40, seen
        assert document_id in seen


def test_words_of_the_question_are_marked_on_a_terminal_only(running: dict[str, str], collection: str) -> None:
    _json(running, "add", "-", "-c", collection, given=b"Dry stone walls stand.")
    search = ("search", "the", "wall", "-c", collection)

    coloured = _on_terminal(running, *search, columns=80)
    without_colour = _on_terminal({**running, "NO_COLOR": "1"}, *search, columns=80)
    piped = _run(running, *search).stdout.decode()

    assert re.search(r"\x1b\[1;33mwalls\x1b\[0m", coloured)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", without_colour)
    assert "\x1b" not in piped
    assert "   Dry stone walls stand.\n" in piped


def test_an_interrupted_add_says_how_much_was_sent(running: dict[str, str], tmp_path: Path, collection: str) -> None:
    for number in range(300):
        (tmp_path / f"{number}.txt").write_text(f"Wall number {number}.")

    seen = _on_terminal(
        running, "add", str(tmp_path), "-c", collection, columns=80, code=130, interrupt_after=b"files/s"
    )

    assert re.search(r"interrupted; \d+ of 300 files were sent", _COLOUR.sub("", seen))
    assert "Traceback" not in seen


@pytest.fixture(scope="module")
def judged(running: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A collection of four documents, and files of queries and judgements that fit it but for a few."""
    folder, collection = tmp_path_factory.mktemp("judged"), "judged"
    texts = {
        "walls": "A dry stone wall stands without mortar, by the weight of its stones.",
        "bridges": "A suspension bridge hangs from cables of steel.",
        "kites": "A kite flies because the wind lifts it.",
    }
    for name, text in texts.items():
        _json(
            running, "add", "-", "-c", collection, "--external-id", name, "--title", name.title(), given=text.encode()
        )
    unnamed = _json(running, "add", "-", "-c", collection, given=b"Bees make honey in summer.")["files"][0]
    (folder / "queries.tsv").write_text(
        "id\ttext\n1\twhich wall needs no mortar\n2\twhat lifts it in the wind\n3\twho makes honey\n"
        "4\tnobody judged this\n"
    )
    (folder / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n1\twalls\t2\n1\tcastles\t1\n2\tkites\t1\n"
        f"3\t{unnamed['document_id']}\t1\n5\twalls\t1\n"
    )
    files = ("--queries", str(folder / "queries.tsv"), "--qrels", str(folder / "qrels.tsv"))
    return {"args": ("eval", collection, *files), "folder": folder}


def test_an_evaluation_measures_what_was_judged_and_tells_what_was_not(
    running: dict[str, str], judged: dict[str, Any]
) -> None:
    found = _json(running, *judged["args"])

    (run,) = found["runs"]
    assert (found["queries"], run["name"], run["settings"]["mode"]) == (3, "hybrid", "hybrid")
    # Of the two documents that answer query 1 one is there: 2 / (2 + 1 / log2(3)), and 1 for the others.
    assert run["measures"]["ndcg@10"]["value"] == pytest.approx((0.7602 + 2) / 3, abs=1e-4)
    assert run["measures"]["recall@100"]["value"] == pytest.approx(2.5 / 3)
    assert run["measures"]["mrr@10"]["value"] == 1
    assert 0 < run["latency_ms"]["p50"] <= run["latency_ms"]["p95"]
    assert {gap["code"]: gap["examples"] for gap in found["gaps"]} == {
        "queries.missing": ["5"],
        "queries.unjudged": ["4"],
        "documents.missing": ["castles"],
    }
    assert found["by_query"][0]["text"] == "which wall needs no mortar"


def test_settings_and_earlier_runs_are_compared_and_the_report_is_written(
    running: dict[str, str], judged: dict[str, Any], tmp_path: Path
) -> None:
    before, report = tmp_path / "before.jsonl", tmp_path / "report"
    saved = _run(running, *judged["args"], "--save-run", str(before), "--trec", str(tmp_path / "run.trec"))
    options = ("--against", 'mode=lexical,filter={"type":"eq","key":"none","value":1}', "--against-run", str(before))
    found = _json(
        running, *judged["args"], *options, "--against-run", str(tmp_path / "run.trec"), "--report", str(report)
    )

    assert saved.returncode == 0, saved.stderr
    filtered, same, trec = found["comparisons"]
    gained = filtered["measures"]["mrr@10"]
    assert (gained["value"], gained["low"], gained["high"], gained["better"]) == (1, 1, 1, 3)
    assert gained["p_value"] == pytest.approx(2 / 8, abs=0.02)  # of the signs of three queries, all alike
    assert [each["measures"]["ndcg@10"]["equal"] for each in (same, trec)] == [3, 3]
    assert [run["name"] for run in found["runs"]][2:] == ["before.jsonl", "run.trec"]
    assert {path.suffix for path in report.iterdir()} == {".html", ".svg", ".json", ".jsonl"}


def test_an_evaluation_that_is_not_good_enough_fails(running: dict[str, str], judged: dict[str, Any]) -> None:
    nothing = 'filter={"type":"eq","key":"none","value":1}'

    good = _run(running, *judged["args"], "--fail-under", "ndcg@10=0.9", "--fail-under", "MRR@10=1")
    bad = _run(running, *judged["args"], "--fail-under", "ndcg@10=0.93", "--fail-under", "recall@100=0.5")
    better = _run(running, *judged["args"], "--against", nothing, "--fail-if-worse")
    worse = _run(running, *judged["args"], "--set", nothing, "--against", "filter=null", "--fail-if-worse")

    assert [each.returncode for each in (good, bad, better, worse)] == [0, 1, 0, 1], worse.stderr
    assert b"failed: nDCG@10 is 0.9201, below 0.93" in bad.stderr
    assert b"failed: Recall" not in bad.stderr
    assert b"failed: MRR@10 is worse than hybrid by 1.0000 [1.0000, 1.0000]" in worse.stderr
    assert worse.stdout


def test_an_evaluation_is_lines_for_programs_and_a_table_with_progress_on_a_terminal(
    running: dict[str, str], judged: dict[str, Any]
) -> None:
    piped = _run(running, *judged["args"], "--against", "mode=lexical")
    for columns in (80, 120):
        seen = _COLOUR.sub("", _on_terminal(running, *judged["args"], "--against", "mode=dense", columns=columns))

        assert "hybrid − dense" in seen
        assert "asked" in seen
        assert max(len(re.sub(r"\x1b\[[?\d]*[A-Za-z]", "", line)) for line in seen.splitlines()) <= columns, seen
    lines = [line.split("\t") for line in piped.stdout.decode().splitlines()]
    assert [line[:3] for line in lines][:2] == [["measure", "hybrid", "ndcg@10"], ["measure", "hybrid", "recall@100"]]
    assert ["difference", "hybrid", "lexical", "mrr@10"] in [line[:4] for line in lines]
    assert "━".encode() not in piped.stderr
    assert b"relevant documents that are not in judged and count as not found: 1 (castles)" in piped.stderr


@pytest.mark.parametrize(
    ("options", "qrels", "code", "said"),
    [
        ((), "1 0 walls 1\n1 0 walls\n", 2, "qrels:2: 3 columns stand here"),
        ((), "1\twalls\t1\n", 2, "qrels:1: The line begins neither"),
        ((), "1 0 castles 1\n", 2, "Its documents go by ids such as walls, bridges, kites."),
        ((), "9 0 walls 1\n", 2, "No query of"),
        (("--against", "lexical"), "1 0 walls 1\n", 2, "is not KEY=VALUE"),
        (("--fail-under", "ndcg=0.5"), "1 0 walls 1\n", 2, "measures: ndcg@10, recall@100, mrr@10"),
        (("--fail-if-worse",), "1 0 walls 1\n", 2, "add --against or --against-run"),
        (("--against", 'filter={"type":"eq","key":"n","value":1e999}'), "1 0 walls 1\n", 2, "is no JSON"),
        (("--against", "colour=red"), "1 0 walls 1\n", 2, "/colour"),
        (("--against", "collection=none"), "1 0 walls 1\n", 4, "none"),
        (("--save-run", "/no/such/folder/run"), "1 0 walls 1\n", 4, "There is no folder /no/such/folder"),
        (("--report", __file__), "1 0 walls 1\n", 2, "is no folder"),
        (("--against-run", "/no/run"), "1 0 walls 1\n", 4, "Cannot read /no/run"),
    ],
)
def test_an_evaluation_that_cannot_be_says_why_and_prints_nothing(
    running: dict[str, str],
    judged: dict[str, Any],
    tmp_path: Path,
    options: tuple[str, ...],
    qrels: str,
    code: int,
    said: str,
) -> None:
    (tmp_path / "qrels").write_text(qrels)

    done = _run(running, *judged["args"], "--qrels", str(tmp_path / "qrels"), *options)

    assert (done.returncode, done.stdout) == (code, b""), done.stderr
    assert said in done.stderr.decode()


@pytest.mark.parametrize(
    ("change", "args", "code", "said"),
    [
        ({"API_PORT": "1"}, ("search", "x"), 69, 'hint: run "drystone up"'),
        ({"API_PORT": "1"}, ("add", __file__), 69, 'hint: run "drystone up"'),
        ({"DRYSTONE_API_KEY": "dsk_wrong." + "a" * 43}, ("add", __file__), 3, "DRYSTONE_API_KEY"),
        ({}, ("search", "x", "-c", "no-such-collection"), 4, 'hint: "drystone collections" lists'),
        ({}, ("search", "x", "--filter", "{"), 2, "hint: for example"),
        ({}, ("search", "x", "--filter", '{"type":"eq","key":"n","value":NaN}'), 2, "hint: for example"),
        ({}, ("search", "x", "--filter", '{"type":"eq","key":"n","value":1e999}'), 2, "hint: for example"),
        ({}, ("search", "x", "--filter", "[" * 100_000), 2, "hint: for example"),
        ({}, ("documents", "show", "abc"), 2, "is not an id"),
        ({}, ("add", "no-such-file"), 4, "Cannot find no-such-file"),
        ({}, ("add", __file__, str(_ROOT / "LICENSE"), "--title", "One for two"), 2, "--title"),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_a_sentence(
    running: dict[str, str], change: dict[str, str], args: tuple[str, ...], code: int, said: str
) -> None:
    done = _run({**running, **change}, *args)

    assert done.returncode == code, done.stderr
    assert done.stdout == b""
    assert done.stderr.startswith(b"error: ")
    assert said in done.stderr.decode()


def test_help_does_not_load_what_it_does_not_need(running: dict[str, str]) -> None:
    loaded = "import sys, drystone.cli.main; print([m for m in ('httpx', 'numpy', 'sqlalchemy', 'onnxruntime', 'celery') if m in sys.modules])"

    done = subprocess.run((sys.executable, "-c", loaded), env=running, capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "[]", done.stderr


def test_a_key_that_has_another_s_name_or_rights_for_nothing_is_made_with_a_warning(
    running: dict[str, str], collection: str
) -> None:
    _json(running, "add", "-", "--name", "a.txt", "-c", collection, given=b"Words.")

    first = _run(running, "keys", "create", collection, "-s", "read")
    second = _run(running, "keys", "create", collection, "-s", "admin", "-c", collection)

    prefix = first.stdout.decode().partition(".")[0]
    assert (first.returncode, second.returncode) == (0, 0)
    assert b"too" not in first.stderr
    assert b"whole workspace" not in first.stderr
    said = " ".join(second.stderr.decode().split())
    assert f"{prefix} has the name '{collection}' too" in said
    assert "of the whole workspace, and refused" in said
    assert len(second.stdout.split()) == 1  # the key alone


def test_observations_go_in_from_files_and_come_out_as_tables(
    running: dict[str, str], environment: dict[str, str], tmp_path: Path
) -> None:
    key = f"pump-{uuid4().hex[:8]}"
    asyncio.run(_make_entity(environment, key))
    readings = tmp_path / "readings.csv"
    readings.write_text(
        f"entity,metric,observed_at,value,unit\n{key},level,2026-05-01T10:00:00Z,1,m\n"
        f"{key},level,2026-05-02T10:00:00Z,3,m\nnobody,level,2026-05-02T10:00:00Z,3,m\n"
    )

    first = _run(running, "observe", str(readings))
    line = json.dumps({"entity": key, "metric": "level", "observed_at": "2026-05-02T11:00:00Z", "value": 6})
    second = _json(running, "observe", "-", given=line.encode())
    days = _run(running, "series", "buckets", "-e", key, "--from", "2026-05-01", "--until", "2026-05-04")
    span = ("--from", "2026-05-01", "--until", "2026-05-04")
    filled = _run(running, "series", "buckets", "-e", key, *span, "--fill", "zero")
    means = _run(running, "series", "average", "-e", key, *span, "--window", "2", "--fill", "zero")
    mentioned = _json(running, "series", "list", "-e", key, "-m", "mentions")
    latest = _json(running, "series", "latest", "-e", key, "--as-of", "2026-05-01T12:00:00Z")
    shown = _on_terminal(running, "series", "list", "-e", key, columns=120)

    assert (first.returncode, first.stdout.decode().split()) == (1, ["inserted", "2", "refused", "1"])
    assert f"{readings}:4: There is no entity 'nobody'" in first.stderr.decode().replace("\n", "")
    assert 'fix: name one by its key or id; "drystone entities put FILE" makes one' in first.stderr.decode()
    assert second["inserted"] == 1
    assert days.stdout.decode().splitlines() == [
        "from\tlevel [m]",
        "2026-05-01T00:00:00Z\t1.0",
        "2026-05-02T00:00:00Z\t4.5",
    ]
    assert [line.split("\t")[1] for line in filled.stdout.decode().splitlines()[1:]] == ["1.0", "4.5", "0.0"]
    # Of the second day two values, of an empty one a single 0.
    assert [float(line.split("\t")[1]) for line in means.stdout.decode().splitlines()[1:]] == [0.5, 10 / 3, 3]
    assert mentioned["items"] == []
    assert [each["value"] for each in latest["items"]] == [1]
    assert key in shown


def test_observations_are_deleted_by_those_who_were_told_how_many(
    running: dict[str, str], environment: dict[str, str]
) -> None:
    key = f"pump-{uuid4().hex[:8]}"
    asyncio.run(_make_entity(environment, key))
    lines = [
        json.dumps({"entity": key, "metric": "level", "observed_at": f"2026-05-02T{hour:02}:00:00Z", "value": hour})
        for hour in range(6)
    ]
    _json(running, "observe", "-", given="\n".join(lines).encode())
    which = ("series", "delete", "-e", key, "--from", "2026-05-02T01:00:00Z", "--until", "2026-05-02T03:00:00Z")

    would = _run(running, *which, "--dry-run")
    unasked = _run(running, *which)
    refused = _on_terminal(running, *which, columns=80, code=1, keys=b"n")
    gone = _on_terminal(running, *which, columns=80, keys=b"y")
    left = _json(running, "series", "raw", "-e", key)
    none = _run(running, *which, "--yes")

    assert (would.returncode, would.stderr.decode()) == (0, "2 observations of 1 series would be deleted\n")
    assert (unasked.returncode, "nobody to ask" in unasked.stderr.decode()) == (2, True)
    assert "Delete 2 observations of 1 series for ever?" in refused
    assert "2 observations of 1 series deleted" in gone
    assert [each["value"] for each in left["items"]] == [0, 3, 4, 5]
    assert none.stderr.decode() == "0 observations of 1 series would be deleted\n"


async def _make_entity(environment: Mapping[str, str], key: str) -> None:
    connection = await asyncpg.connect(environment["MIGRATION_DATABASE_URL"])
    await connection.execute(
        "insert into entities (id, workspace_id, type, key, created_by)"
        " select gen_random_uuid(), id, 'category', $1, 'test' from workspaces where name = 'default'",
        key,
    )
    await connection.close()
