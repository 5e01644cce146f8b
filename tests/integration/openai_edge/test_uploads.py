"""Files that come in parts, as openai-python cuts them, and as nobody should."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from sqlalchemy import text
from tests.keys import bearer, make_key

from drystone.core.db import Sessions, transaction
from drystone.documents import blobs, part_uploads
from drystone.resources import Resources

A = "/openai/v1"
BODY = b"The kingfisher dives for fish. " * 100


def _begun(asked: OpenAI, size: int = len(BODY)) -> str:
    return asked.uploads.create(bytes=size, filename="a.txt", mime_type="text/plain", purpose="assistants").id


def test_a_file_in_parts_is_the_file_in_the_order_that_is_said(asked: OpenAI) -> None:
    upload_id = _begun(asked)
    last = asked.uploads.parts.create(upload_id, data=BODY[2000:])
    first = asked.uploads.parts.create(upload_id, data=BODY[:2000])

    made = asked.uploads.complete(
        upload_id, part_ids=[first.id, last.id], md5=hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    )

    assert (made.status, made.bytes, made.filename) == ("completed", len(BODY), "a.txt")
    assert made.file is not None
    assert asked.files.content(made.file.id).content == BODY
    assert asked.files.retrieve(made.file.id) == made.file
    assert asked.uploads.complete(upload_id, part_ids=[first.id, last.id]) == made, "asked again it is the same file"
    assert len(list(asked.files.list())) == 1


def test_openai_python_cuts_a_file_by_itself(asked: OpenAI) -> None:
    made = asked.uploads.upload_file_chunked(
        file=BODY, filename="a.txt", bytes=len(BODY), mime_type="text/plain", purpose="assistants", part_size=1000
    )

    assert made.file is not None
    assert asked.files.content(made.file.id).content == BODY


@pytest.mark.parametrize(
    ("order", "md5", "size", "code"),
    [
        ((0,), None, len(BODY), "upload.mismatch"),
        ((1, 0), hashlib.md5(BODY, usedforsecurity=False).hexdigest(), len(BODY), "upload.mismatch"),
        ((0, 1), None, len(BODY) + 1, "upload.mismatch"),
    ],
)
def test_what_is_not_what_was_announced_is_refused_and_may_be_mended(
    asked: OpenAI, order: tuple[int, ...], md5: str | None, size: int, code: str
) -> None:
    upload_id = _begun(asked, size)
    parts = [asked.uploads.parts.create(upload_id, data=part).id for part in (BODY[:2000], BODY[2000:])]

    with pytest.raises(openai.BadRequestError) as caught:
        asked.uploads.complete(upload_id, part_ids=[parts[each] for each in order], md5=md5 or openai.omit)

    assert caught.value.code == code
    if size == len(BODY):
        assert asked.uploads.complete(upload_id, part_ids=parts).status == "completed"


def test_a_part_of_another_upload_is_none_of_this(asked: OpenAI) -> None:
    upload_id, other = _begun(asked), _begun(asked)
    part = asked.uploads.parts.create(other, data=BODY)

    with pytest.raises(openai.NotFoundError) as caught:
        asked.uploads.complete(upload_id, part_ids=[part.id])

    assert caught.value.code == "upload.no_such_part"


def test_an_upload_that_was_cancelled_takes_nothing_more(asked: OpenAI) -> None:
    upload_id = _begun(asked)
    part = asked.uploads.parts.create(upload_id, data=BODY)

    assert asked.uploads.cancel(upload_id).status == "cancelled"

    for call in (
        lambda: asked.uploads.parts.create(upload_id, data=BODY),
        lambda: asked.uploads.complete(upload_id, part_ids=[part.id]),
    ):
        with pytest.raises(openai.ConflictError) as caught:
            call()
        assert caught.value.code == "upload.ended"


def test_no_more_is_taken_than_twice_what_was_announced(asked: OpenAI) -> None:
    upload_id = _begun(asked, 10)
    for _ in range(2):
        asked.uploads.parts.create(upload_id, data=io.BytesIO(b"0123456789"))

    with pytest.raises(openai.BadRequestError) as caught:
        asked.uploads.parts.create(upload_id, data=b"0")

    assert (caught.value.code, caught.value.param) == ("upload.too_much", "data")


async def test_the_bytes_of_parts_are_no_orphans_until_the_upload_is_forgotten(
    client: httpx.AsyncClient, resources: Resources, sessions: Sessions
) -> None:
    upload_id = await _announce(client)
    sent = await client.post(f"{A}/uploads/{upload_id}/parts", files={"data": ("a", BODY)})
    assert sent.is_success, sent.text

    for is_forgotten in (False, True):
        async with transaction(sessions) as session:
            if is_forgotten:
                await session.execute(text("update part_uploads set expires_at = now() - interval '1 s'"))
                assert await part_uploads.sweep(session) == 1
            await session.execute(text("update files set created_at = now() - interval '1 day'"))
            await session.execute(text("delete from blob_intents"))
        await blobs.sweep(sessions, resources.objects, grace_s=0)
        assert await resources.objects.exists(hashlib.sha256(BODY).digest()) is not is_forgotten

    gone = await client.post(f"{A}/uploads/{upload_id}/cancel")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "upload.not_found")


async def test_a_part_that_is_sent_twice_under_one_key_is_one(client: httpx.AsyncClient) -> None:
    upload_id = await _announce(client)
    sent: dict[str, Any] = {"files": {"data": ("a", BODY)}, "headers": {"Idempotency-Key": "once"}}

    first = await client.post(f"{A}/uploads/{upload_id}/parts", **sent)
    second = await client.post(f"{A}/uploads/{upload_id}/parts", **sent)

    assert first.json() == second.json()


async def test_an_upload_is_of_the_key_that_began_it(client: httpx.AsyncClient, owner: Sessions) -> None:
    upload_id = await _announce(client)

    answer = await client.post(f"{A}/uploads/{upload_id}/cancel", headers=bearer(await make_key(owner)))

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "upload.not_found")


async def _announce(client: httpx.AsyncClient) -> str:
    given = {"filename": "a.txt", "bytes": len(BODY), "mime_type": "text/plain", "purpose": "assistants"}
    answer = await client.post(f"{A}/uploads", json=given)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])
