"""What a search may be asked for besides its best passages: wordings, likes, collections, neighbours, reasons."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from drystone.core.db import Sessions, transaction
from drystone.index import merging
from drystone.resources import Resources
from drystone.search import context, queries, ranking

Work = Callable[[], Awaitable[None]]

BIRDS = {
    "heron": "The heron stands in the reeds and waits for fish. Herons nest in trees beside the lake.",
    "owl": "The owl hunts mice at night. Owls see in the dark.",
    "swift": "Swifts sleep while they fly. A swift hardly ever lands.",
    "wall": "A dry stone wall stands without mortar. The weight of its stones holds it.",
    "bridge": "An arch bridge carries its load to the abutments. Stones of an arch press upon each other.",
}


async def _fill(
    client: httpx.AsyncClient, work: Work, collection: str, bodies: dict[str, str], **data: Any
) -> dict[str, str]:
    ids = {}
    for external_id, body in bodies.items():
        sent = await client.post(
            "/api/v1/documents",
            files={"file": ("a.txt", body.encode())},
            data={"collection": collection, "external_id": external_id} | data,
        )
        assert sent.status_code == 202, sent.text
        ids[external_id] = sent.json()["document"]["id"]
    await work()
    return ids


async def _search(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _names(answer: dict[str, Any]) -> list[str]:
    return [hit["document"]["external_id"] for hit in answer["hits"]]


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
async def test_several_wordings_find_what_each_finds(
    client: httpx.AsyncClient, work: Work, collection: str, mode: str
) -> None:
    await _fill(client, work, collection, BIRDS)

    both = await _search(
        client, queries=["heron in the reeds", "dry stone wall"], collection=collection, limit=2, mode=mode
    )
    twice = await _search(client, queries=["owl at night"] * 2, collection=collection, limit=3, mode=mode)
    once = await _search(client, query="owl at night", collection=collection, limit=3, mode=mode)

    assert set(_names(both)) == {"heron", "wall"}
    assert _names(twice) == _names(once)


async def test_likes_of_a_document_are_found_without_itself(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    more = {
        "pond": "Fish live in the lake among reeds; the heron waits for them.",
        "mortar": "Mortar binds stones of a wall.",
    }
    ids = await _fill(client, work, collection, BIRDS | more)

    for mode in ("hybrid", "dense", "lexical"):
        found = await _search(client, like={"document_id": ids["heron"]}, collection=collection, limit=3, mode=mode)
        assert _names(found)[0] == "pond", mode
        assert "heron" not in _names(found)
    unknown = await client.post(
        "/api/v1/search", json={"like": {"document_id": str(uuid4())}, "collection": collection}
    )
    assert (unknown.status_code, unknown.json()["code"]) == (404, "document.not_found")


async def test_collections_are_searched_as_one(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    names = [f"{collection}-{n}" for n in (1, 2)]
    await _fill(client, work, names[0], {key: BIRDS[key] for key in ("heron", "owl")})
    await _fill(client, work, names[1], {key: BIRDS[key] for key in ("wall", "bridge")})

    for mode in ("hybrid", "dense", "lexical"):
        found = await _search(client, query="heron wall", collections=names, mode=mode)
        assert set(_names(found)[:2]) == {"heron", "wall"}, mode
    assert {hit["document"]["external_id"]: hit["document"]["collection"] for hit in found["hits"]} == {
        "heron": names[0],
        "wall": names[1],
    }
    missing = await client.post("/api/v1/search", json={"query": "heron", "collections": [*names, "not-there"]})
    assert missing.status_code == 404
    assert "not-there" in missing.json()["detail"]


async def test_a_document_may_be_held_to_one_passage(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    long = "\n\n".join(
        f"Heron number {n} stands in the reeds. " + "It waits for fish and flies away. " * 25 for n in range(8)
    )
    await _fill(client, work, collection, BIRDS | {"long": long})

    free = await _search(client, query="heron in the reeds", collection=collection, limit=8)
    held = await _search(client, query="heron in the reeds", collection=collection, limit=6, max_per_document=1)
    two = await _search(client, query="heron in the reeds", collection=collection, limit=8, max_per_document=2)

    assert _names(free).count("long") >= 6
    assert sorted(_names(held)) == sorted([*BIRDS, "long"])
    assert _names(two).count("long") == 2
    assert held["hits"][0]["quote"] == free["hits"][0]["quote"]
    assert [hit["rank"] for hit in held["hits"]] == [1, 2, 3, 4, 5, 6]
    every = await _search(client, query="heron in the reeds", collection=collection, limit=50, max_per_document=1)
    assert (len(every["hits"]), every["truncated"]) == (len(BIRDS) + 1, False), "one of each document is all there is"


async def test_neighbours_are_the_passages_around_a_hit(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    words = ["moss", "fern", "heron", "slate", "beam"]
    body = "\n\n".join(f"The {word} is here. " + f"Something about {word} stands in this line. " * 25 for word in words)
    ids = await _fill(client, work, collection, {"long": body})
    whole = (await client.get(f"/api/v1/documents/{ids['long']}/text")).text

    (hit,) = (await _search(client, query="heron", collection=collection, mode="lexical", limit=1, neighbours=1))[
        "hits"
    ]
    plain = (await _search(client, query="heron", collection=collection, limit=1))["hits"][0]

    assert [near["distance"] for near in hit["neighbours"]] == [-1, 1]
    assert all(whole[near["start"] : near["end"]] == near["quote"] for near in hit["neighbours"])
    assert hit["neighbours"][0]["start"] < hit["start"] < hit["neighbours"][1]["start"]
    assert plain["neighbours"] is None


async def test_highlights_are_words_of_the_question_in_the_text(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    body = "\n\n".join(["Vorwort. " * 200, "Große Häuser 🪨 und ein altes Haus. Der Reiher fliegt."])
    ids = await _fill(client, work, collection, {"de": body})
    whole = (await client.get(f"/api/v1/documents/{ids['de']}/text")).text

    found = await _search(client, query="haus reiher", collection=collection, mode="lexical", highlight=True)

    spans = [(span["start"], span["end"]) for hit in found["hits"] for span in hit["highlights"]]
    assert sorted({whole[start:end] for start, end in spans}) == ["Haus", "Häuser", "Reiher"]


async def test_single_signs_are_highlighted_too(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    body = "北京大学的研究人员在城墙旁边种树。"
    await _fill(client, work, collection, {"zh": body})

    for question, expected in (("北", ["北"]), ("城墙", ["城墙"]), ("树", ["树"])):
        found = await _search(client, query=question, collection=collection, mode="lexical", highlight=True)
        spans = found["hits"][0]["highlights"]
        assert [body[span["start"] : span["end"]] for span in spans] == expected


async def test_a_stop_word_of_the_passage_is_not_highlighted_for_another_languages_sake(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    bodies = {
        "de": "Die Steine liegen in den Fugen der alten Mauer und halten die Mauer seit vielen Jahren zusammen.",
        "en": "Birds die in winter when there is nothing left in the garden for them to eat or to drink.",
    }
    await _fill(client, work, collection, bodies)

    found = await _search(client, query="die Mauer", collection=collection, mode="lexical", highlight=True)

    marked = {
        hit["document"]["external_id"]: {hit["quote"][span["start"] : span["end"]] for span in hit["highlights"]}
        for hit in found["hits"]
    }
    assert marked == {"de": {"Mauer"}, "en": {"die"}}


async def test_a_question_is_cleaned_as_texts_are(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    await _fill(
        client, work, collection, {"a": "An extra\u00adordinary wall of zero\u200bwidth.", "b": "Ordinary extras."}
    )

    for question in ("extra\u00adordinary", "zero\u200bwidth", "extraordinary"):
        found = await _search(client, query=question, collection=collection, mode="lexical")
        assert _names(found) == ["a"], question
    empty = await client.post("/api/v1/search", json={"query": "\u200b", "collection": collection})
    assert (empty.status_code, empty.json()["code"]) == (422, "search.empty_query")


async def test_a_question_that_the_model_cannot_read_is_answered_by_words(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    """MiniLM takes every Thai word for the same unknown one: all of them would be alike."""
    bodies = {
        "cat": "แมวดำนอนหลับอยู่บนหลังคาบ้าน",
        "bank": "ธนาคารเปิดทำการทุกวันจันทร์ถึงศุกร์",
        "ball": "ทีมฟุตบอลชนะการแข่งขันเมื่อวานนี้",
    }
    await _fill(client, work, collection, bodies)

    found = await _search(client, query="แมวดำ", collection=collection, explain=True)
    dense = await _search(client, query="แมวดำ", collection=collection, mode="dense")
    mixed = await _search(client, queries=["แมวดำ", "black cat"], collection=collection)
    latin = await _search(client, query="schwarze Katze", collection=collection)

    assert _names(found) == ["cat"]
    assert found["hits"][0]["scores"]["dense"] is None
    assert found["explanation"]["vectors"] == "none"
    assert [each["code"] for each in found["warnings"]] == ["search.unread_question"]
    assert "answered by its words alone" in found["warnings"][0]["detail"]
    assert "its scores say nothing" in dense["warnings"][0]["detail"]
    assert len(dense["hits"]) == 3
    assert [each["code"] for each in mixed["warnings"]] == ["search.unread_question"]
    assert mixed["hits"][0]["scores"]["dense"] is not None
    assert latin["warnings"] == []


async def test_a_question_of_stop_words_says_so(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    await _fill(client, work, collection, BIRDS)

    for mode, said in (("lexical", ["search.only_stop_words"]), ("hybrid", ["search.only_stop_words"]), ("dense", [])):
        found = await _search(client, query="what is the", collection=collection, mode=mode)
        assert [each["code"] for each in found["warnings"]] == said
    assert (await _search(client, query="what is the heron", collection=collection))["warnings"] == []


async def test_a_filter_that_can_match_nothing_says_why(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    await _fill(client, work, collection, BIRDS, attributes='{"year": 1960, "tags": ["x"]}')

    async def warned(type_: str, key: str, value: Any) -> list[str]:
        found = await _search(
            client, query="heron", collection=collection, filter={"type": type_, "key": key, "value": value}
        )
        return [f"{each['code']}: {each['detail']}" for each in found["warnings"]]

    assert await warned("gte", "yeer", 1960) == [
        "filter.unknown_attribute: No document here has an attribute 'yeer' that is a number, a string, true or false."
    ]
    assert await warned("gte", "year", "1960") == [
        "filter.other_type: The attribute 'year' is a number here, never a string."
    ]
    assert (await warned("in", "tags", ["x"]))[0].startswith("filter.unknown_attribute")
    assert await warned("gte", "year", 1999) == [], "nobody is late enough: that is no mistake"
    assert await warned("gte", "year", 1950) == []
    assert await warned("ne", "yeer", 1960) == []
    english = {"type": "eq", "key": "$language", "value": "EN"}
    assert len((await _search(client, query="heron", collection=collection, filter=english))["hits"]) >= 1
    refused = await client.post(
        "/api/v1/search", json={"query": "heron", "collection": collection, "filter": english | {"value": "English"}}
    )
    assert refused.status_code == 422
    assert "such as en or de" in refused.text


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
async def test_the_first_hits_are_the_same_however_many_are_wanted(
    client: httpx.AsyncClient, work: Work, collection: str, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(context, "DEPTH", 10)
    monkeypatch.setattr(ranking, "DEPTH", 10)
    bodies = {
        f"{word}-{n}": f"A {word} of number {n} stands beside stones of a wall." for word in BIRDS for n in range(12)
    }
    await _fill(client, work, collection, bodies)

    few, many, apart = [
        await _search(client, query="wall of stones with a heron", collection=collection, mode=mode, **more)
        for more in ({"limit": 5}, {"limit": 60}, {"limit": 30, "max_per_document": 1})
    ]

    assert [hit["score"] for hit in few["hits"]] == pytest.approx([hit["score"] for hit in many["hits"][:5]])
    assert _names(few) == _names(many)[:5] == _names(apart)[:5]
    assert _names(many)[:30] == _names(apart)
    scores = [hit["score"] for hit in many["hits"]]
    assert len(scores) == 60
    assert scores == sorted(scores, reverse=True)


async def test_questions_of_thousands_of_words_are_answered_and_explained(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    """Each hit looked up each word by itself: that took a minute, in which nobody else was answered."""
    await _fill(client, work, collection, {f"{n}": "".join(map(chr, range(0x4E00 + n, 0x5E00 + n))) for n in range(3)})
    asked = ["".join(map(chr, range(0x4E00 + 7 * n, 0x4E00 + 7 * n + 3_900))) for n in range(8)]

    found = await _search(
        client, queries=asked, collection=collection, mode="lexical", limit=100, explain=True, highlight=True
    )
    single = await _search(client, query=asked[0], collection=collection, mode="lexical", explain=True)

    assert len(found["hits"]) > 20
    assert all(hit["words"] and hit["highlights"] for hit in found["hits"])
    for hit in single["hits"]:
        assert sum(each["score"] for each in hit["words"]) == pytest.approx(hit["scores"]["lexical"], rel=1e-3)


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({"filter": {"year": 1960}}, "/filter", "A filter has a type: eq, ne"),
        ({"filter": {"type": "and", "filters": [{"year": 1}]}}, "/filter/filters/0", "A filter has a type"),
        ({"filter": {"type": "eq", "key": "a", "value": None}}, "/filter/value", "valid string; or: "),
        ({"filter": {"type": "in", "key": "a", "value": [1] * 1001}}, "/filter/value", "at most 1000 items"),
        ({"top_k": 5}, "/top_k", "There is no such field; there are: query, queries,"),
    ],
)
async def test_what_is_wrong_with_a_request_is_told_once_and_with_the_way_out(
    client: httpx.AsyncClient, collection: str, body: dict[str, Any], pointer: str, said: str
) -> None:
    answer = await client.post("/api/v1/search", json={"query": "x", "collection": collection} | body)

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert said in error["detail"]


async def test_an_explanation_adds_up(client: httpx.AsyncClient, work: Work, collection: str) -> None:
    await _fill(client, work, collection, BIRDS)

    found = await _search(client, query="stones of the heron heron", collection=collection, explain=True)
    plain = await _search(client, query="stones of the heron heron", collection=collection)

    told = found["explanation"]
    assert [(word["word"], word["passages"]) for word in told["words"][0]] == [("stones", 2), ("heron", 1)]
    assert (told["passages"], told["searchable"], told["vectors"], told["languages"]) == (5, 5, "scan", ["english"])
    assert told["candidates"] == 5
    assert {"embed", "scope", "words", "vectors", "fuse", "choose", "show", "total"} == told["stages"].keys()
    for hit in found["hits"]:
        assert sum(word["score"] for word in hit["words"]) == pytest.approx(hit["scores"]["lexical"] or 0)
        assert hit["scores"]["dense"] <= told["best_dense"][0] + 1e-9
    assert max(hit["scores"]["lexical"] or 0 for hit in found["hits"]) == pytest.approx(told["best_lexical"][0])
    assert plain["explanation"] is None
    assert plain["hits"][0]["words"] is None
    assert [hit["score"] for hit in plain["hits"]] == [hit["score"] for hit in found["hits"]]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "search.one_question"),
        ({"query": "a", "queries": ["b"]}, "search.one_question"),
        ({"query": "a", "like": {"document_id": "00000000-0000-4000-8000-000000000000"}}, "search.one_question"),
        ({"query": "a", "collection": "x", "collections": ["y"]}, "search.collections"),
        ({"queries": []}, "search.empty_query"),
        ({"queries": ["a", "  "]}, "search.empty_query"),
        ({"queries": ["a"] * 9}, "search.too_many_queries"),
        ({"query": "a", "collections": []}, "search.collections"),
        ({"query": "a", "collections": [f"c{n}" for n in range(33)]}, "search.collections"),
        ({"query": "a", "neighbours": 6}, "search.neighbours"),
        ({"query": "a", "neighbours": -1}, "search.neighbours"),
        ({"query": "a", "max_per_document": 0}, "search.max_per_document"),
        ({"query": "a", "diversity": 1.5}, "search.diversity"),
        ({"query": "a", "diversity": -0.1}, "search.diversity"),
        ({"query": "a", "collapse": "all"}, "request.invalid"),
    ],
)
async def test_what_cannot_be_asked_is_refused(client: httpx.AsyncClient, body: dict[str, Any], code: str) -> None:
    answer = await client.post("/api/v1/search", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("exact_up_to", [10_000, 0])
@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
async def test_a_filter_keeps_the_limit_whichever_way_is_gone(
    client: httpx.AsyncClient, work: Work, collection: str, mode: str, exact_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "EXACT_UP_TO", exact_up_to)
    for year in (1960, 1970):
        bodies = {f"{year}-{n}": f"Heron {n} of the lake. Stone {n}." for n in range(15)}
        await _fill(client, work, collection, bodies, attributes=f'{{"year": {year}}}')
    gone = (await client.get("/api/v1/documents", params={"collection": collection})).json()["items"][0]
    await client.delete(f"/api/v1/documents/{gone['id']}")

    chosen = {"type": "eq", "key": "year", "value": 1970}
    found = await _search(client, query="heron stone", collection=collection, mode=mode, limit=14, filter=chosen)
    whole = await _search(client, query="heron stone", collection=collection, mode=mode, limit=50)

    assert len(found["hits"]) == 14
    assert all(name.startswith("1970") for name in _names(found))
    assert (found["exact"], found["truncated"]) == (exact_up_to > 0, False)
    assert len(whole["hits"]) == 29
    assert whole["truncated"] is False
    assert gone["external_id"] not in _names(whole)


async def test_words_are_found_in_segments_as_in_what_is_new(
    client: httpx.AsyncClient,
    work: Work,
    collection: str,
    sessions: Sessions,
    resources: Resources,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = await _fill(client, work, collection, BIRDS)
    before = await _search(client, query="stones of the heron", collection=collection)
    monkeypatch.setattr(merging, "SEGMENT_CHUNKS", 2)
    monkeypatch.setattr(merging, "_LIMITS", merging._LIMITS | {"chunks": 2})
    await merging.tidy(sessions, resources.searcher.sessions)
    after = await _search(client, query="stones of the heron", collection=collection)
    await client.delete(f"/api/v1/documents/{ids['heron']}")
    await work()
    left = await _search(client, query="heron", collection=collection, mode="lexical")

    async with transaction(sessions) as session:
        assert await session.scalar(text("select count(*) from lexical_segments")) == 1
    assert after["hits"] == before["hits"]
    assert left["hits"] == []


async def test_each_document_is_read_in_its_own_language(
    client: httpx.AsyncClient, work: Work, collection: str
) -> None:
    bodies = {
        "de": "Die alten Mauern der Häuser wurden von den Maurern ohne Mörtel aus großen Steinen gebaut.",
        "fr": "Les vieux murs des maisons étaient construits sans mortier par les maçons avec de grandes pierres.",
        "ru": "Старые стены домов были построены каменщиками без раствора из больших камней.",
        "ja": "古い家の石垣は、大きな石を使ってモルタルなしで職人によって築かれました。",
        "zh": "老房子的墙是石匠用大石头砌成的，没有使用砂浆。",
        "th": "กำแพงของบ้านเก่าถูกสร้างโดยช่างหินด้วยหินก้อนใหญ่โดยไม่ใช้ปูน",
        "ko": "오래된 집의 돌담은 석공들이 모르타르 없이 큰 돌로 쌓았습니다.",
        "ar": "بنيت جدران البيوت القديمة من حجارة كبيرة بدون ملاط على يد البنائين.",
        "el": "Οι παλιοί τοίχοι των σπιτιών χτίστηκαν χωρίς κονίαμα από μεγάλες πέτρες.",
        "hi": "पुराने घरों की दीवारें बिना गारे के बड़े पत्थरों से बनाई गई थीं।",
        "he": "הקירות הישנים של הבתים נבנו ללא מלט מאבנים גדולות.",
    }
    await _fill(client, work, collection, bodies)
    asked = {
        "de": "mauer haus",
        "fr": "mur macon",
        "ru": "стена дом",
        "ja": "石垣",
        "zh": "石头",
        "th": "กำแพง",
        "ko": "돌담",
        "ar": "جدران",
        "el": "τοιχοι πετρα",
        "hi": "दीवार",
        "he": "הקירות",
    }

    for key, question in asked.items():
        found = await _search(client, query=question, collection=collection, mode="lexical")
        assert _names(found)[:1] == [key], question
