"""Hits that say more than one passage: neighbours joined, copies behind the better one, and answers of unlike hits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from drystone.core.db import Sessions, transaction

Work = Callable[[], Awaitable[None]]

WALL = (
    "A dry stone wall stands without mortar: the weight of its stones holds it, and water runs out between them. Frost "
    "does it no harm. It is built in two faces that lean on each other, with small stones between them."
)
HERON = (
    "The heron stands in the reeds and waits for fish, often for an hour, on one leg. It nests in high trees beside the "
    "lake together with others, and comes back to the same nest every year."
)


def _paragraph(word: str) -> str:
    """About 230 tokens: no two of these fit into one passage."""
    return f"The {word} is here. " + f"Something about {word} stands in this line, and more of it. " * 17 + "🪨"


def _pages(*words: str) -> str:
    return "\n\n \n".join(map(_paragraph, words))


async def _send(client: httpx.AsyncClient, work: Work, collection: str, bodies: dict[str, str]) -> None:
    for external_id, body in bodies.items():
        sent = await client.post(
            "/api/v1/documents",
            files={"file": (f"{external_id}.txt", body.encode())},
            data={"collection": collection, "external_id": external_id},
        )
        assert sent.status_code == 202, sent.text
    await work()


async def _search(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _names(answer: dict[str, Any]) -> list[str]:
    return [hit["document"]["external_id"] for hit in answer["hits"]]


async def _assert_exact(client: httpx.AsyncClient, answer: dict[str, Any]) -> None:
    """Every stretch that is told is the text's own."""
    for hit in answer["hits"]:
        body = (await client.get(f"/api/v1/documents/{hit['document']['id']}/text")).text
        assert body[hit["start"] : hit["end"]] == hit["quote"]
        if hit["merged"]:
            assert (hit["merged"][0]["start"], hit["merged"][-1]["end"]) == (hit["start"], hit["end"])
            assert hit["score"] == max(each["score"] for each in hit["merged"])
        for near in hit["neighbours"] or []:
            assert body[near["start"] : near["end"]] == near["quote"]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
async def test_neighbours_are_one_hit_with_everything_of_both(
    client: httpx.AsyncClient, work: Work, collection: str, mode: str
) -> None:
    await _send(client, work, collection, {"long": _pages("moss", "heron", "reed", "slate", "beam"), "wall": WALL})
    asked = {"query": "heron reed", "collection": collection, "mode": mode, "limit": 2, "highlight": True}

    answer = await _search(client, **asked, merge=True, neighbours=1, explain=True)
    apart = await _search(client, **asked)

    hit = answer["hits"][0]
    assert len(hit["merged"]) >= 2
    assert hit["score"] == apart["hits"][0]["score"]
    assert (hit["ranks"], hit["scores"]) == (apart["hits"][0]["ranks"], apart["hits"][0]["scores"])
    assert all(each["merged"] is None for each in apart["hits"])
    assert {(each["start"], each["end"]) for each in apart["hits"]} <= {
        (each["start"], each["end"]) for each in hit["merged"]
    }
    assert "heron" in hit["quote"]
    assert "reed" in hit["quote"]
    if mode != "dense":
        spans = [hit["quote"][s["start"] - hit["start"] : s["end"] - hit["start"]] for s in hit["highlights"]]
        assert set(spans) == {"heron", "reed"}
    assert all(near["end"] <= hit["start"] or near["start"] >= hit["end"] for near in hit["neighbours"])
    assert answer["explanation"]["merged_passages"] == sum(len(h["merged"] or "1") - 1 for h in answer["hits"])
    await _assert_exact(client, answer)


async def test_what_lies_around_a_joined_hit_is_before_its_first_and_after_its_last_passage(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    await _send(client, work, collection, {"long": _pages("moss", "heron", "reed", "slate", "beam")})

    (hit,) = (
        await _search(client, query="heron reed", collection=collection, mode="lexical", merge=True, neighbours=2)
    )["hits"]

    assert [near["distance"] for near in hit["neighbours"]] == [-1, 1, 2]
    assert ["moss" in near["quote"] for near in hit["neighbours"]] == [True, False, False]
    assert [word for near in hit["neighbours"][1:] for word in ("slate", "beam") if f"The {word}" in near["quote"]] == [
        "slate",
        "beam",
    ]


async def test_a_passage_whose_distance_to_the_next_is_not_known_stays_alone(
    client: httpx.AsyncClient, work: Work, collection: str, sessions: Sessions
) -> None:
    """As those are that were there before the white space between passages was kept."""
    await _send(client, work, collection, {"long": _pages("heron", "reed")})
    async with transaction(sessions) as session:
        await session.execute(text("update chunks set space_before = null"))

    answer = await _search(client, query="heron reed", collection=collection, merge=True)

    assert [hit["merged"] for hit in answer["hits"]] == [None, None]
    await _assert_exact(client, answer)


async def test_pages_and_headings_of_a_joined_hit_are_those_of_all_of_it(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    body = f"# Lake\n\n## Birds\n\n{_paragraph('heron')}\n\n## Plants\n\n{_paragraph('reed')}"
    sent = await client.post(
        "/api/v1/documents", files={"file": ("a.md", body.encode())}, data={"collection": collection}
    )
    assert sent.status_code == 202
    await work()

    (hit,) = (await _search(client, query="heron reed", collection=collection, merge=True))["hits"]

    assert hit["title_path"] == ["Lake"]
    assert [each["title_path"] for each in hit["merged"]] == [["Lake", "Birds"], ["Lake", "Plants"]]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
async def test_copies_stand_behind_one_hit_and_others_move_up(
    client: httpx.AsyncClient, work: Work, collection: str, mode: str
) -> None:
    copies = {f"copy-{n}": WALL.replace(". ", "." + "\n" * (n + 1)) for n in range(6)}
    await _send(
        client,
        work,
        collection,
        copies | {"heron": HERON, "short": "A stone wall.", "other": "Walls of stone and moss."},
    )
    asked = {"query": "dry stone wall", "collection": collection, "mode": mode, "limit": 3}

    answer = await _search(client, **asked, explain=True)
    apart = await _search(client, **asked, collapse="none")
    documents = await _search(client, **asked | {"limit": 9}, max_per_document=1)
    wanted = await _search(client, **asked, max_per_document=1, collapse="copies")

    first = next(hit for hit in answer["hits"] if hit["document"]["external_id"] in copies)
    assert len(first["duplicates"]) == 5
    assert {first["document"]["external_id"], *(d["document"]["external_id"] for d in first["duplicates"])} == {*copies}
    assert {"short", "other"} < set(_names(answer))
    assert len(answer["hits"]) == 3
    assert answer["truncated"] is False
    assert answer["explanation"]["collapsed_passages"] == 5
    for each in first["duplicates"]:
        body = (await client.get(f"/api/v1/documents/{each['document']['id']}/text")).text
        assert body[each["start"] : each["end"]].split() == first["quote"].split()
        assert each["is_copy"] is True
        assert each["score"] <= first["score"]
    assert all(hit["duplicates"] == [] for hit in apart["hits"])
    assert {*copies} < {*_names(documents)}, "who asks for documents is given all"
    assert _names(wanted) == _names(answer)
    assert sum(name in copies for name in _names(apart)) >= 1


async def test_nearly_the_same_is_left_out_only_where_that_is_wanted_and_never_with_another_number(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    dose = WALL + " The builder carries 5 tons of stone a day and takes 40 minutes of rest at noon."
    bodies = {
        "first": dose,
        "worded": dose.replace("no harm", "little harm"),
        "number": dose.replace("5 tons", "50 tons"),
    }
    await _send(client, work, collection, bodies)

    near = await _search(client, query="stone wall", collection=collection, collapse="near")
    copies = await _search(client, query="stone wall", collection=collection)

    assert len(copies["hits"]) == 3
    assert len(near["hits"]) == 2
    assert "number" in _names(near)
    (duplicate,) = [each for hit in near["hits"] for each in hit["duplicates"]]
    assert duplicate["is_copy"] is False
    assert {duplicate["document"]["external_id"], *_names(near)} == {*bodies}


async def test_copies_in_several_collections_are_one_hit(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    names = [f"{collection}-{n}" for n in (1, 2)]
    await _send(client, work, names[0], {"a": WALL})
    await _send(client, work, names[1], {"b": WALL + "\n"})

    (hit,) = (await _search(client, query="stone wall", collections=names))["hits"]

    (duplicate,) = hit["duplicates"]
    assert {hit["document"]["collection"], duplicate["document"]["collection"]} == {*names}


async def test_more_copies_than_are_looked_at_first_do_not_empty_the_answer(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    copies = {f"copy-{n}": f"{WALL}\n" for n in range(130)}
    others = {f"other-{n}": f"Moss number {n} grows upon the wall." for n in range(4)}
    await _send(client, work, collection, copies | others)

    for mode in ("dense", "lexical", "hybrid"):
        answer = await _search(client, query="dry stone wall without mortar", collection=collection, mode=mode, limit=5)
        assert set(_names(answer)[1:]) == {*others}, mode
        assert len(answer["hits"][0]["duplicates"]) == 129
        assert answer["truncated"] is False
    short = await _search(client, query="dry stone wall", collection=collection, limit=6)
    assert (len(short["hits"]), short["truncated"]) == (5, False), "all there are stand in a hit or behind one"


async def test_likes_of_a_document_are_joined_and_collapsed_as_any(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    await _send(client, work, collection, {"asked": WALL, "a": WALL + "\n", "b": WALL + "\n\n", "heron": HERON})
    listed = (await client.get("/api/v1/documents", params={"collection": collection})).json()["items"]
    (document,) = [each["id"] for each in listed if each["external_id"] == "asked"]

    answer = await _search(client, like={"document_id": document}, collection=collection)

    assert [len(hit["duplicates"]) for hit in answer["hits"]] == [1, 0]
    assert _names(answer)[1] == "heron"


async def test_a_document_held_to_so_many_passages_has_them_joined(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    await _send(client, work, collection, {"long": _pages("heron", "reed", "heron reed", "lake"), "wall": WALL})

    for most in (1, 2):
        answer = await _search(client, query="heron reed", collection=collection, merge=True, max_per_document=most)
        assert sum(len(h["merged"] or "1") for h in answer["hits"] if h["document"]["external_id"] == "long") == most
        await _assert_exact(client, answer)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
async def test_diversity_brings_up_what_is_unlike_the_best(
    client: httpx.AsyncClient, work: Work, collection: str, mode: str
) -> None:
    walls = {f"wall-{n}": f"{WALL} This is the wall of farm {n}, and it is dry and of stone." for n in range(5)}
    await _send(client, work, collection, walls | {"heron": HERON + " It stands upon a dry stone."})
    asked = {"query": "dry stone wall", "collection": collection, "mode": mode}

    plain = await _search(client, **asked)
    diverse = await _search(client, **asked, diversity=0.8)

    assert _names(plain)[-1] == "heron"
    assert _names(diverse)[:2] == [_names(plain)[0], "heron"]
    assert sorted(_names(diverse)) == sorted(_names(plain))
    assert [hit["rank"] for hit in diverse["hits"]] == [1, 2, 3, 4, 5, 6]
