"""The catalogue and observations in bundles: out and in again, beside others, twice; and what a hostile one can do, which is nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as drawn
from hypothesis import strategies as st
from sqlalchemy import text
from tests.integration.bundles import Change, begin_anew, changed, read, rewrite, rows, written
from tests.integration.catalogues import CITY, NO2, STATION, A, change, fill, whole
from tests.integration.uploads import Work, send
from tests.keys import bearer, make_key, make_workspace

from drystone.bundle import checking, container
from drystone.bundle.importing import Place
from drystone.bundle.schema import CATALOGUE, OBSERVATIONS
from drystone.core.db import Sessions, transaction
from drystone.core.errors import Conflict, DrystoneError, Invalid

ROOT = Path(__file__).parent.parent.parent
AGAIN = {"max_examples": 60, "deadline": None, "derandomize": True, "database": None}
HOURS = """
with raw as (
    select series_id, date_trunc('hour', observed_at, 'UTC') as hour, cast(count(*) as int) as count,
           sum(value order by observed_at) as sum, min(value), max(value)
    from observations group by 1, 2
)
(select * from raw except select series_id, hour, count, sum, min, max from observation_hours)
union all
(select series_id, hour, count, sum, min, max from observation_hours except select * from raw)
"""
OBSERVED = """
select e.key, s.metric, s.source, s.unit, o.observed_at, o.value, cast(o.attributes as text), o.evidence_start, o.evidence_sha256
from observations o join series s on s.id = o.series_id join entities e on e.id = s.entity_id
order by 1, 2, 3, 5
"""


def row(at: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "entity": "station",
        "metric": "no2",
        "observed_at": f"2026-01-{at}Z",
        "value": value,
        "unit": "µg/m³",
        **more,
    }


async def observe(client: httpx.AsyncClient, *sent: dict[str, Any]) -> None:
    answer = await client.post(f"{A}/observations", json=list(sent))
    assert answer.status_code == 200, answer.text
    assert not answer.json()["errors"], answer.text


async def filled(client: httpx.AsyncClient, collection: str, work: Work, place: Place) -> None:
    """Versions, a module that follows, what was deleted and pinned, what has the key of what was deleted; two series."""
    await fill(client)
    wider = NO2 | {"schema_definition": {"type": "number", "unit": "µg/m³", "minimum": -5}}
    put = [{"kind": "entity", "key": "no2", "content": wider}]
    assert (await change(client, *put, bump_modules=True, message="noise")).status_code == 200
    assert (await client.put(f"{A}/profiles/city", json=CITY | {"modules": {"air": "*"}})).status_code == 200
    assert (await client.delete(f"{A}/profiles/city")).status_code == 204
    gone: list[dict[str, Any]] = [
        {"kind": "entity", "key": "no2", "action": "delete"},
        {"kind": "entity", "key": "station", "content": STATION | {"schema_definition": {"required": ["name"]}}},
        {
            "kind": "module",
            "key": "air",
            "content": {"label": "Air", "entities": ["station"], "dependencies": {"core": "*"}},
        },
    ]
    answer = await change(client, *gone)
    assert answer.status_code == 200, answer.text
    assert (await client.put(f"{A}/entities/no2", json=NO2)).status_code == 201
    await send(client, collection, b"At ten it was 21.5.", external_id="report")
    await work()
    ((version,),) = await rows(place.sessions, "select id from versions")
    evidence = {"version_id": str(version), "start": 3, "end": 18, "quote_sha256": "ab" * 32}
    await observe(
        client,
        *(row(f"{day:02}T10:{minute:02}:00", day + minute / 7) for day in range(1, 20) for minute in range(0, 60, 20)),
        row("21T10:00:00.000001", 21.5, evidence=evidence, attributes={"by": 'Ada "A"', "n": [1, 0.1]}),
        row("21T10:00:00", -0.0, source="other", unit=None, metric="calm"),
    )


async def versions(client: httpx.AsyncClient, key: str = "entities/no2") -> list[tuple[int, str, str]]:
    items = (await client.get(f"{A}/{key}/versions")).json()["items"]
    return [(item["number"], item["published_at"], item["published_by"]) for item in items]


def members(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*CATALOGUE, *OBSERVATIONS)}


@pytest.mark.parametrize("name", ["bundle.zip", "folder"])
async def test_what_goes_out_comes_in_as_it_was(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions, place: Place, tmp_path: Path, name: str
) -> None:
    await filled(client, collection, work, place)
    before, observed = await whole(client), await rows(place.sessions, OBSERVED)
    air = await versions(client, "modules/air")
    made = await written(place, tmp_path / name)
    await begin_anew(place)

    done = await read(place, tmp_path / name)

    assert (made.entities, made.modules, made.profiles, made.series, made.observations) == (4, 2, 1, 2, 59)
    assert (done.defined, done.already_defined, done.observations, done.already_observed) == (7, 0, 59, 0)
    assert await whole(client) == before
    assert await rows(place.sessions, OBSERVED) == observed
    assert await rows(place.sessions, HOURS) == []
    assert [(number, at) for number, at, _ in await versions(client, "modules/air")] == [each[:2] for each in air]
    assert {by for *_, by in await versions(client, "modules/air")} == {"bundle"}
    assert (await client.get(f"{A}/profiles", params={"deleted": "true"})).json()["items"][0]["key"] == "city"
    again = await read(place, tmp_path / name)
    assert (again.defined, again.already_defined, again.observations, again.already_observed) == (0, 7, 0, 59)
    assert (await client.get(f"{A}/catalogue")).json()["revision"] == 1
    # What depends on it goes on from where it was.
    assert (await client.put(f"{A}/entities/no2", json=NO2 | {"label": "NO₂"})).json()["number"] == 2
    undone = await client.post(f"{A}/profiles/city/restore")
    assert undone.status_code == 200, undone.text


async def test_names_that_come_along_are_looked_for_in_what_was_here(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await fill(client)
    await written(place, tmp_path / "bundle")
    await begin_anew(place)
    await send(client, collection, b"Nitrogen dioxide was low.")
    await work()

    await read(place, tmp_path / "bundle")
    await work()

    found = (await client.get(f"{A}/entities/no2/passages")).json()["items"]
    assert [each["quote"] for each in found] == ["Nitrogen dioxide was low."]


async def test_the_same_is_the_same_bytes_wherever_it_is(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await filled(client, collection, work, place)
    await written(place, tmp_path / "first")
    await written(place, tmp_path / "second")
    await begin_anew(place)
    await read(place, tmp_path / "first")
    await written(place, tmp_path / "third")

    assert members(tmp_path / "first") == members(tmp_path / "second") == members(tmp_path / "third")


async def test_beside_the_original_all_has_other_ids_and_means_the_same(
    client: httpx.AsyncClient,
    collection: str,
    work: Work,
    sessions: Sessions,
    owner: Sessions,
    place: Place,
    tmp_path: Path,
) -> None:
    await filled(client, collection, work, place)
    await written(place, tmp_path / "b.zip")
    workspace_id = await make_workspace(owner)
    headers = bearer(await make_key(owner, workspace_id=workspace_id))

    done = await read(place, tmp_path / "b.zip", workspace=f"w-{workspace_id}", into=collection)
    again = await read(place, tmp_path / "b.zip", workspace=f"w-{workspace_id}", into=collection)

    assert (done.defined, done.documents, done.renamed_ids, done.observations) == (7, 1, 1, 59)
    assert (again.already_defined, again.already, again.already_observed) == (7, 1, 59)
    theirs = (
        await client.get(f"{A}/observations", params={"metric": "no2", "order": "newest", "limit": 1}, headers=headers)
    ).json()
    there = theirs["items"][0]
    version = await rows(owner, f"select document_id from versions where id = '{there['evidence']['version_id']}'")
    found = (await client.get(f"{A}/documents/{version[0][0]}", headers=headers)).json()
    assert found["external_id"] == "report", "evidence leads to the document that came along"
    assert await rows(owner, "select count(*) from observations group by workspace_id") == [(59,), (59,)]
    assert await rows(owner, HOURS) == []


async def test_what_says_something_else_here_is_named_and_nothing_is_imported(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await filled(client, collection, work, place)
    await written(place, tmp_path / "b.zip")
    await begin_anew(place)
    other = NO2 | {"label": "Something else"}
    mine = NO2 | {"label": "Ours"}
    assert (await client.put(f"{A}/entities/no2", json=other)).status_code == 201
    assert (await client.put(f"{A}/entities/ours", json=mine)).status_code == 201

    with pytest.raises(Conflict, match="entity no2"):
        await read(place, tmp_path / "b.zip")
    assert await rows(place.sessions, "select count(*) from collections") == [(0,)]
    assert await rows(place.sessions, "select key from entities order by key") == [("no2",), ("ours",)]
    with pytest.raises(Conflict, match="does not have: station"):
        await read(place, tmp_path / "b.zip", catalogue=False)
    assert await rows(place.sessions, "select count(*) from collections") == [(0,)]
    done = await read(place, tmp_path / "b.zip", catalogue=False, observations=False)
    assert (done.documents, done.defined, done.series) == (1, 0, 0)
    assert (await client.put(f"{A}/entities/no2", json=NO2)).status_code == 200
    later = await read(place, tmp_path / "b.zip")
    assert (later.defined, later.already_defined, later.already) == (6, 1, 1)
    assert set(await whole(client)) >= {"entities/ours", "entities/station", "modules/air"}


async def test_what_was_observed_here_stays_and_other_units_are_refused(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await fill(client)
    await observe(client, row("01T10:00:00", 1), row("01T10:10:00", 2))
    await written(place, tmp_path / "b.zip", catalogue=False)
    await client.post(f"{A}/observations", json=[row("01T10:00:00", 7)])

    kept = await read(place, tmp_path / "b.zip")
    assert (kept.observations, kept.already_observed) == (0, 2)
    assert await rows(place.sessions, "select value from observations order by observed_at") == [(7.0,), (2.0,)]
    async with transaction(place.sessions) as session:
        await session.execute(text("update series set unit = 'ppb'"))
    with pytest.raises(Conflict, match="another unit here, one of 'no2' from 'default': ppb, not µg/m³"):
        await read(place, tmp_path / "b.zip")


async def test_what_is_older_than_what_is_kept_is_left_out_and_counted(
    client: httpx.AsyncClient, place: Place, tmp_path: Path
) -> None:
    await fill(client)
    await observe(client, row("01T10:00:00", 1), row("05T10:00:00", 2))
    await written(place, tmp_path / "b.zip")
    await begin_anew(place)
    since = replace(place, oldest=datetime(2026, 1, 3, tzinfo=UTC))

    done = await read(since, tmp_path / "b.zip")

    assert (done.observations, done.too_old) == (1, 1)


async def test_who_names_collections_gets_them_alone_unless_more_is_asked_for(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await filled(client, collection, work, place)
    alone = await written(place, tmp_path / "alone.zip", collection)
    both = await written(place, tmp_path / "both.zip", collection, catalogue=True)
    await written(place, tmp_path / "all.zip")
    await begin_anew(place)

    done = await read(place, tmp_path / "all.zip", names=[collection])

    assert (alone.entities, alone.series, both.entities, both.series) == (0, 0, 4, 0)
    assert (done.documents, done.defined, done.series) == (1, 0, 0)


async def test_the_commands_say_what_they_did(
    client: httpx.AsyncClient,
    collection: str,
    work: Work,
    place: Place,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    async def run(*given: str) -> str:
        command = [sys.executable, "-m", "drystone.cli.main", "bundle", *given]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout or done.stderr

    await filled(client, collection, work, place)
    path = str(tmp_path / "b.zip")

    assert "4 entities, 2 modules, 1 profiles, 59 observations" in await run("export", path)
    assert "is whole: 1 collections, 1 documents, 1 passages, 4 entities" in await run("check", path)
    await begin_anew(place)
    said = await run("import", path)
    assert "7 of the catalogue imported; 0 were here already" in said
    assert "59 observations imported; 0 were here already" in said
    again = json.loads(await run("import", path, "--catalogue", "skip", "--json"))
    assert (again["already"], again["already_defined"], again["already_observed"]) == (1, 0, 59)


async def test_a_bundle_of_format_1_is_read(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await send(client, collection, b"A bundle is made of this.")
    await work()
    await written(place, tmp_path / "folder", collection)
    await begin_anew(place)

    def age(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["manifest.json"]) | {"format_version": 1}
        for name in ("entities", "modules", "profiles", "series", "observations"):
            del manifest[name]
        members["manifest.json"] = json.dumps(manifest).encode()

    rewrite(tmp_path / "folder", age)

    assert (await read(place, tmp_path / "folder")).documents == 1


def first_time(to: bytes) -> Change:
    def change_it(members: dict[str, bytes]) -> None:
        name = OBSERVATIONS[1]
        members[name] = re.sub(rb'"observed_at":"[^"]+"', b'"observed_at":"' + to + b'"', members[name], count=1)

    return change_it


def swap(members: dict[str, bytes]) -> None:
    first, second, *rest = members[OBSERVATIONS[1]].splitlines(keepends=True)
    members[OBSERVATIONS[1]] = b"".join([second, first, *rest])


HOSTILE: dict[str, tuple[Change, str]] = {
    "a definition that is none": (changed(CATALOGUE[0], b'"minimum":0', b'"minimun":0'), "no keyword 'minimun'"),
    "a pattern that takes for ever": (changed(CATALOGUE[0], b'"minimum":0', b'"pattern":"(?=a)b"'), "cannot be used"),
    "a key that is none": (changed(CATALOGUE[0], b'"key":"name"', b'"key":"NAME"'), "cannot be a key"),
    "a name that leads nowhere": (changed(CATALOGUE[0], b'"required":["name"]', b'"required":["nama"]'), "'nama'"),
    "another type": (changed(CATALOGUE[0], b'"type":"category"', b'"type":"thing"'), "type"),
    "no versions": (changed(CATALOGUE[2], b'"versions":[', b'"versions":[],"x":['), "profiles.ndjson"),
    "a version of nothing": (changed(CATALOGUE[1], b'"version":"1.0.0"', b'"version":"1.0"'), "no version"),
    "a range that nobody meets": (changed(CATALOGUE[1], b'"core":"*"', b'"core":"^9"'), "core ^9"),
    "an entity that was never": (
        lambda members: members.update({CATALOGUE[1]: re.sub(rb'"entities":\{"....', b'"entities":{"0000', members[CATALOGUE[1]])}),
        "is not there",
    ),
    "a member that is not there": (lambda _: None, "other members"),
    "rows out of order": (swap, "not after the line before"),
    "a time before all": (first_time(b"0001-01-01T00:00:00+14:00"), "1900"),
    "a time after all": (first_time(b"9999-12-31T23:59:59-14:00"), "1900"),
    "a time without a zone": (first_time(b"2026-01-01T00:00:00"), "observed_at"),
    "a value that is none": (changed(OBSERVATIONS[1], b'"value":21.5', b'"value":1e999'), "rows.ndjson"),
    "a value that is too large": (changed(OBSERVATIONS[1], b'"value":21.5', b'"value":1e301'), "value"),
    "a series that is not there": (changed(OBSERVATIONS[1], b'{"series":2,"observed_at":"2026-01-21T10:00:00.', b'{"series":3,"observed_at":"2026-01-21T10:00:00.'), "no series 3"),
    "evidence that ends before it starts": (changed(OBSERVATIONS[1], b'"end":18', b'"end":1'), "ends before"),
    "attributes that cannot be kept": (changed(OBSERVATIONS[1], b"Ada", b"\\u0000"), "cannot be kept"),
    "attributes that are too many": (changed(OBSERVATIONS[1], b"Ada", b"A" * 9000), "8 KiB"),
    "a row that is missing": (lambda members: members.update({OBSERVATIONS[1]: b"".join(members[OBSERVATIONS[1]].splitlines(True)[:-1])}), "another number of rows"),
    "a series of nobody": (changed(OBSERVATIONS[0], b'"entity":"station"', b'"entity":"stations"'), "no such entity"),
    "a metric that nobody writes": (changed(OBSERVATIONS[0], b'"metric":"no2"', b'"metric":"mentions"'), "nobody writes"),
    "a unit that is too long": (changed(OBSERVATIONS[0], "µg".encode(), b"m" * 99), "unit"),
}  # fmt: skip


async def test_of_a_bundle_that_is_wrong_nothing_is_imported(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await filled(client, collection, work, place)
    await written(place, tmp_path / "good")
    await begin_anew(place)

    for number, (name, (do, told)) in enumerate(HOSTILE.items()):
        folder = copied(tmp_path / "good", tmp_path / f"wrong-{number}")
        if name == "a member that is not there":
            do_lose(folder)
        else:
            rewrite(folder, do)
        with pytest.raises(DrystoneError) as caught:
            await read(place, folder)
        assert told in caught.value.message, name
        assert isinstance(caught.value, Invalid), name
    for table in ("collections", "entities", "modules", "series", "observations"):
        assert await rows(place.sessions, f"select count(*) from {table}") == [(0,)]


def do_lose(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["members"] = [each for each in manifest["members"] if each["name"] != CATALOGUE[2]]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / CATALOGUE[2]).unlink()


def copied(folder: Path, to: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file():
            (to / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (to / path.relative_to(folder)).write_bytes(path.read_bytes())
    return to


_ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "pending", "failed", "application/zip", "a" * 3000, "0" * 64]),
    st.lists(st.integers(-1, 9), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a line where something stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for name, each in inner for place in [(*path, name), *spots(each, (*path, name))]]


async def test_whatever_a_record_says_it_is_refused_or_imported_whole(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await filled(client, collection, work, place)
    await written(place, tmp_path / "good")
    outcomes: list[bool] = []
    loop = asyncio.get_running_loop()

    async def one(folder: Path) -> bool:
        await begin_anew(place)
        with container.opened(folder) as bundle:
            try:
                checking.check(bundle)
                is_right = True
            except DrystoneError:
                is_right = False
        if not is_right:
            with pytest.raises(DrystoneError):
                await read(place, folder)
            assert await rows(place.sessions, "select count(*) from entities") == [(0,)]
            assert await rows(place.sessions, "select count(*) from collections") == [(0,)]
            return False
        done = await read(place, folder)
        assert (done.documents, done.defined, done.observations) == (1, 7, 59)
        return True

    @drawn(**AGAIN, suppress_health_check=list(HealthCheck))  # type: ignore[arg-type]
    @given(
        st.sampled_from(["documents.ndjson", "collections.ndjson", "chunks/0001.ndjson", *CATALOGUE, *OBSERVATIONS]),
        st.integers(0, 10**6),
        _ANYTHING,
    )
    def holds(member: str, seed: int, value: Any) -> None:
        drawn_by = random.Random(seed)

        def change_it(found: dict[str, bytes]) -> None:
            lines = [json.loads(line) for line in found[member].splitlines()]
            number = drawn_by.randrange(len(lines))
            path = drawn_by.choice(spots(lines[number]))
            holder = lines[number]
            for name in path[:-1]:
                holder = holder[name]
            holder[path[-1]] = value
            found[member] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

        folder = copied(tmp_path / "good", tmp_path / f"drawn-{len(outcomes)}")
        rewrite(folder, change_it)
        outcomes.append(asyncio.run_coroutine_threadsafe(one(folder), loop).result(60))

    await asyncio.to_thread(holds)
    assert {True, False} == set(outcomes), "some were refused, and some were harmless"
