"""The limits that docs/reference/http.md states are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drystone.adapters import chat
from drystone.adapters.embedding.openai import SEARCH_WAITS_S
from drystone.adapters.parsing.parsed import MOST_PIXELS
from drystone.answers import schemas as answers
from drystone.answers.context import WAIT_S as ANSWER_WAIT_S
from drystone.api import observing
from drystone.catalogue import applying, definitions, drafts, drawing
from drystone.console import pages
from drystone.core import db
from drystone.documents import deleting, filters, own_vectors, pictures
from drystone.http import bodies, connections, streams, upload, waiting
from drystone.index import spaces
from drystone.jobs import feed, ledger
from drystone.observations import adding, buckets, months, reading, rows
from drystone.openai import store_schemas, uploads
from drystone.search import comparing, schemas, texts
from drystone.search.context import WAIT_S

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reference" / "http.md").read_text()
LIMITS = PAGE.split("\n## Limits\n")[1].split("\n## ")[0]
KEEP_ALIVE = re.findall(r"--timeout-keep-alive (\d+)", (ROOT / "Procfile").read_text())[0]


def _default(variable: str) -> str:
    """As `.env.example` has it, which is written from the settings."""
    return str(re.findall(rf"^{variable}=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)[0])


STATED = {
    "request line and headers": f"{connections.MOST_HEAD_BYTES >> 10} KiB together, {connections.MOST_HEADERS} headers",
    "time for these": f"{connections.HEAD_S:.0f} s",
    "a connection between two requests": f"{KEEP_ALIVE} s",
    "the query": f"{connections.MOST_HEAD_BYTES >> 10} KiB",
    "a JSON body": f"{bodies.MOST_BYTES >> 20} MiB, {bodies.LONGEST_S:.0f} s",
    "an upload": f"{upload.SLOWEST_BYTES_PER_S} bytes a second",
    "fields of a form beside the file": f"{upload.MOST_FIELDS} fields, {upload.MOST_FIELD_BYTES >> 10} KiB each,"
    f" {upload.FORM_BYTES >> 10} KiB together",
    "uploads at once": f"{upload.AT_ONCE} a process",
    "a bulk of observations": f"{rows.MOST_ROWS:,} rows; ".replace(",", " ")
    + f"{observing.MOST_BYTES['ndjson'] >> 20} MiB as NDJSON or CSV, {rows.MOST_LINE_BYTES >> 10} KiB a line;"
    f" {observing.MOST_BYTES['json'] >> 20} MiB as JSON",
    "bulks worked on at once": f"{adding.AT_ONCE} a process, the others wait for {adding.WAIT_S:.0f} s",
    "observations in buckets": f"{reading.MOST_SERIES} series, "
    + f"{buckets.MOST_POINTS:,} points in all;".replace(",", " ")
    + f" a moving average over {reading.MAX_WINDOW} buckets",
    "hits of a search": f"{schemas.MAX_LIMIT} |",
    "a question": f"{schemas.MAX_QUERY_CHARACTERS} characters, {schemas.MAX_QUERIES} wordings;"
    f" {schemas.MAX_NEIGHBOURS} neighbours",
    "a filter": f"{filters.MAX_DEPTH} levels, {filters.MAX_FILTERS} filters in one, {filters.MAX_COMPARISONS}"
    f" comparisons in all, {filters.MAX_VALUES} values",
    "passages with their vectors": f"{own_vectors.MAX_PASSAGES} a request, "
    + f"{own_vectors.MAX_TEXT:,} characters each, {spaces.MAX_DIMENSION} numbers a vector; ".replace(",000", " 000")
    + f"{own_vectors.MAX_NUMBERS:,} numbers in an answer".replace(",", " "),
    "upserts of passages worked on at once": f"{own_vectors.AT_ONCE} a process, the others wait for {own_vectors.WAIT_S:.0f} s",
    "dimensions of vectors that callers bring": f"{spaces.MOST_CALLERS} in all",
    "one `POST /documents/delete`": f"{deleting.MAX_IDS:,} ids".replace(",", " "),
    "one `POST /jobs/retry` or `cancel`": f"{ledger.AT_ONCE} jobs",
    "one `…/embedding/compare`": f"{comparing.MAX_QUESTIONS} queries",
    "one changeset of the catalogue": f"{applying.MOST_CHANGES} changes",
    "a form of a page of the console": f"{pages.MOST_FORM_BYTES >> 10} KiB; files besides",
    "a page of a PDF that is drawn": f"{pictures.CPU_S} s of a processor, {pictures.WALL_S} s in all,"
    f" {MOST_PIXELS // 10**6} million pixels; {pictures.AT_ONCE} at a time in a process, the others wait for {pictures.WAIT_S:.0f} s,"
    f" of a key 1 in line and {pictures.MOST_WAITING} behind it",
    "a definition of the catalogue": f"{definitions.MOST_BYTES // 1024} KiB, {definitions.DEEPEST} levels;"
    f" {definitions.MOST_PATTERNS} different patterns of {definitions.MOST_PATTERN_CHARACTERS} characters together",
    "at `/openai/v1`: texts of one `/embeddings`, files put into a vector store at once, bytes of a part": (
        f"{texts.MOST:,}".replace(",", " ") + f", {store_schemas.MOST_FILES}, {uploads.MOST_PART_BYTES >> 20} MiB"
    ),
    "a draft": f"{drafts.MOST_CHANGES} changes, {drafts.MOST_BYTES >> 10} KiB of JSON, {drafts.MOST_PATTERN_CHARACTERS} characters of patterns",
    "requests for one draft at once": f"{drafts.AT_ONCE} a process, {drafts.MOST_WAITING} wait for {drafts.WAIT_S:.0f} s",
    "a drawing of the catalogue": f"{drawing.MOST_NODES} things, {drawing.MOST_ARROWS} arrows, {drawing.MOST_SPOTS} spots",
    "drawings at once": f"{drawing.AT_ONCE} a process, the others wait for {drawing.WAIT_S:.0f} s",
    "months with observations": f"{months.MOST} in all",
    "streams of events": f"{feed.MAX_LISTENERS_PER_ACTOR} of a key and {feed.MAX_LISTENERS} in all",
    "one stream": f"{streams.LONGEST_S:.0f} s, then the client comes back with the last id; {streams.SEND_S:.0f} s",
    "`Prefer: wait=N`": f"{waiting.LONGEST_S} s",
    "requests worked on at once": f"({_default('API_AT_ONCE')}) a process",
    "searches worked on at once": f"({_default('SEARCH_AT_ONCE')}) a process, the others wait for {WAIT_S:.0f} s",
    "passages and sentences of an answer": f"{answers.MAX_PASSAGES}; {answers.MAX_SENTENCES} of an extractive one,"
    f" {answers.MOST_SENTENCES} that a model writes",
    "answers that models write at once": f"({_default('ANSWER_AT_ONCE')}) a process, the others wait for {ANSWER_WAIT_S:.0f} s",
    "a model writing an answer": f"({_default('ANSWER_TIMEOUT_S').removesuffix('.0')} s), `ANSWER_MAX_TOKENS`"
    f" ({_default('ANSWER_MAX_TOKENS')}), {chat._CHARACTERS_OF_TOKEN} characters for each of these",
    "waiting for a connection to PostgreSQL": f"{db.POOL_WAIT_S} s",
    "waiting for a lock": f"{db.LOCK_WAIT_S} s",
    "one statement of PostgreSQL": f"{db.STATEMENT_S} s",
    "a search waiting for a model behind an endpoint": f"{SEARCH_WAITS_S:.0f} s",
}


@pytest.mark.parametrize("what", STATED)
def test_a_stated_limit_is_the_one_in_force(what: str) -> None:
    row = next(line for line in LIMITS.splitlines() if line.startswith(f"| {what} |"))

    assert STATED[what] in row.partition(" | ")[2]


def test_the_procfile_s_connections_are_those_with_limits() -> None:
    assert "--http drystone.http.connections:Protocol" in (ROOT / "Procfile").read_text()
    assert connections.Protocol.__name__ == "Protocol"
