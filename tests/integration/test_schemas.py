"""Documents under a schema: refused where they do not fit, kept and told where they no longer do, and found by what they say."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from tests.conftest import ROOT
from tests.integration.catalogues import A, change
from tests.integration.uploads import BODY, Work, count, put, send, until_waiting

from drystone.core import crash_points
from drystone.core.db import Sessions, transaction
from drystone.documents import filter_types, schemas
from drystone.jobs import queries as job_queries

NAME = {"type": "property", "label": "Name", "schema_definition": {"type": "string"}}
DAY = {"type": "property", "label": "Day", "schema_definition": {"type": "string", "format": "date"}}
MOMENT = {"type": "property", "label": "Moment", "schema_definition": {"type": "string", "format": "date-time"}}
PAGES = {"type": "property", "label": "Pages", "schema_definition": {"type": "integer", "minimum": 1}}
TAGS = {"type": "property", "label": "Tags", "schema_definition": {"type": "array", "items": {"type": "string"}}}
REPORT = {
    "type": "category",
    "label": "Report",
    "schema_definition": {"required": ["day"], "properties": {"name": {}, "pages": {}, "tags": {}, "moment": {}}},
}
LETTER = {"type": "category", "label": "Letter", "schema_definition": {"required": ["name"]}}
PAPERS = {"label": "Papers", "entities": ["name", "day", "moment", "pages", "tags", "report", "letter"]}
ENTITIES = {
    "name": NAME,
    "day": DAY,
    "moment": MOMENT,
    "pages": PAGES,
    "tags": TAGS,
    "report": REPORT,
    "letter": LETTER,
}
OFFICE = {"label": "Office", "modules": {"papers": "*"}}
FITTING = {"day": "2025-01-31", "pages": 3}


def entity(key: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "entity", "key": key, "content": content}


@pytest.fixture
async def catalogue(client: httpx.AsyncClient, work: Work) -> None:
    papers = [
        {"kind": "module", "key": "papers", "content": PAPERS},
        {"kind": "profile", "key": "office", "content": OFFICE},
    ]
    answer = await change(client, *(entity(*each) for each in ENTITIES.items()), *papers)
    assert answer.status_code == 200, answer.text
    await work()


async def define(client: httpx.AsyncClient, key: str, content: dict[str, Any]) -> None:
    answer = await change(client, entity(key, content), bump_modules=True)
    assert answer.status_code == 200, answer.text


async def under(client: httpx.AsyncClient, collection: str, attributes: dict[str, Any], **more: Any) -> httpx.Response:
    said = {"schema": "category:report"} | more
    return await send(client, collection, attributes=json.dumps(attributes), **said)


async def document(client: httpx.AsyncClient, document_id: str) -> dict[str, Any]:
    answer = await client.get(f"{A}/documents/{document_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def patch(client: httpx.AsyncClient, document_id: str, **changes: Any) -> httpx.Response:
    headers = {"Content-Type": "application/merge-patch+json"}
    return await client.patch(f"{A}/documents/{document_id}", json=changes, headers=headers)


async def listed(client: httpx.AsyncClient, **params: Any) -> list[str]:
    answer = await client.get(f"{A}/documents", params=params)
    assert answer.status_code == 200, answer.text
    return [each["external_id"] for each in answer.json()["items"]]


pytestmark = pytest.mark.usefixtures("catalogue")


async def test_a_document_that_fits_says_with_what_it_was_compared(client: httpx.AsyncClient, collection: str) -> None:
    sent = await under(client, collection, FITTING)

    assert sent.status_code == 202, sent.text
    shown = sent.json()["document"]
    assert (shown["schema"], shown["schema_version"], shown["schema_problem"]) == ("category:report", 1, None)
    assert await document(client, shown["id"]) == shown


async def test_what_does_not_fit_is_told_for_each_attribute_and_leaves_nothing_behind(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    wrong = {"pages": "three", "tags": ["a", 1], "moment": "2025-01-31", "a/b": 1}

    refused = await under(client, collection, wrong)

    assert (refused.status_code, refused.json()["code"]) == (422, "document.does_not_fit")
    told = {each["pointer"]: each for each in refused.json()["errors"]}
    assert set(told) == {
        "/attributes/day",
        "/attributes/pages",
        "/attributes/tags/1",
        "/attributes/moment",
    }
    assert told["/attributes/day"]["detail"] == "'day' is missing."
    assert told["/attributes/pages"]["detail"] == "'pages' is \"three\", a string, and must be a whole number."
    assert "a date-time such as 2025-01-31T12:00:00Z" in told["/attributes/moment"]["hint"]
    assert all(each["code"] == "attribute.does_not_fit" for each in told.values())
    assert await count(sessions, "select count(*) from documents") == 0
    assert await count(sessions, "select count(*) from jobs where kind = 'documents.ingest'") == 0


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("category:nobody", "document.no_such_schema"),
        ("profile:report", "document.no_such_schema"),
        ("category:pages", "document.no_such_schema"),
        ("report", "document.bad_schema"),
        ("entity:report", "document.bad_schema"),
    ],
)
async def test_a_schema_that_is_none_is_refused(
    client: httpx.AsyncClient, collection: str, name: str, code: str
) -> None:
    sent = await send(client, collection, schema=name)

    assert (sent.status_code, sent.json()["code"]) == (422, code)
    assert sent.json()["errors"][0]["pointer"] == "/schema"


async def test_every_way_in_is_checked(client: httpx.AsyncClient, collection: str, work: Work) -> None:
    """A form, a body alone, a direct upload, a new version, a patch: the same schema, the same refusal."""
    bad, good = json.dumps({"pages": 3}), json.dumps(FITTING)
    made = (await under(client, collection, FITTING, external_id="x")).json()["document"]["id"]
    sha256 = hashlib.sha256(BODY).hexdigest()
    announced = {"name": "a.txt", "size_bytes": len(BODY), "sha256": sha256, "collection": collection}

    def alone(attributes: str) -> Any:
        query = {"name": "b.txt", "collection": collection, "schema": "category:report", "attributes": attributes}
        return client.post(f"{A}/documents", params=query, content=b"Another.")

    async def direct(attributes: dict[str, Any], **more: Any) -> httpx.Response:
        return await client.post(f"{A}/uploads", json=announced | {"attributes": attributes} | more)

    refused = [
        await alone(bad),
        await direct({"pages": 3}, schema="category:report", external_id="y"),
        await direct({"pages": 3}, external_id="x"),
        await direct({}, schema="category:nobody"),
        await put(client, made, b"Other words.", attributes=bad),
        await send(client, collection, b"Other words.", external_id="x", attributes=bad),
        await send(client, collection, external_id="x", attributes=bad),
        await patch(client, made, attributes={"day": None}),
        await patch(client, made, schema="category:letter"),
    ]
    assert [each.status_code for each in refused] == [422] * len(refused)
    codes = [each.json()["code"] for each in refused]
    assert codes == ["document.does_not_fit"] * 3 + ["document.no_such_schema"] + ["document.does_not_fit"] * 5
    assert (await document(client, made))["version"] == 1

    assert (await alone(good)).status_code == 202
    assert (await direct(FITTING, schema="category:report", external_id="y")).status_code == 201
    assert (await put(client, made, b"Other words.", attributes=good)).status_code == 202
    assert (await patch(client, made, schema="category:letter", attributes={"name": "Ada"})).status_code == 200
    assert (await document(client, made))["schema"] == "category:letter"


async def test_a_direct_upload_is_completed_under_its_schema(client: httpx.AsyncClient, collection: str) -> None:
    body = b"Put directly."
    announced = {
        "name": "a.txt",
        "size_bytes": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "collection": collection,
        "schema": "category:report",
        "attributes": FITTING,
    }
    upload = (await client.post(f"{A}/uploads", json=announced)).json()
    async with httpx.AsyncClient() as outside:
        assert (await outside.put(upload["url"], content=body)).status_code == 200

    completed = await client.post(f"{A}/uploads/{upload['id']}/complete")

    assert completed.status_code == 202, completed.text
    assert completed.json()["document"]["schema"] == "category:report"


async def test_a_patch_is_held_to_what_it_leads_to(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    made = (await under(client, collection, FITTING)).json()["document"]

    merged = await patch(client, made["id"], attributes={"pages": 4, "own": [1]})
    stale = await client.patch(f"{A}/documents/{made['id']}", json={"schema": None}, headers={"If-Match": '"1"'})
    removed = await patch(client, made["id"], schema=None)
    free = await patch(client, made["id"], attributes={"day": None, "pages": "many"})

    assert merged.json()["attributes"] == {"day": "2025-01-31", "pages": 4, "own": [1]}
    assert stale.status_code == 412
    assert (removed.json()["schema"], removed.json()["schema_version"]) == (None, None)
    assert free.status_code == 200
    async with transaction(sessions) as session:
        rows = await session.scalars(text("select details from audit where action = 'document.describe' order by id"))
        assert [row["fields"] for row in rows] == [["attributes"], ["schema"], ["attributes"]]
        told = await session.scalars(text("select data from events where kind = 'document.described' order by id"))
        assert [row["fields"] for row in told] == [["attributes"], ["schema"], ["attributes"]]


async def test_an_idempotent_patch_is_answered_as_before(client: httpx.AsyncClient, collection: str) -> None:
    made = (await under(client, collection, FITTING)).json()["document"]
    headers = {"Idempotency-Key": "once", "Content-Type": "application/merge-patch+json"}

    first, again = [
        await client.patch(f"{A}/documents/{made['id']}", json={"schema": "profile:office"}, headers=headers)
        for _ in range(2)
    ]

    assert first.json()["schema"] == "profile:office"
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_a_collection_says_what_its_documents_are_under_that_name_none(
    client: httpx.AsyncClient, collection: str
) -> None:
    made = await client.post(f"{A}/collections", json={"name": collection, "schema": "category:report"})
    refused = await send(client, collection)
    sent = await send(client, collection, attributes=json.dumps(FITTING))
    own = await send(client, collection, b"Dear Ada.", schema="category:letter", attributes='{"name": "Ada"}')
    changed = await client.patch(f"{A}/collections/{collection}", json={"schema": None})
    free = await send(client, collection, b"More words.")

    assert made.json()["schema"] == "category:report"
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/attributes/day")
    assert sent.json()["document"]["schema"] == "category:report"
    assert own.json()["document"]["schema"] == "category:letter"
    assert (changed.json()["schema"], changed.json()["description"]) == (None, "")
    assert free.json()["document"]["schema"] is None
    assert (await document(client, sent.json()["document"]["id"]))["schema"] == "category:report"


async def test_any_category_of_a_profile_will_do_and_else_the_nearest_is_told(
    client: httpx.AsyncClient, collection: str
) -> None:
    for attributes in (FITTING, {"name": "Ada"}):
        sent = await under(client, collection, attributes, schema="profile:office", external_id=str(attributes))
        assert sent.status_code == 202, sent.text

    refused = await under(client, collection, {"name": 5}, schema="profile:office")

    assert [each["pointer"] for each in refused.json()["errors"]] == ["/attributes/name"]


async def test_members_of_an_archive_are_under_what_the_archive_is(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("one.txt", "One.")
    sent = await send(
        client, collection, packed.getvalue(), "a.zip", schema="category:report", attributes=json.dumps(FITTING)
    )
    await work()

    members = await client.get(f"{A}/documents", params={"archive": sent.json()["document"]["id"]})

    (member,) = members.json()["items"]
    assert (member["schema"], member["schema_version"], member["schema_problem"]) == ("category:report", 1, None)


# --- when the catalogue changes ---


async def test_what_no_longer_fits_stays_and_says_so_until_it_does_again(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    fits = (await under(client, collection, FITTING | {"name": "Ada"}, external_id="fits")).json()["document"]["id"]
    lacks = (await under(client, collection, FITTING, external_id="lacks")).json()["document"]["id"]
    await send(client, collection, b"Free.", external_id="free")
    await work()
    before = {each: await document(client, each) for each in (fits, lacks)}

    await define(client, "report", REPORT | {"schema_definition": {"required": ["day", "name"]}})
    await work()

    still, no_more = await document(client, fits), await document(client, lacks)
    assert (still["schema_version"], still["schema_problem"]) == (2, None)
    assert still["updated_at"] == before[fits]["updated_at"]
    assert no_more["schema_version"] == 2
    assert no_more["schema_problem"]["pointer"] == "/attributes/name"
    assert no_more["schema_problem"]["detail"] == "'name' is missing."
    assert no_more["updated_at"] > before[lacks]["updated_at"]
    assert (no_more["state"], no_more["is_searchable"]) == ("ready", True)
    assert await listed(client, fits=False) == ["lacks"]
    assert await listed(client, fits=True, collection=collection) == ["fits"]
    assert await listed(client, schema="category:report") == ["fits", "lacks"]
    assert await listed(client, filter='{"type": "eq", "key": "$fits", "value": false}') == ["lacks"]
    assert (await put(client, lacks, b"Newer words.")).status_code == 202, "bytes alone are always taken"
    refused = await patch(client, lacks, attributes={"pages": 9})
    assert refused.json()["errors"][0]["pointer"] == "/attributes/name"

    mended = await patch(client, lacks, attributes={"name": "Ada"})

    assert mended.json()["schema_problem"] is None
    assert await listed(client, fits=False) == []


async def test_what_a_schema_rests_on_counts_and_what_entities_are_called_does_not(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    made = (await under(client, collection, FITTING)).json()["document"]["id"]
    of_profile = (await under(client, collection, FITTING, schema="profile:office", external_id="p")).json()[
        "document"
    ]["id"]
    await work()
    before = await document(client, made)

    await define(client, "pages", PAGES | {"label": "Number of pages", "aliases": {"de": ["Seiten"]}})
    await work()
    assert await document(client, made) == before
    assert await count(sessions, "select count(*) from jobs where kind = 'documents.recheck' and state <> 'done'") == 0

    await define(client, "pages", PAGES | {"schema_definition": {"type": "integer", "minimum": 10}})
    await work()
    for each in (made, of_profile):
        problem = (await document(client, each))["schema_problem"]
        assert problem["detail"] == "'pages': 3 is less than the minimum of 10."


async def test_a_schema_may_be_deleted_and_restored_under_its_documents(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    made = (await send(client, collection, schema="profile:office", attributes='{"name": "Ada"}')).json()["document"][
        "id"
    ]
    assert (await client.patch(f"{A}/collections/{collection}", json={"schema": "profile:office"})).status_code == 200
    await work()

    assert (await client.delete(f"{A}/profiles/office")).status_code == 204
    await work()

    orphan = await document(client, made)
    assert (orphan["schema"], orphan["schema_problem"]["code"]) == ("profile:office", "schema.deleted")
    assert await listed(client, schema="profile:office", fits=False) == [None]
    assert (await patch(client, made, attributes={"name": "Eve"})).status_code == 200, "nobody is held up"
    late = await send(client, collection, b"Later.", external_id="late")
    assert late.json()["document"]["schema_problem"]["code"] == "schema.deleted"
    named = await send(client, collection, b"Named.", schema="profile:office")
    assert (named.status_code, named.json()["code"]) == (422, "document.no_such_schema")

    assert (await client.post(f"{A}/profiles/office/restore")).status_code == 200
    await work()

    assert (await document(client, made))["schema_problem"] is None
    assert (await document(client, late.json()["document"]["id"]))["schema_problem"]["code"] == "attribute.does_not_fit"


async def test_the_attribute_of_sync_is_no_schemas_business(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    strict = REPORT | {"schema_definition": {"properties": {"day": {}}, "additionalProperties": False}}
    await define(client, "report", strict)

    sent = await under(client, collection, {"day": "2025-01-31", "sync_folder": "host:/papers"})
    other = await under(client, collection, {"day": "2025-01-31", "folder": "host:/papers"}, external_id="o")

    assert sent.status_code == 202, sent.text
    assert other.json()["errors"][0]["detail"] == "'folder' is not foreseen here."
    await define(client, "report", strict | {"schema_definition": {"required": ["name"]}})
    await work()
    moved = {"day": "2025-01-31", "sync_folder": "other:/papers"}
    again = await send(client, collection, attributes=json.dumps(moved))
    assert again.status_code == 200, "what a schema is asked about is as it was"


async def test_a_definition_that_could_never_be_compared_is_told_not_tried(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    ways = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(40)} | {
        "d40": {"type": "string"}
    }
    made = (await under(client, collection, FITTING)).json()["document"]["id"]

    await define(
        client,
        "pages",
        {"type": "property", "label": "Pages", "schema_definition": {"$ref": "#/$defs/d0", "$defs": ways}},
    )
    await work()

    assert (await document(client, made))["schema_problem"]["code"] == "schema.unusable"
    refused = await under(client, collection, FITTING, external_id="new")
    assert (refused.status_code, refused.json()["code"]) == (422, "document.unusable_schema")


async def kept(sessions: Sessions) -> dict[UUID, tuple[Any, ...]]:
    """Of each document how it says that it fits, and how it does."""
    found = {}
    async with transaction(sessions) as session:
        rows = (
            await session.execute(
                text(
                    "select id, workspace_id, attributes, schema_kind, schema_id, schema_sha256, schema_problem from documents where schema_id is not null and deleted_at is null"
                )
            )
        ).all()
        for row in rows:
            schema = await schemas.of_id(session, row.workspace_id, row.schema_kind, row.schema_id)
            assert schema is not None
            problems = schema.problems(row.attributes)
            expected = (schema.sha256, problems[0].said() if problems else None)
            found[row.id] = ((row.schema_sha256, row.schema_problem), expected)
    return found


async def test_documents_and_schemas_that_change_at_the_same_time_end_in_step(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    drawn = random.Random(41)

    async def upload() -> None:
        for number in range(15):
            attributes = {"day": "2025-01-31", "pages": drawn.randrange(1, 9)}
            await under(client, collection, attributes, external_id=f"d{drawn.randrange(6)}-{number % 3}")

    async def redefine() -> None:
        for _ in range(8):
            await change(
                client,
                entity("pages", PAGES | {"schema_definition": {"type": "integer", "minimum": drawn.randrange(1, 9)}}),
                bump_modules=True,
            )

    await asyncio.gather(upload(), upload(), redefine(), redefine(), *(work() for _ in range(3)))
    await work()

    found = await kept(sessions)
    assert len(found) > 3
    assert all(says == is_ for says, is_ in found.values())
    assert await count(sessions, "select count(*) from jobs where kind = 'documents.recheck' and state <> 'done'") == 0


async def test_who_writes_with_an_older_schema_is_waited_for(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions
) -> None:
    made = (await under(client, collection, FITTING)).json()["document"]["id"]
    await work()
    async with transaction(sessions) as writer:
        await schemas.share(writer, await writer.scalar(text("select workspace_id from documents limit 1")))
        await define(client, "report", REPORT | {"schema_definition": {"required": ["name"]}})

        working = asyncio.ensure_future(work())
        await until_waiting(sessions)

        assert (await document(client, made))["schema_version"] == 1
    await working
    assert (await document(client, made))["schema_version"] == 2


async def test_a_worker_killed_half_way_is_followed_by_one_that_goes_on(
    client: httpx.AsyncClient,
    work: Work,
    collection: str,
    sessions: Sessions,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    await under(client, collection, FITTING)
    await work()
    async with transaction(sessions) as session:
        await session.execute(_MANY)
    await define(client, "report", REPORT | {"schema_definition": {"required": ["name"]}})
    crash_points.order(tmp_path, "mid_recheck", "kill")
    given = environment | {"DRYSTONE_CRASH_POINTS": str(tmp_path), "JOB_LEASE_S": "2", "JOB_HEARTBEAT_S": "1"}

    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", _WORKER, json.dumps(given), str(ROOT))
    assert await asyncio.wait_for(victim.wait(), 180) == -signal.SIGKILL

    assert 0 < await count(sessions, "select count(*) from documents where schema_problem is not null") < 231
    while not await count(sessions, "select count(*) from jobs where state = 'queued'"):
        await asyncio.sleep(0.2)
        async with transaction(sessions) as session:
            await job_queries.return_expired(session)
    await work()
    assert await count(sessions, "select count(*) from documents where schema_problem is not null") == 231
    assert all(says == is_ for says, is_ in (await kept(sessions)).values())
    assert await count(sessions, "select count(*) from events where data ->> 'fields' like '%schema_problem%'") == 231


_MANY = text("""
insert into documents (id, workspace_id, collection_id, external_id, sha256, attributes, schema_kind, schema_id,
                       schema_version_id, schema_sha256, created_by, state)
select gen_random_uuid(), workspace_id, collection_id, n, sha256, attributes, schema_kind, schema_id, schema_version_id,
       schema_sha256, created_by, state
from documents, generate_series(1, 230) as n
""")
_WORKER = """
import json, sys
from pathlib import Path
from drystone.core import crash_points, settings
from drystone.worker.process import Process
given = settings.absolute(settings.parse(json.loads(sys.argv[1])), Path(sys.argv[2]))
crash_points.arm(given.general.crash_points)
process = Process(given)
process.start()
while True:
    process.drain(None)
"""


# --- filters ---


def both(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "and", "filters": [{"type": "eq", "key": "$schema", "value": "category:report"}, *filters]}


def compared(type_: str, key: str, value: Any) -> dict[str, Any]:
    return {"type": type_, "key": key, "value": value}


@pytest.mark.parametrize(
    ("wrong", "said", "pointer"),
    [
        (compared("eq", "name", 5), "'name' is a string under category:report, and is compared with 5.", "/1/value"),
        (compared("gt", "pages", "3"), "'pages' is a number under", "/1/value"),
        (compared("in", "pages", [1, True]), "is compared with true", "/1/value"),
        (compared("lt", "day", "yesterday"), "'day' is a date under", "/1/value"),
        (compared("ne", "moment", 2025), "'moment' is a date-time under", "/1/value"),
        (compared("eq", "tags", "a"), "'tags' is a list under", "/1/value"),
        (
            {"type": "or", "filters": [compared("eq", "own", 1), compared("eq", "name", 5)]},
            "'name'",
            "/1/filters/1/value",
        ),
    ],
)
async def test_a_value_of_another_type_than_the_schema_has_is_told(
    client: httpx.AsyncClient, collection: str, wrong: dict[str, Any], said: str, pointer: str
) -> None:
    await under(client, collection, FITTING)
    given = both(wrong)

    answers = [
        await client.post(f"{A}/search", json={"query": "words", "collection": collection, "filter": given}),
        await client.get(f"{A}/documents", params={"filter": json.dumps(given)}),
        await client.post(f"{A}/documents/delete", json={"collection": collection, "filter": given, "dry_run": True}),
    ]

    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (422, "filter.wrong_type"), answer.text
        assert said in answer.json()["detail"]
        assert answer.json()["errors"][0]["pointer"] == f"/filter/filters{pointer}"
        assert answer.json()["hint"]


async def test_only_what_stands_beside_a_schema_is_held_to_it(client: httpx.AsyncClient, collection: str) -> None:
    await under(client, collection, FITTING | {"own": 1}, external_id="one")
    one_of = compared("in", "$schema", ["category:report", "category:letter"])

    for given in (
        compared("eq", "name", 5),
        {"type": "or", "filters": [compared("eq", "$schema", "category:letter"), compared("eq", "pages", "x")]},
        both(compared("eq", "own", 1)),
        {"type": "and", "filters": [one_of, compared("eq", "pages", "x")]},
        {"type": "and", "filters": [compared("ne", "$schema", "category:letter"), compared("eq", "name", 5)]},
    ):
        answer = await client.get(f"{A}/documents", params={"filter": json.dumps(given)})
        assert answer.status_code == 200, (given, answer.text)
    unknown = await client.get(
        f"{A}/documents", params={"filter": json.dumps(compared("eq", "$schema", "category:no"))}
    )
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/filter/value")
    for number in range(filter_types.MOST_SCHEMAS):
        await client.put(f"{A}/entities/c{number}", json={"type": "category", "label": "C", "schema_definition": {}})
    named = ["category:report", *(f"category:c{number}" for number in range(filter_types.MOST_SCHEMAS))]
    many = await client.get(f"{A}/documents", params={"filter": json.dumps(compared("in", "$schema", named))})
    assert (many.status_code, many.json()["code"]) == (422, "filter.too_many_schemas")
    malformed = await client.get(f"{A}/documents", params={"filter": json.dumps(compared("eq", "$schema", "report"))})
    assert malformed.status_code == 422


async def test_days_and_moments_compare_as_times_where_a_schema_says_that_they_are(
    client: httpx.AsyncClient, collection: str, work: Work
) -> None:
    for external_id, moment in (("east", "2025-01-31T23:00:00+02:00"), ("west", "2025-01-31T22:00:00Z")):
        sent = await under(client, collection, FITTING | {"moment": moment}, external_id=external_id)
        assert sent.status_code == 202, sent.text
    await send(client, collection, attributes='{"moment": "2025-01-31T21:30:00Z"}', external_id="free")
    await work()

    for type_, value, expected in (
        ("lt", "2025-01-31T21:30:00Z", {"east"}),
        ("gte", "2025-01-31T22:30:00+01:00", {"west"}),
        ("eq", "2025-01-31T21:00:00+00:00", {"east"}),
        ("ne", "2025-01-31T21:00:00Z", {"west"}),
        ("in", ["2025-01-31T21:00:00Z", "2025-02-01"], {"east"}),
        ("nin", ["2025-01-31T21:00:00Z", "2025-02-01"], {"west"}),
        ("gt", "2025-01-31", {"east", "west"}),
    ):
        given = both(compared(type_, "moment", value))
        assert set(await listed(client, filter=json.dumps(given))) == expected, (type_, value)
        assert set(await listed(client, filter=json.dumps(given), collection=collection)) == expected, (type_, value)
        body = {"query": "words", "collection": collection, "mode": "lexical", "collapse": "none", "filter": given}
        found = (await client.post(f"{A}/search", json=body)).json()
        assert {hit["document"]["external_id"] for hit in found["hits"]} == expected, (type_, value)
    as_strings = compared("lt", "moment", "2025-01-31T21:30:00Z")
    assert set(await listed(client, filter=json.dumps(as_strings))) == set()


async def test_no_one_is_told_of_a_schema_by_a_collection_they_do_not_see(
    client: httpx.AsyncClient, collection: str, sessions: Sessions
) -> None:
    """`$schema` and `fits` choose among documents that the key may see, as all filters do."""
    from tests.keys import bearer, make_key

    await under(client, collection, FITTING, external_id="theirs")
    other = (await client.post(f"{A}/collections", json={"name": "seen"})).json()["id"]
    await under(client, "seen", FITTING, external_id="ours")
    headers = bearer(await make_key(sessions, collection_ids=[UUID(other)]))

    for params in ({"schema": "category:report"}, {"fits": "true"}, {"filter": json.dumps(both())}):
        answer = await client.get(f"{A}/documents", params=params, headers=headers)
        assert [each["external_id"] for each in answer.json()["items"]] == ["ours"], answer.text
