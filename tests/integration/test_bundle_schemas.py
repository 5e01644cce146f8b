"""Documents under schemas in bundles: out and in again, where the catalogue came along and where it did not, and from before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.bundles import Change, begin_anew, changed, read, rewrite, rows, written
from tests.integration.catalogues import A, fill
from tests.integration.uploads import Work, send

from drystone.bundle.importing import Place
from drystone.bundle.schema import CATALOGUE
from drystone.core.errors import Invalid

KEPT = """
select d.external_id, d.schema_kind, coalesce(e.key, p.key), d.schema_problem ->> 'detail', d.schema_sha256 is not null,
       exists (select from entity_versions v where v.id = d.schema_version_id)
       or exists (select from profile_versions v where v.id = d.schema_version_id)
from documents d left join entities e on e.id = d.schema_id left join profiles p on p.id = d.schema_id
order by 1
"""
WHOLE = [
    ("fits", "category", "station", None, True, True),
    ("free", None, None, None, False, False),
    ("of profile", "profile", "city", None, True, True),
    ("orphan", "category", "gone", "The category 'gone' was deleted.", True, True),
]


@pytest.fixture
async def filled(client: httpx.AsyncClient, collection: str, work: Work) -> None:
    await fill(client)
    gone = {"type": "category", "label": "Gone", "schema_definition": {}}
    assert (await client.put(f"{A}/entities/gone", json=gone)).status_code == 201
    await client.post(f"{A}/collections", json={"name": collection, "schema": "category:station"})
    named = json.dumps({"name": "Mill Lane"})
    sent_as: tuple[tuple[str, dict[str, Any]], ...] = (
        ("fits", {"attributes": named}),
        ("of profile", {"schema": "profile:city", "attributes": named}),
        ("orphan", {"schema": "category:gone"}),
        ("free", {"attributes": named}),
    )
    for external_id, more in sent_as:
        sent = await send(client, collection, external_id.encode(), external_id=external_id, **more)
        assert sent.status_code == 202, sent.text
        if external_id == "free":
            path = f"{A}/documents/{sent.json()['document']['id']}"
            assert (await client.patch(path, json={"schema": None})).status_code == 200
    assert (await client.delete(f"{A}/entities/gone")).status_code == 204
    await work()


pytestmark = pytest.mark.usefixtures("filled")


async def test_what_documents_are_under_comes_along(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    assert await rows(place.sessions, KEPT) == WHOLE
    await written(place, tmp_path / "one")
    await begin_anew(place)

    done = await read(place, tmp_path / "one")
    await work()

    assert (done.documents, done.without_schema) == (4, 0)
    assert await rows(place.sessions, KEPT) == WHOLE
    assert (await client.get(f"{A}/collections/{collection}")).json()["schema"] == "category:station"
    await written(place, tmp_path / "two")
    for name in ("collections.ndjson", "documents.ndjson"):
        before, after = [(tmp_path / each / name).read_text().splitlines() for each in ("one", "two")]
        assert [json.loads(line)["under"] for line in before] == [json.loads(line)["under"] for line in after]


async def test_without_the_catalogue_the_one_of_the_same_key_here_is_meant(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await written(place, tmp_path / "folder", collection)
    await begin_anew(place)
    stricter: dict[str, Any] = {"type": "category", "label": "Station", "schema_definition": {"required": ["code"]}}
    code = {"type": "property", "label": "Code", "schema_definition": {"type": "string"}}
    for key, content in (("code", code), ("station", stricter)):
        assert (await client.put(f"{A}/entities/{key}", json=content)).status_code == 201

    done = await read(place, tmp_path / "folder")

    assert (done.documents, done.without_schema) == (4, 2)
    assert await rows(place.sessions, KEPT) == [
        ("fits", "category", "station", "'code' is missing.", True, True),
        ("free", None, None, None, False, False),
        ("of profile", None, None, None, False, False),
        ("orphan", None, None, None, False, False),
    ]


async def test_a_bundle_from_before_is_read(collection: str, place: Place, tmp_path: Path) -> None:
    await written(place, tmp_path / "folder", collection)
    await begin_anew(place)

    def age(members: dict[str, bytes]) -> None:
        for name in ("collections.ndjson", "documents.ndjson"):
            lines = [json.loads(line) for line in members[name].splitlines()]
            for line in lines:
                del line["under"]
            members[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    rewrite(tmp_path / "folder", age)

    assert (await read(place, tmp_path / "folder")).documents == 4
    assert {kind for _, kind, *_ in await rows(place.sessions, KEPT)} == {None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed("documents.ndjson", b'"kind":"profile"', b'"kind":"module"'), "documents.ndjson"),
        (changed("documents.ndjson", b'"kind":"profile"', b'"kind":"category"'), "the category 'city'"),
        (changed("documents.ndjson", b'"key":"station"', b'"key":"no2"'), "the category 'no2'"),
        (changed("collections.ndjson", b'"key":"station"', b'"key":"name"'), "the category 'name'"),
        (changed(CATALOGUE[0], b'"type":"category"', b'"type":"subobject"'), "the category"),
    ],
)
async def test_a_schema_that_is_not_in_the_catalogue_beside_it_is_refused(
    place: Place, tmp_path: Path, change: Change, said: str
) -> None:
    await written(place, tmp_path / "folder")
    rewrite(tmp_path / "folder", change)
    await begin_anew(place)

    with pytest.raises(Invalid, match=said):
        await read(place, tmp_path / "folder")

    assert await rows(place.sessions, "select id from documents union all select id from entities") == []
