"""Pages of PDFs in the console: the right one, with the right mark, for those who may see it, and nothing but a picture."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.test_console import sign_in
from tests.keys import make_key, make_workspace
from tests.pdfs import printed, slow

from drystone.console import drawings
from drystone.core.db import Sessions
from drystone.core.errors import Invalid
from drystone.documents import pictures
from drystone.documents.pictures import Pictures, Sheet
from drystone.resources import Resources

PAGES = [
    ["A through-stone ties both faces of a wall together and keeps them from parting."],
    ["Water runs through a wall without mortar, so frost finds nothing in it to burst."],
    ["Sheep look for the place where a wall is low, and find it sooner than its owner."],
]


async def _add(client: httpx.AsyncClient, work: Any, body: bytes = b"", **form: str) -> str:
    answer = await client.post("/api/v1/documents", files={"file": ("walls.pdf", body or printed(*PAGES))}, data=form)
    assert answer.status_code == 202, answer.text
    await work()
    return str(answer.json()["document"]["id"])


async def test_a_hit_leads_to_its_page_with_the_passage_marked(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    document = await _add(client, work)
    await sign_in(browser, key)

    found = (await browser.get("/search", params={"q": "what keeps frost from a wall?"})).text
    link = re.search(rf'href="(/documents/{document}\?[^"]+)"[^>]*>walls.pdf', found)
    assert link is not None
    page = (await browser.get(link[1].replace("&amp;", "&"))).text
    source = re.search(r'<img src="(/documents/[^"]+)"', page)

    assert source is not None
    marked = await browser.get(source[1].replace("&amp;", "&"))
    plain = await browser.get(source[1].partition("?")[0])
    assert marked.content != plain.content
    assert marked.content[:8] == plain.content[:8] == b"\x89PNG\r\n\x1a\n"


async def test_each_page_has_its_text_beside_it(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    document = await _add(client, work)
    await sign_in(browser, key)

    first, third = [(await browser.get(f"/documents/{document}", params={"page": page})).text for page in (1, 3)]

    assert "Page 1" in first
    assert f"/documents/{document}/pages/1" in first
    assert "through-stone" in first
    assert 'rel="prev"' not in first
    assert f"/documents/{document}/pages/3" in third
    assert "Sheep" in third
    assert 'rel="next"' not in third
    assert (await browser.get(f"/documents/{document}?page=4")).status_code == 404
    assert (await browser.get(f"/documents/{document}/pages/4")).status_code == 404
    assert (await browser.get(f"/documents/{document}/pages/0")).status_code == 422


ACROSS = [
    [
        "Lime mortar was in use for boundary walls on this side of the valley",
        "until the price of coal went up, and then",
    ],
    ["frost burst the wet masonry, and the shepherds built it anew without any."],
]


async def test_a_passage_over_two_pages_leads_to_the_one_with_the_words_and_to_the_other(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    document = await _add(client, work, printed(*ACROSS))
    await sign_in(browser, key)

    async def read(question: str) -> str:
        found = (await browser.get("/search", params={"q": question})).text
        link = re.search(rf'href="(/documents/{document}\?[^"#]+)', found)
        assert link is not None
        return (await browser.get(html.unescape(link[1]))).text

    begins, goes_on = await read("lime mortar of boundary walls"), await read("what did frost do to masonry?")

    assert "Text of page 1" in begins
    assert "Text of page 2" in goes_on
    assert 'class="passage meant"' in goes_on
    assert "from page 1" in goes_on
    assert "continued on page" not in goes_on
    on = re.search(r'<a href="([^"#]+)#p0">… continued on page 2</a>', begins)
    assert on is not None
    assert 'class="passage meant"' in (page := (await browser.get(html.unescape(on[1]))).text)
    assert "shepherds" in page


async def test_a_picture_is_kept_by_the_browser_and_by_the_process(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    document = await _add(client, work)
    await sign_in(browser, key)
    path = f"/documents/{document}/pages/2"

    first = await browser.get(path)
    again = await browser.get(path)
    known = await browser.get(path, headers={"If-None-Match": first.headers["etag"]})
    other = await browser.get(path, params={"at": 0})  # a passage of another page: nothing of it is here

    assert first.status_code == 200
    assert again.content == first.content
    assert (known.status_code, known.content) == (304, b"")
    assert (await browser.get(f"{path[:-1]}1")).headers["etag"] != first.headers["etag"]
    assert other.status_code == 200
    assert first.headers["content-type"] == "image/png"
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in first.headers["content-security-policy"]


async def test_a_page_that_cannot_be_drawn_says_so_in_its_place(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    endless = printed(*PAGES).replace(b"/MediaBox[0 0 612 792]", b"/MediaBox[0 0 9000000 9000000]")
    document = await _add(client, work, endless)
    await sign_in(browser, key)

    answer = await browser.get(f"/documents/{document}/pages/1")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert "This page cannot be drawn" in answer.text
    assert answer.headers["cache-control"] == "no-store"


class Counted(Pictures):
    """How often a page was drawn, or tried to."""

    drawn = 0

    async def _draw(self, sheet: Sheet) -> bytes | Invalid:
        self.drawn += 1
        return await super()._draw(sheet)


@pytest.fixture
async def counted(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Counted]:
    """What draws for the console, with a second of the processor and time enough for that on a busy machine."""
    resources: Resources = browser._transport.app.state.resources  # type: ignore[attr-defined]
    monkeypatch.setattr(pictures, "CPU_S", 1)
    monkeypatch.setattr(pictures, "WALL_S", 60)
    monkeypatch.setattr(pictures, "WAIT_S", 120.0)
    made, before = Counted(resources.settings.parsing, resources.objects, tmp_path), resources.pictures
    object.__setattr__(resources, "pictures", made)
    yield made
    object.__setattr__(resources, "pictures", before)
    await made.aclose()


async def test_a_page_that_takes_too_long_is_not_tried_again(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any, counted: Counted
) -> None:
    document = await _add(client, work, slow(*PAGES))
    await sign_in(browser, key)

    first = await browser.get(f"/documents/{document}/pages/1")
    again = await browser.get(f"/documents/{document}/pages/1")

    assert "This page cannot be drawn" in first.text
    assert again.text == first.text
    assert counted.drawn == 1


@pytest.mark.usefixtures("counted")
async def test_one_keys_slow_pages_keep_nobody_elses_waiting_for_all_of_them(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions, key: str, work: Any
) -> None:
    endless, short = await _add(client, work, slow(*PAGES)), await _add(client, work)
    shown = []
    for each in (key, await make_key(owner)):
        await sign_in(browser, each)
        shown.append({"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())})
        browser.cookies.clear()

    waiting = [
        asyncio.create_task(browser.get(f"/documents/{endless}/pages/{page}", headers=shown[0])) for page in (1, 2, 3)
    ]
    await asyncio.wait(waiting, timeout=0.5)
    other = await browser.get(f"/documents/{short}/pages/1", headers=shown[1])

    assert other.headers["content-type"] == "image/png"
    assert sum(each.done() for each in waiting) <= 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_has_no_pages_has_no_pictures(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    text = await client.post("/api/v1/documents", files={"file": ("a.md", b"# A wall")})
    broken = await client.post("/api/v1/documents", files={"file": ("b.pdf", b"%PDF-1.7 no more")})
    await work()
    await sign_in(browser, key)

    for sent in (text, broken):
        document = sent.json()["document"]["id"]
        assert (await browser.get(f"/documents/{document}/pages/1")).status_code == 404
        assert '<img src="/documents' not in (await browser.get(f"/documents/{document}")).text


async def test_who_may_not_see_a_document_sees_none_of_its_pages(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions, key: str, work: Any
) -> None:
    document = await _add(client, work, collection="hidden")
    await client.post("/api/v1/collections", json={"name": "open"})
    await sign_in(browser, key)
    path = f"/documents/{document}/pages/1"
    tag = (await browser.get(path)).headers["etag"]
    confined = await client.post("/api/v1/keys", json={"name": "k", "scopes": ["read"], "collections": ["open"]})
    others = [confined.json()["key"], await make_key(owner, workspace_id=await make_workspace(owner))]

    for other in others:
        await sign_in(browser, other)
        answers = [await browser.get(path), await browser.get(path, headers={"If-None-Match": tag})]
        assert [each.status_code for each in answers] == [404, 404]
    await sign_in(browser, key)
    await client.delete(f"/api/v1/documents/{document}")
    assert (await browser.get(path, headers={"If-None-Match": tag})).status_code == 404


@pytest.mark.parametrize("name", ["<b>", "&amp;", "“x”"])
def test_what_is_wrong_is_told_as_text(name: str) -> None:
    drawn = drawings.sheet("It cannot", f"It holds {name} and more of {name}")

    assert "<b>" not in drawn
    assert drawn.startswith("<svg ")
