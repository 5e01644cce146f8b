"""Vector stores as openai-python fills, searches and empties them, beside the native edge that sees the same."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import VectorStore
from sqlalchemy import text
from tests.keys import bearer, make_key

from drystone.adapters.embedding import model
from drystone.core.db import Sessions, transaction
from drystone.documents import terms
from drystone.resources import Resources

A = "/openai/v1"
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "openai.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
TEXTS = {
    "kingfisher.txt": b"The kingfisher dives for fish from a branch above the river.",
    "shells.txt": b"Thin shells buckle under pressure long before the material yields.",
    "bread.txt": b"Bread rises because yeast makes carbon dioxide.",
}
_Made = TypeVar("_Made")


def _keep(asked: OpenAI, name: str = "kingfisher.txt", body: bytes | None = None) -> str:
    return asked.files.create(file=(name, TEXTS[name] if body is None else body), purpose="assistants").id


async def _while_working(work: Any, call: Callable[[], _Made]) -> _Made:
    """What a call gives that waits for the worker."""
    calling = asyncio.ensure_future(asyncio.to_thread(call))
    while not calling.done():
        await work()
        await asyncio.sleep(0.02)
    return await calling


@pytest.fixture
async def store(asked: OpenAI, work: Any) -> VectorStore:
    """One with three files, searchable."""
    made = asked.vector_stores.create(name="notes", metadata={"team": "birds"})
    file_ids = [_keep(asked, name) for name in TEXTS]
    batch = await _while_working(
        work, lambda: asked.vector_stores.file_batches.create_and_poll(made.id, file_ids=file_ids, poll_interval_ms=50)
    )
    assert (batch.status, batch.file_counts.completed) == ("completed", 3)
    return asked.vector_stores.retrieve(made.id)


def test_a_store_is_made_shown_changed_and_deleted(asked: OpenAI) -> None:
    made = asked.vector_stores.create(
        name="notes", metadata={"team": "birds"}, expires_after={"anchor": "last_active_at", "days": 7}
    )

    assert (made.name, made.metadata, made.status, made.usage_bytes) == ("notes", {"team": "birds"}, "completed", 0)
    assert made.file_counts.total == 0
    assert made.expires_at == (made.last_active_at or 0) + 7 * 86_400
    assert asked.vector_stores.retrieve(made.id) == made

    changed = asked.vector_stores.update(made.id, name="other", expires_after=None)

    assert (changed.name, changed.metadata) == ("other", {"team": "birds"})
    assert (changed.expires_after, changed.expires_at) == (None, None)
    assert asked.vector_stores.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        asked.vector_stores.retrieve(made.id)
    assert caught.value.code == "vector_store.not_found"


def test_stores_of_one_name_are_two_and_lists_are_turned_both_ways(asked: OpenAI) -> None:
    made = [asked.vector_stores.create(name="same").id for _ in range(5)]

    assert len(set(made)) == 5
    assert [each.id for each in asked.vector_stores.list(limit=2)] == made[::-1]
    assert [each.id for each in asked.vector_stores.list(limit=2, order="asc")] == made
    before = asked.vector_stores.list(limit=2, before=made[0])
    assert ([each.id for each in before.data], before.has_more) == ([made[2], made[1]], True)


async def test_what_is_in_a_store_is_found_by_meaning_words_and_filters(asked: OpenAI, store: VectorStore) -> None:
    found = asked.vector_stores.search(store.id, query="Which bird catches fish?", max_num_results=2)

    best = found.data[0]
    assert (best.filename, best.content[0].text) == ("kingfisher.txt", TEXTS["kingfisher.txt"].decode())
    assert len(found.data) == 2
    assert best.score >= found.data[1].score
    listed = {each.id for each in asked.vector_stores.files.list(store.id)}
    assert {each.file_id for each in found.data} <= listed

    asked.vector_stores.files.update(best.file_id, vector_store_id=store.id, attributes={"year": 2024, "wet": True})
    of_year = asked.vector_stores.search(
        store.id, query=["fish", "bird"], filters={"type": "eq", "key": "year", "value": 2024}
    )
    assert [each.attributes for each in of_year.data] == [{"year": 2024, "wet": True}]
    none = asked.vector_stores.search(
        store.id,
        query="fish",
        filters={
            "type": "and",
            "filters": [
                {"type": "gt", "key": "year", "value": 2024},
                {"type": "eq", "key": "wet", "value": True},
            ],
        },
    )
    assert none.data == []


async def test_a_threshold_leaves_out_what_scores_less(asked: OpenAI, store: VectorStore) -> None:
    scores = [each.score for each in asked.vector_stores.search(store.id, query="kingfisher").data]
    assert len(scores) == 3

    kept = asked.vector_stores.search(
        store.id, query="kingfisher", ranking_options={"ranker": "none", "score_threshold": min(1.0, scores[0])}
    )

    assert [each.score for each in kept.data] == scores[:1]


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({"query": "a", "rewrite_query": True}, "search.no_rewriting", "rewrite_query"),
        ({"query": " "}, "search.empty_query", "query"),
        ({"query": "a", "max_num_results": 51}, "request.invalid", "max_num_results"),
        ({"query": "a", "ranking_options": {"ranker": "best"}}, "request.invalid", "ranking_options.ranker"),
        ({"query": "a", "filters": {"type": "like", "key": "a", "value": "b"}}, "request.invalid", "filters"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(
    asked: OpenAI, given: dict[str, Any], code: str, param: str
) -> None:
    made = asked.vector_stores.create()

    with pytest.raises(openai.BadRequestError) as caught:
        asked.post(f"/vector_stores/{made.id}/search", cast_to=object, body=given)

    assert caught.value.code == code
    assert str(caught.value.param).startswith(param)


async def test_a_file_in_a_store_has_states_attributes_and_text(asked: OpenAI, work: Any) -> None:
    made = asked.vector_stores.create(name="notes")
    file_id = _keep(asked)

    put = asked.vector_stores.files.create(made.id, file_id=file_id, attributes={"year": 2024, "by": "Ada"})

    assert (put.id, put.status, put.attributes) == (file_id, "in_progress", {"year": 2024, "by": "Ada"})
    assert asked.vector_stores.retrieve(made.id).status == "in_progress"
    assert put.chunking_strategy is not None
    assert put.chunking_strategy.type == "other"
    again = await _while_working(
        work, lambda: asked.vector_stores.files.create_and_poll(file_id, vector_store_id=made.id, poll_interval_ms=50)
    )
    assert (again.id, again.status, again.last_error) == (file_id, "completed", None)
    assert again.attributes == {"year": 2024, "by": "Ada"}
    changed = asked.vector_stores.files.update(file_id, vector_store_id=made.id, attributes={"by": "Grace"})
    assert changed.attributes == {"by": "Grace"}
    pages = asked.vector_stores.files.content(file_id, vector_store_id=made.id)
    assert [each.text for each in pages] == [TEXTS["kingfisher.txt"].decode()]
    assert asked.vector_stores.files.delete(file_id, vector_store_id=made.id).deleted
    assert list(asked.vector_stores.files.list(made.id)) == []
    assert asked.files.retrieve(file_id).id == file_id, "the file itself is kept"


async def test_what_cannot_be_read_fails_with_the_reason_and_is_listed_by_it(asked: OpenAI, work: Any) -> None:
    made = asked.vector_stores.create()
    broken, good = _keep(asked, "broken.pdf", b"%PDF-1.7 no more"), _keep(asked)
    other = _keep(asked, "a.bin", bytes(range(256)))
    for file_id in (broken, good):
        asked.vector_stores.files.create(made.id, file_id=file_id)
    await work()

    failed = asked.vector_stores.files.retrieve(broken, vector_store_id=made.id)

    assert failed.status == "failed"
    assert failed.last_error is not None
    assert failed.last_error.code == "invalid_file"
    assert [each.id for each in asked.vector_stores.files.list(made.id, filter="failed")] == [broken]
    assert [each.id for each in asked.vector_stores.files.list(made.id, filter="completed")] == [good]
    assert asked.vector_stores.retrieve(made.id).file_counts.to_dict() == {
        "in_progress": 0,
        "completed": 1,
        "failed": 1,
        "cancelled": 0,
        "total": 2,
    }
    with pytest.raises(openai.BadRequestError) as caught:
        asked.vector_stores.files.create(made.id, file_id=other)
    assert caught.value.code == "document.unsupported_type"


async def test_files_of_a_store_are_turned_both_ways(asked: OpenAI, store: VectorStore) -> None:
    listed = [each.id for each in asked.vector_stores.files.list(store.id, order="asc")]

    assert len(listed) == 3
    assert [each.id for each in asked.vector_stores.files.list(store.id, limit=1)] == listed[::-1]
    before = asked.vector_stores.files.list(store.id, order="asc", before=listed[2], limit=1)
    assert ([each.id for each in before.data], before.has_more) == ([listed[1]], True)


def test_sizes_of_passages_cannot_be_chosen(asked: OpenAI) -> None:
    made, file_id = asked.vector_stores.create(), _keep(asked)
    static: Any = {"type": "static", "static": {"max_chunk_size_tokens": 400, "chunk_overlap_tokens": 100}}

    with pytest.raises(openai.BadRequestError) as caught:
        asked.vector_stores.files.create(made.id, file_id=file_id, chunking_strategy=static)

    assert (caught.value.code, caught.value.param) == ("chunking_strategy.fixed", "chunking_strategy")
    assert asked.vector_stores.files.create(made.id, file_id=file_id, chunking_strategy={"type": "auto"}).id == file_id


async def test_a_batch_has_files_with_attributes_of_their_own_and_can_be_cancelled(asked: OpenAI, work: Any) -> None:
    made = asked.vector_stores.create()
    first, second = _keep(asked), _keep(asked, "bread.txt")
    batch = asked.vector_stores.file_batches.create(
        made.id, files=[{"file_id": first, "attributes": {"year": 1}}, {"file_id": second}]
    )

    assert (batch.status, batch.file_counts.in_progress) == ("in_progress", 2)
    of_batch = asked.vector_stores.file_batches.list_files(batch.id, vector_store_id=made.id)
    assert {each.id: each.attributes for each in of_batch} == {first: {"year": 1}, second: {}}

    ended = asked.vector_stores.file_batches.cancel(batch.id, vector_store_id=made.id)
    await work()

    assert (ended.status, ended.file_counts.cancelled) == ("cancelled", 2)
    assert asked.vector_stores.file_batches.retrieve(batch.id, vector_store_id=made.id) == ended
    of_store = list(asked.vector_stores.files.list(made.id, filter="cancelled"))
    assert {each.id: (each.status, each.last_error) for each in of_store} == {
        first: ("cancelled", None),
        second: ("cancelled", None),
    }
    with pytest.raises(openai.NotFoundError):
        asked.vector_stores.file_batches.retrieve(batch.id, vector_store_id=asked.vector_stores.create().id)


async def test_uploads_are_polled_until_they_are_done(asked: OpenAI, work: Any) -> None:
    made = asked.vector_stores.create()

    batch = await _while_working(
        work,
        lambda: asked.vector_stores.file_batches.upload_and_poll(
            made.id, files=list(TEXTS.items()), poll_interval_ms=50
        ),
    )

    assert (batch.status, batch.file_counts.completed) == ("completed", 3)


def test_all_files_of_a_request_are_put_or_none(asked: OpenAI) -> None:
    made, file_id = asked.vector_stores.create(), _keep(asked)

    for given in ([file_id, f"file-{'0' * 32}"], [file_id, file_id]):
        with pytest.raises(openai.APIStatusError):
            asked.vector_stores.file_batches.create(made.id, file_ids=given)

    assert list(asked.vector_stores.files.list(made.id)) == []


async def test_a_file_that_is_deleted_is_in_no_store_any_more(asked: OpenAI, store: VectorStore, work: Any) -> None:
    best = asked.vector_stores.search(store.id, query="kingfisher").data[0]

    asked.files.delete(best.file_id)

    found = asked.vector_stores.search(store.id, query="kingfisher")
    assert best.file_id not in {each.file_id for each in found.data}
    assert asked.vector_stores.retrieve(store.id).file_counts.total == 2


async def test_what_was_uploaded_natively_is_a_file_of_the_store(
    asked: OpenAI, client: httpx.AsyncClient, work: Any
) -> None:
    sent = await client.post(
        "/api/v1/documents",
        files={"file": ("bread.txt", TEXTS["bread.txt"])},
        data={"collection": "papers", "attributes": '{"year": 1962, "by": ["Ada"]}'},
    )
    await work()
    (papers,) = asked.vector_stores.list().data

    (file,) = asked.vector_stores.files.list(papers.id).data
    (found,) = asked.vector_stores.search(papers.id, query="yeast").data

    assert papers.name == "papers"
    assert file.id == f"file-{UUID(sent.json()['document']['id']).hex}" == found.file_id
    assert file.attributes == found.attributes == {"year": 1962}, "what OpenAI's clients cannot read is left out"
    assert asked.vector_stores.files.retrieve(file.id, vector_store_id=papers.id) == file


async def test_a_store_expires_when_nobody_has_used_it(
    asked: OpenAI, owner: Sessions, resources: Resources, work: Any
) -> None:
    used, idle = (
        asked.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1}, file_ids=[_keep(asked)])
        for _ in range(2)
    )
    await work()
    async with transaction(owner) as session:
        await session.execute(text("update collection_uses set used_at = now() - interval '25 hours'"))
    asked.vector_stores.search(used.id, query="kingfisher")

    async with transaction(owner) as session:
        count = await terms.expire(session, resources.nudger)

    assert count == 1
    assert [each.id for each in asked.vector_stores.list()] == [used.id]
    with pytest.raises(openai.NotFoundError, match="expired"):
        asked.vector_stores.retrieve(idle.id)
    assert len(list(asked.files.list())) == 2, "files are kept"


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
async def test_the_programs_of_the_guide_work(
    base_url: str, key: str, sessions: Sessions, work: Any, number: int
) -> None:
    env = {**os.environ, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key}
    command = [sys.executable, "-c", PROGRAMS[number]]

    said = await _while_working(work, lambda: subprocess.run(command, env=env, capture_output=True, check=False))

    assert said.returncode == 0, said.stderr.decode()
    words = "completed 2\nbirds.txt The kingfisher dives for fish from a branch above the river.\n"
    assert said.stdout.decode() == (words if number == 0 else f"{model.DIMENSION}\n")


async def test_a_key_that_is_confined_sees_its_stores(
    asked: OpenAI, client: httpx.AsyncClient, owner: Sessions
) -> None:
    mine, theirs = asked.vector_stores.create(name="mine"), asked.vector_stores.create(name="theirs")
    headers = bearer(await make_key(owner, collection_ids=[UUID(mine.id.removeprefix("vs_"))]))

    listed = (await client.get(f"{A}/vector_stores", headers=headers)).json()["data"]
    refused = await client.post(f"{A}/vector_stores/{theirs.id}/search", json={"query": "a"}, headers=headers)
    kept = await client.post(
        f"{A}/files", files={"file": ("a.txt", b"words")}, data={"purpose": "assistants"}, headers=headers
    )
    put = await client.post(f"{A}/vector_stores/{mine.id}/files", json={"file_id": kept.json()["id"]}, headers=headers)

    assert [each["id"] for each in listed] == [mine.id]
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "vector_store.not_found")
    assert put.json()["status"] == "in_progress"
    assert put.headers["openai-poll-after-ms"] == "500"


async def test_putting_a_file_counts_a_document_and_no_bytes_again(asked: OpenAI, client: httpx.AsyncClient) -> None:
    asked.vector_stores.create(file_ids=[_keep(asked)])

    used = (await client.get("/api/v1/usage")).json()

    assert (used["documents"]["used"], used["bytes"]["used"]) == (1, len(TEXTS["kingfisher.txt"]))
