"""Each invariant holds on what ingestion makes, and each is seen to fail, alone, when its violation is planted."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.clients import s3_store
from tests.conftest import work_until_idle
from tests.integration.catalogues import NAME

from drystone import invariants
from drystone.adapters.objects import Objects
from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings
from drystone.documents import blobs
from drystone.invariants import DUPLICATED, LOST, ORPHANED, RESURRECTED, Limits, Verdict
from drystone.stack import probes
from drystone.web import create_app
from drystone.worker.process import Process

LIMITS = Limits(lease_s=30, orphan_s=0, pending_s=0, rehash=True)


@dataclass(frozen=True)
class Place:
    """A bucket of its own with web and worker on it, so that no other test's blobs are found in it."""

    settings: Settings
    objects: Objects
    client: httpx.AsyncClient
    process: Process


@pytest.fixture(scope="module")
async def place(settings: Settings) -> AsyncIterator[Place]:
    own = settings.s3.model_copy(update={"bucket": f"invariants-{uuid4().hex[:12]}"})
    given = settings.model_copy(update={"s3": own})
    await asyncio.to_thread(probes.objects_make_bucket, own)
    app, process = create_app(given), Process(given)
    process.start()
    headers = {"Authorization": f"Bearer {given.api.key.get_secret_value()}"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://drystone", headers=headers) as client,
    ):
        yield Place(given, Objects.open_s3(own), client, process)
    process.stop()


@pytest.fixture
async def filled(place: Place, sessions: Sessions) -> Place:
    """A replaced document, a failed one, a deleted one, a deleted collection, a merged draft and a deleted one; all jobs
    done, no orphan left."""
    left = [blob.sha256 async for blob in place.objects.list()]
    await asyncio.gather(*(place.objects.delete(sha256) for sha256 in left))
    await _send(place, "kept", b"The heron stands in the reeds.", "bird")
    await _send(place, "kept", b"%PDF-1.4 of which nothing is left", "broken", "broken.pdf")
    gone = await _send(place, "kept", b"The kingfisher dives.", "gone")
    await _send(place, "dropped", b"The wren sings.", "wren")
    await work_until_idle(place.process, sessions)
    await _send(place, "kept", b"The heron has flown.", "bird")
    assert (await place.client.delete(f"/api/v1/documents/{gone}")).status_code == 204
    assert (await place.client.delete("/api/v1/collections/dropped")).status_code == 204
    await _draft(place, "merge")
    await _draft(place, "delete")
    await work_until_idle(place.process, sessions)
    await _remove_orphans(place, sessions)
    return place


async def test_all_invariants_hold_on_what_ingestion_makes(filled: Place, sessions: Sessions) -> None:
    verdict = await _check(filled, sessions)

    assert verdict.violations == []
    assert str(verdict) == "lost 0 · duplicated 0 · resurrected 0 · orphaned 0"
    assert sorted(verdict.checked) == ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8"]


BIRD = "(select current_version_id from documents where external_id = 'bird')"
FIRST = (
    "(select v.id from versions v join documents d on d.id = v.document_id where d.external_id = 'bird' and number = 1)"
)
GONE = "(select id from documents where external_id = 'gone')"
NEW_CHUNK = """
insert into chunks (collection_id, document_id, version_id, ordinal, start_offset, end_offset, title_path, content_hash, length, text)
select collection_id, document_id, {version}, {ordinal}, 0, 1, '{{}}', '\\x00', 1, 'T' from chunks where version_id = {bird}
"""

PLANTED = {
    "a version whose job is gone": (
        f"update versions set state = 'pending' where id = {BIRD}; update documents set state = 'pending' where external_id = 'bird'",
        {("I1", LOST), ("I2", LOST)},
    ),
    "a failure without a reason": (
        "update versions set error_code = null where state = 'failed'",
        {("I1", LOST)},
    ),
    "an old version that is searched though a newer one is ready": (
        f"update documents set current_version_id = {FIRST} where external_id = 'bird'",
        {("I1", LOST), ("I2", LOST), ("I3", DUPLICATED)},
    ),
    "a chunk twice": (NEW_CHUNK.format(version=BIRD, ordinal=1, bird=BIRD), {("I2", DUPLICATED)}),
    "a chunk too few": (
        f"delete from chunks where version_id = {BIRD}",
        {("I2", LOST), ("I6", RESURRECTED)},  # its words are left
    ),
    "a chunk without words": (
        f"insert into lexical_removals (collection_id, chunk_ids) select collection_id, array_agg(id) from chunks where version_id = {BIRD} group by 1",
        {("I2", LOST)},
    ),
    "a chunk without a vector": (
        f"delete from vectors_1 where chunk_id in (select id from chunks where version_id = {BIRD})",
        {("I2", LOST)},
    ),
    "a vector of no direction": (
        f"update vectors_1 set embedding = array_fill(0, array[384])::halfvec where chunk_id in (select id from chunks where version_id = {BIRD})",
        {("I2", LOST)},
    ),
    "chunks of a late attempt": (f"update versions set attempt = 7 where id = {BIRD}", {("I2", DUPLICATED)}),
    "chunks of an old version": (NEW_CHUNK.format(version=FIRST, ordinal=0, bird=BIRD), {("I3", DUPLICATED)}),
    "a deleted document that can be found": (
        f"update chunks set document_id = {GONE} where version_id = {BIRD}; update vectors_1 set document_id = {GONE}",
        {("I6", RESURRECTED)},
    ),
    "words of a chunk that is gone": (
        "insert into lexical_additions (collection_id, analyser, languages, chunk_ids, lengths, terms, counts, ordinals, frequencies)"
        " select collection_id, 1, '{english}', '{999999}', '{1}', '{en:ghost}', '{1}', '{0}', '{1}' from chunks limit 1",
        {("I6", RESURRECTED)},
    ),
    "a lease of a worker that is gone": (
        "update jobs set state = 'running', lease_until = now() - interval '31 s', worker = 'gone:1' where kind = 'documents.purge'",
        {("I7", ORPHANED)},
    ),
    "a document nobody made": (
        "delete from audit where action = 'document.create' and subject_id = " + GONE,
        {("I8", LOST)},
    ),
    "a replacement nobody did": ("delete from audit where action = 'document.replace'", {("I8", LOST)}),
    "a deletion nobody did": ("delete from audit where action = 'document.delete'", {("I8", LOST)}),
    "a deletion that is not in the log": (f"delete from deletions where subject_id = {GONE}", {("I8", LOST)}),
    "a collection nobody deleted": (
        "delete from audit where action = 'collection.delete'",
        {("I8", LOST)},
    ),
    "a draft nobody made": ("delete from audit where action = 'draft.create'", {("I8", LOST)}),
    "a draft nobody edited": ("delete from audit where action = 'draft.edit'", {("I8", LOST)}),
    "a draft nobody merged": ("delete from audit where action = 'draft.merge'", {("I8", LOST)}),
    "a draft nobody deleted": ("delete from audit where action = 'draft.delete'", {("I8", LOST)}),
    "a draft that was restored, and deleted by nobody": (
        "update audit set action = 'draft.restore' where action = 'draft.delete'",
        {("I8", LOST)},
    ),
}


@pytest.mark.parametrize("what", PLANTED)
async def test_a_planted_violation_is_found_alone(
    filled: Place, sessions: Sessions, owner: Sessions, what: str
) -> None:
    statements, expected = PLANTED[what]
    async with transaction(owner) as session:
        for statement in statements.split("; "):
            await session.execute(text(statement))

    verdict = await _check(filled, sessions)

    assert {(violation.invariant, violation.harm) for violation in verdict.violations} == expected


async def test_a_missing_blob_is_found_alone(filled: Place, sessions: Sessions) -> None:
    sha256 = hashlib.sha256(b"The heron has flown.").digest()
    await filled.objects.delete(sha256)

    assert _found(await _check(filled, sessions)) == [("I4", LOST, sha256.hex())]


async def test_a_blob_that_the_store_knows_and_cannot_give_is_found_alone(filled: Place, sessions: Sessions) -> None:
    body = b"The heron has flown."
    sha256 = hashlib.sha256(body).digest()
    for volume in filled.settings.general.data_dir.glob(f"objects/{filled.settings.s3.bucket}_*.dat"):
        kept = volume.read_bytes()
        with volume.open("r+b") as file:
            for place in (match.start() for match in re.finditer(re.escape(body), kept)):
                file.seek(place)
                file.write(b"x" * len(body))

    verdict = await _check(filled, sessions)
    await filled.objects.delete(sha256)

    assert _found(verdict) == [("I4", LOST, sha256.hex())]
    assert "cannot be read" in verdict.violations[0].detail


async def test_wrong_bytes_of_the_right_length_are_found_when_blobs_are_read(filled: Place, sessions: Sessions) -> None:
    body = b"The heron has flown."
    sha256 = hashlib.sha256(body).digest()
    store, key = s3_store(filled.settings), f"sha256/{sha256.hex()[:2]}/{sha256.hex()}"
    await store.put_async(key, b"x" * len(body))

    verdict = await _check(filled, sessions)
    without_reading = await invariants.check(sessions, filled.objects, Limits(lease_s=30, orphan_s=0))
    await filled.objects.delete(sha256)

    assert _found(verdict) == [("I4", LOST, sha256.hex())]
    assert without_reading.holds


async def test_a_blob_nobody_wants_is_found_alone_and_only_after_its_grace(filled: Place, sessions: Sessions) -> None:
    body = b"nobody wants me"
    sha256 = hashlib.sha256(body).digest()
    await filled.objects.put(sha256, body)

    assert _found(await _check(filled, sessions)) == [("I5", ORPHANED, sha256.hex())]
    assert (await invariants.check(sessions, filled.objects, Limits(lease_s=30, orphan_s=3600))).holds


async def test_work_in_flight_is_no_violation(filled: Place, sessions: Sessions) -> None:
    await _send(filled, "kept", b"The heron is back.", "bird")
    await filled.client.delete("/api/v1/collections/kept")
    waiting = await _send(filled, "new", b"The grebe waits.", "grebe")

    verdict = await invariants.check(sessions, filled.objects, Limits(lease_s=30, orphan_s=3600))

    assert verdict.violations == []
    assert waiting


async def test_of_many_violations_a_hundred_are_told_and_all_are_counted(
    filled: Place, sessions: Sessions, owner: Sessions
) -> None:
    async with transaction(owner) as session:
        await session.execute(
            text("""
            insert into jobs (id, workspace_id, kind, subject_id, state, lease_until)
            select gen_random_uuid(), workspace_id, kind, subject_id, 'running', now() - interval '1 hour'
            from jobs, generate_series(1, 150) where kind = 'documents.purge'
            """)
        )

    verdict = await _check(filled, sessions)

    assert (len(verdict.violations), verdict.counts[ORPHANED], verdict.checked["I7"]) == (100, 150, 150)


async def test_a_listing_too_large_to_hold_is_read_in_parts(filled: Place, sessions: Sessions) -> None:
    await filled.objects.delete(hashlib.sha256(b"The heron has flown.").digest())

    verdict = await invariants.check(sessions, filled.objects, Limits(lease_s=30, orphan_s=0, max_listed=1))

    assert [(violation.invariant, violation.harm) for violation in verdict.violations] == [("I4", LOST)]


def test_every_check_quotes_its_invariant() -> None:
    for name, check in invariants.CHECKS.items():
        assert (check.__doc__ or "").startswith(f"{name}: ")


async def _check(place: Place, sessions: Sessions) -> Verdict:
    return await invariants.check(sessions, place.objects, LIMITS)


def _found(verdict: Verdict) -> list[tuple[str, str, str]]:
    return [(violation.invariant, violation.harm, violation.subject) for violation in verdict.violations]


async def _send(place: Place, collection: str, body: bytes, external_id: str, name: str = "a.txt") -> str:
    answer = await place.client.post(
        "/api/v1/documents",
        files={"file": (name, body)},
        data={"collection": collection, "external_id": external_id},
    )
    assert answer.status_code in (200, 202), answer.text
    return str(answer.json()["document"]["id"])


_TO_MERGE = ("validate", "submit", "approve", "merge")


async def _draft(place: Place, end: Literal["merge", "delete"]) -> None:
    """A draft that is made, edited, and merged or deleted."""
    key, path = f"bird-{end}", "/api/v1/drafts"
    made = await place.client.post(path, json={"title": key})
    draft = f"{path}/{made.json()['id']}"
    edit = {"kind": "entity", "key": key, "action": "put", "content": NAME}
    steps: list[tuple[str, str, Any]] = [("PUT", f"/changes/entity/{key}", edit)]
    if end == "merge":
        steps += [("POST", f"/{verb}", {} if verb == "approve" else None) for verb in _TO_MERGE]
    else:
        steps += [("DELETE", "", None)]
    for method, tail, body in steps:
        read = await place.client.get(draft)
        headers = {"If-Match": read.headers["ETag"]} if tail == "/approve" else {}
        answer = await place.client.request(method, draft + tail, json=body, headers=headers)
        assert answer.status_code < 300, answer.text


async def _remove_orphans(place: Place, sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        await session.execute(
            text("delete from files where not exists (select 1 from versions where file_id = files.id)")
        )
    async for blob in place.objects.list():
        if not await blobs.is_wanted(sessions, blob.sha256):
            await place.objects.delete(blob.sha256)
