"""Bundles: out and in again, other ids, another model, a second time; and what a hostile one can do, which is nothing."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.integration.bundles import (
    Change,
    begin_anew,
    changed,
    check_invariants,
    read,
    replaced,
    rewrite,
    rows,
    written,
)
from tests.integration.uploads import Work, search, send

from drystone.bundle import checking, container
from drystone.bundle.importing import Place
from drystone.core.db import Sessions
from drystone.core.errors import Conflict, DrystoneError, Invalid, NotFound
from drystone.resources import Resources

CHUNKS = """
select c.document_id, c.version_id, c.ordinal, c.start_offset, c.end_offset, c.page, c.title_path, c.content_hash, c.length,
       c.text, c.space_before, cast(v.embedding as text)
from chunks c join vectors_1 v on v.chunk_id = c.id order by c.document_id, c.ordinal
"""
DOCUMENTS = """
select d.id, d.external_id, d.parent_id, d.member_path, d.sha256, d.name, d.title, cast(d.attributes as text), d.state,
       d.current_version_id, d.latest_version_id, d.created_at, k.id, k.name, k.language
from documents d join collections k on k.id = d.collection_id order by d.id
"""
VERSIONS = """
select v.id, v.number, v.name, v.state, v.text_sha256, v.text_length, v.title, v.language, v.parser_version, v.chunk_count,
       v.error_code, v.ready_at, f.sha256, f.media_type, f.size_bytes
from versions v join files f on f.id = v.file_id order by v.document_id, v.number
"""


async def filled(client: httpx.AsyncClient, collection: str, work: Work) -> None:
    """Two versions of one document, one that fails, one with attributes, an archive with two members."""
    await send(
        client, collection, b"# Gulls\n\nSeventeen gannets sat on the mast.", external_id="gulls", name="gulls.md"
    )
    await work()
    await send(
        client, collection, b"# Gulls\n\nNineteen gannets sat on the mast.", external_id="gulls", name="gulls.md"
    )
    await send(client, collection, b"%PDF-1.4 broken", external_id="broken", name="broken.pdf")
    await send(client, collection, b"The cellist of Bergen hid her diary.", attributes='{"year": 1960}')
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("a/one.txt", "A plumber in Ghent repaired a boiler.")
        archive.writestr("two.md", "# Two\n\nA courier left eleven letters.")
    await send(client, collection, body.getvalue(), external_id="letters", name="letters.zip")
    await work()


@pytest.mark.parametrize("name", ["bundle.zip", "folder"])
async def test_what_goes_out_comes_in_as_it_was(
    client: httpx.AsyncClient,
    collection: str,
    work: Work,
    resources: Resources,
    sessions: Sessions,
    place: Place,
    tmp_path: Path,
    name: str,
) -> None:
    await filled(client, collection, work)
    before = [await rows(sessions, statement) for statement in (DOCUMENTS, VERSIONS, CHUNKS)]
    hits = await search(client, collection, "gannets on the mast")
    made = await written(place, tmp_path / name)
    await begin_anew(place)

    done = await read(place, tmp_path / name)
    await work()

    assert (made.documents, done.documents, done.already, done.waiting) == (6, 6, 0, 0)
    assert [await rows(sessions, statement) for statement in (DOCUMENTS, VERSIONS, CHUNKS)] == before
    # Whoever made them there is nobody here, or somebody else.
    assert await rows(sessions, "select distinct created_by from documents") == [("bundle",)]
    assert await search(client, collection, "gannets on the mast") == hits
    await check_invariants(resources, sessions)
    again = await read(place, tmp_path / name)
    assert (again.documents, again.already) == (0, 6)
    assert [await rows(sessions, statement) for statement in (DOCUMENTS, VERSIONS, CHUNKS)] == before
    mode = (tmp_path / name).stat().st_mode & 0o777
    assert mode == (0o600 if name.endswith(".zip") else 0o700)


async def test_what_comes_in_mentions_what_has_a_name_here(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions, place: Place, tmp_path: Path
) -> None:
    await filled(client, collection, work)
    await written(place, tmp_path / "bundle")
    await begin_anew(place)
    label = {"type": "property", "label": "Gannet", "aliases": {"en": ["gannets", "couriers", "courier"]}}
    await client.put("/api/v1/entities/gannet", json=label | {"schema_definition": {"type": "string"}})
    await work()

    await read(place, tmp_path / "bundle")

    said = "select substr(chunks.text, starts[1] - start_offset + 1, ends[1] - starts[1]) from mentions join chunks on id = chunk_id order by 1"
    assert await rows(sessions, said) == [("courier",), ("gannets",)]


async def test_beside_the_original_documents_get_other_ids(
    client: httpx.AsyncClient,
    collection: str,
    work: Work,
    resources: Resources,
    sessions: Sessions,
    place: Place,
    tmp_path: Path,
) -> None:
    await filled(client, collection, work)
    await written(place, tmp_path / "b.zip", collection)

    done = await read(place, tmp_path / "b.zip", into=f"{collection}-copy")
    again = await read(place, tmp_path / "b.zip", into=f"{collection}-copy")

    assert (done.documents, done.renamed_ids, again.already) == (6, 6, 6)
    found = await search(client, f"{collection}-copy", "gannets on the mast")
    assert found[0] == "# Gulls\n\nNineteen gannets sat on the mast." or "Nineteen" in found[0]
    members = await rows(
        sessions,
        "select count(*) from documents m join documents p on p.id = m.parent_id and p.collection_id = m.collection_id",
    )
    assert members == [(4,)], "members of both archives stand beside their own"
    await check_invariants(resources, sessions)


async def test_another_collection_of_that_name_is_a_conflict_unless_it_is_meant(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions, place: Place, tmp_path: Path
) -> None:
    await send(client, collection, b"A bundle is made of this.")
    await work()
    await written(place, tmp_path / "b.zip")
    await begin_anew(place)
    await send(client, collection, b"Somebody else's.")
    await work()

    with pytest.raises(Conflict, match="another collection"):
        await read(place, tmp_path / "b.zip")
    assert await rows(sessions, "select count(*) from documents") == [(1,)]
    done = await read(place, tmp_path / "b.zip", into=collection)

    assert done.documents == 1
    assert await rows(sessions, "select count(*) from documents where state = 'ready'") == [(2,)]


async def test_where_the_model_is_another_documents_are_embedded_anew(
    client: httpx.AsyncClient,
    collection: str,
    work: Work,
    resources: Resources,
    sessions: Sessions,
    place: Place,
    tmp_path: Path,
) -> None:
    await filled(client, collection, work)
    await written(place, tmp_path / "folder")
    rename_model(tmp_path / "folder", "another-model")
    await begin_anew(place)

    done = await read(place, tmp_path / "folder")
    await work()

    assert (done.documents, done.waiting, done.chunks) == (6, 4, 0)
    states = await rows(sessions, "select state, count(*) from documents group by state order by state")
    assert states == [("failed", 1), ("ready", 5)]
    assert "Nineteen" in (await search(client, collection, "gannets on the mast"))[0]
    await check_invariants(resources, sessions)


async def test_what_was_deleted_here_comes_back_under_another_id_and_stays(
    client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions, place: Place, tmp_path: Path
) -> None:
    sent = await send(client, collection, b"A bundle is made of this.", external_id="e")
    await work()
    await written(place, tmp_path / "b.zip")
    await client.delete(sent.headers["location"])
    await work()

    done = await read(place, tmp_path / "b.zip")

    assert (done.documents, done.renamed_ids) == (1, 1), "the deletion log would delete the old id again"
    live = await rows(sessions, "select external_id from documents where deleted_at is null")
    assert live == [("e",)]


async def test_an_import_that_was_cut_short_goes_on(
    client: httpx.AsyncClient,
    collection: str,
    work: Work,
    resources: Resources,
    sessions: Sessions,
    place: Place,
    tmp_path: Path,
) -> None:
    for number in range(60):
        await send(client, collection, f"Entry {number}: the lamp was lit.".encode())
    await work()
    await written(place, tmp_path / "b.zip")
    await begin_anew(place)
    said: list[str] = []

    def stop(sentence: str) -> None:
        said.append(sentence)
        if len(said) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await read(place, tmp_path / "b.zip", say=stop)
    ((half,),) = await rows(sessions, "select count(*) from documents where state = 'ready'")
    done = await read(place, tmp_path / "b.zip")

    assert 0 < half < 60
    assert (done.already, done.documents) == (half, 60 - half)
    await check_invariants(resources, sessions)


def rename_model(folder: Path, model: str) -> None:
    rewrite(
        folder, lambda members: members.update(replaced(members, "collections.ndjson", b"all-MiniLM", model.encode()))
    )


def a_blob(members: dict[str, bytes]) -> str:
    return min(name for name in members if name.startswith("blobs/"))


def flip(members: dict[str, bytes]) -> None:
    name = a_blob(members)
    members[name] = bytes([members[name][0] ^ 1]) + members[name][1:]


def lose(members: dict[str, bytes]) -> None:
    del members[a_blob(members)]


def cut(members: dict[str, bytes]) -> None:
    members["documents.ndjson"] = members["documents.ndjson"][:-20]


def long_vector(members: dict[str, bytes]) -> None:
    body = members["chunks/0001.npy"]
    members["chunks/0001.npy"] = body[:-768] + np.full(384, 9, "<f2").tobytes()


HOSTILE: dict[str, tuple[Change, bool, str]] = {
    "a blob with other bytes": (flip, False, "another SHA-256"),
    "a blob that is missing": (lose, False, "cannot be opened"),
    "a member cut short": (cut, False, "bytes instead of"),
    "a line cut short": (cut, True, "line 1 of documents.ndjson"),
    "something that nothing names": (lambda members: members.update({"more.txt": b"x"}), False, "nothing names"),
    "a name that leads out": (
        changed("manifest.json", b'"documents.ndjson"', b'"../documents.ndjson"'),
        False,
        "manifest",
    ),
    "another format version": (
        changed("manifest.json", b'"format_version": 2', b'"format_version": 3'),
        False,
        "format version 3",
    ),
    "an unknown field": (changed("documents.ndjson", b'{"id"', b'{"evil": 1, "id"'), True, "evil"),
    "a character that cannot be kept": (
        changed("documents.ndjson", b'"name":"a.txt"', b'"name":"a\\u0000.txt"'),
        True,
        "cannot be kept",
    ),
    "a time of nowhere": (changed("documents.ndjson", b'Z","versions"', b'","versions"'), True, "created_at"),
    "a vector that is none": (long_vector, True, "length 1"),
    "an array of other shape": (changed("chunks/0001.npy", b"(1, 384)", b"(9, 384)"), True, "does not hold"),
    "an array of objects": (changed("chunks/0001.npy", b"<f2", b"|O8"), True, "npy"),
    "a passage that was changed": (changed("chunks/0001.ndjson", b"bundle is", b"bundle as"), True, "hash"),
    "a number that is none": (changed("documents.ndjson", b'"number":1', b'"number":1e999'), True, "documents.ndjson"),
    "nested deeply": (
        changed("documents.ndjson", b'"attributes":{}', b'"attributes":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        True,
        "",
    ),
    "a type that nobody reads": (
        changed("documents.ndjson", b"text/plain", b"text/\\r\\nx"),
        True,
        "nothing here reads",
    ),
    "another type": (changed("documents.ndjson", b"text/plain", b"video/mp4"), True, "nothing here reads"),
    "a length that its blob has not": (
        changed("documents.ndjson", b'"size_bytes":25', b'"size_bytes":26'),
        True,
        "has 25 bytes, not 26",
    ),
    "a length that its text has not": (
        changed("documents.ndjson", b'"text_length":25', b'"text_length":24'),
        True,
        "has 25 characters, not 24",
    ),
    "a passage that is somewhere else": (
        changed("chunks/0001.ndjson", b'"start":0,"end":25', b'"start":1,"end":26'),
        True,
        "not where it says",
    ),
    "a page that is not there": (changed("chunks/0001.ndjson", b'"page":null', b'"page":7'), True, "on a page"),
    "a time of nobody": (changed("documents.ndjson", b'"created_at":"20', b'"created_at":"00'), True, "1970 and 2200"),
    "a number for a time": (
        lambda members: members.update(
            {"documents.ndjson": re.sub(rb'"ready_at":"[^"]+"', b'"ready_at":1700000000', members["documents.ndjson"])}
        ),
        True,
        "ready_at",
    ),
    "a language without rules": (
        changed("documents.ndjson", b'"language":"english"', b'"language":"klingon"'),
        True,
        "without rules",
    ),
    "a number after which there is none": (
        changed("documents.ndjson", b'"number":1', b'"number":2147483647'),
        True,
        "number",
    ),
    "a name that no upload has": (
        changed("documents.ndjson", b'"name":"a.txt"', b'"name":"a\\n.txt"'),
        True,
        "a file's name",
    ),
    "a path in no archive": (
        changed("documents.ndjson", b'"member_path":null', b'"member_path":"a"'),
        True,
        "without an archive",
    ),
    "attributes that are too many": (
        changed(
            "documents.ndjson",
            b'"attributes":{}',
            b'"attributes":{' + b",".join(b'"%d":1' % n for n in range(1001)) + b"}",
        ),
        True,
        "at most 1000 attributes",
    ),
    "a bomb of a manifest": (lambda members: members.update({"manifest.json": b" " * (17 << 20)}), False, "too large"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_of_a_bundle_that_is_wrong_nothing_is_imported(
    name: str, client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions, place: Place, tmp_path: Path
) -> None:
    await send(client, collection, b"A bundle is made of this.")
    await work()
    await written(place, tmp_path / "folder")
    await begin_anew(place)
    change, honest, told = HOSTILE[name]
    rewrite(tmp_path / "folder", change, honest=honest)

    with pytest.raises(DrystoneError) as caught:
        await read(place, tmp_path / "folder")

    assert told in caught.value.message
    assert isinstance(caught.value, Invalid | Conflict)
    assert await rows(sessions, "select count(*) from collections") == [(0,)]


def _one_like_another(which: str) -> Change:
    """Gives two documents of the same kind the identity of one."""

    def change(members: dict[str, bytes]) -> None:
        documents = [json.loads(line) for line in members["documents.ndjson"].splitlines()]
        plain = [each for each in documents if each["parent_id"] is None]
        one, other = {
            "external_id": [each for each in plain if each["external_id"]],
            "sha256": [each for each in plain if not each["external_id"]],
            "member_path": [each for each in documents if each["parent_id"]],
        }[which][:2]
        other[which] = one[which]
        members["documents.ndjson"] = b"".join(json.dumps(each).encode() + b"\n" for each in documents)

    return change


@pytest.mark.parametrize("which", ["external_id", "sha256", "member_path"])
async def test_two_documents_of_one_identity_are_refused(
    which: str, client: httpx.AsyncClient, collection: str, work: Work, sessions: Sessions, place: Place, tmp_path: Path
) -> None:
    await filled(client, collection, work)
    await send(client, collection, b"A second one without an id.")
    await work()
    await written(place, tmp_path / "folder")
    await begin_anew(place)
    rewrite(tmp_path / "folder", _one_like_another(which))

    with container.opened(tmp_path / "folder") as bundle, pytest.raises(Invalid, match="is there twice: another has"):
        checking.check(bundle)
    with pytest.raises(Invalid, match="is there twice: another has"):
        await read(place, tmp_path / "folder")

    assert await rows(sessions, "select count(*) from collections") == [(0,)]


async def test_a_zip_file_that_is_wrong_is_refused(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await send(client, collection, b"A bundle is made of this.")
    await work()
    await written(place, tmp_path / "good.zip")
    good = (tmp_path / "good.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(good[: len(good) // 2])
    (tmp_path / "none.zip").write_bytes(b"not a zip file")
    with zipfile.ZipFile(tmp_path / "good.zip") as source, zipfile.ZipFile(tmp_path / "twice.zip", "w") as twice:
        for info in source.infolist():
            twice.writestr(info, source.read(info))
        with pytest.warns(UserWarning, match="Duplicate"):
            twice.writestr("documents.ndjson", b"")
    with zipfile.ZipFile(tmp_path / "good.zip") as source, zipfile.ZipFile(tmp_path / "bomb.zip", "w") as bomb:
        for info in source.infolist():
            body = b"\n" * 50_000_000 if info.filename == "documents.ndjson" else source.read(info)
            info.compress_type = zipfile.ZIP_DEFLATED
            bomb.writestr(info, body)

    for name in ("cut", "none", "twice", "bomb"):
        with pytest.raises(Invalid, match="damaged, or none"):
            await read(place, tmp_path / f"{name}.zip")
    with pytest.raises(NotFound):
        await read(place, tmp_path / "nothing.zip")


async def test_a_link_in_a_folder_leads_nowhere(
    client: httpx.AsyncClient, collection: str, work: Work, place: Place, tmp_path: Path
) -> None:
    await send(client, collection, b"A bundle is made of this.")
    await work()
    await written(place, tmp_path / "folder")
    documents = tmp_path / "folder" / "documents.ndjson"
    documents.rename(tmp_path / "elsewhere")
    documents.symlink_to(tmp_path / "elsewhere")

    with container.opened(tmp_path / "folder") as bundle, pytest.raises(Invalid, match="cannot be opened"):
        checking.check(bundle)
    documents.unlink()
    os.mkfifo(documents)
    with container.opened(tmp_path / "folder") as bundle, pytest.raises(Invalid, match="is no file"):
        checking.check(bundle)
