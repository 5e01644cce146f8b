"""Every page looked at by machine: nothing overflows, nobody is shut out, nothing complains; and the main journeys walked."""

from __future__ import annotations

import io
import re
from pathlib import Path

import axe_playwright_python
import docx
import httpx
import pytest
from playwright.async_api import Page, expect
from tests.browser.conftest import Visits, Work
from tests.pdfs import printed

_AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
_GRAVE = ("serious", "critical")
_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def fill(client: httpx.AsyncClient, work: Work) -> dict[str, str]:
    """A little of everything that pages show; the path of each page by its name."""
    thing = {"type": "category", "label": "Mill Lane", "aliases": {"de": ["Mühlgasse"]}, "description": "A station."}
    assert (await client.put("/api/v1/entities/mill-lane", json=thing)).is_success
    module = {"label": "Stations", "version": "1.0.0", "entities": ["mill-lane"]}
    assert (await client.put("/api/v1/modules/stations", json=module)).is_success
    rows = [
        {
            "entity": "mill-lane",
            "metric": "no2",
            "observed_at": f"2026-01-{day:02}T10:00:00Z",
            "value": day,
            "unit": "µg",
        }
        for day in (1, 2, 3, 9)
    ]
    assert (await client.post("/api/v1/observations", json=rows)).is_success
    ids = {}
    for name, body in (
        ("report.md", "# Air\n\nAt Mill Lane the air is bad in winter. " + "Averyverylongword" * 30),
        ("broken.pdf", "%PDF-1.7 no more"),
    ):
        sent = await client.post(
            "/api/v1/documents",
            files={"file": (name, body.encode())},
            data={"collection": "air", "attributes": '{"year": 2026}'},
        )
        ids[name] = sent.json()["document"]["id"]
    printed_ = printed(
        [f"{place}. The air of Mill Lane was bad in the winter of its year." for place in range(9)],
        ["Then spring came."],
    )
    sent = await client.post("/api/v1/documents", files={"file": ("air.pdf", printed_)}, data={"collection": "air"})
    pdf = sent.json()["document"]["id"]
    word = io.BytesIO()
    docx.Document().save(word)
    assert (
        await client.post(
            "/api/v1/documents", files={"file": ("empty.docx", word.getvalue())}, data={"collection": "air"}
        )
    ).is_success
    await work()
    changed = {"kind": "entity", "key": "mill-lane", "action": "put", "content": {**thing, "label": "Mill Lane, north"}}
    new = {
        "kind": "entity",
        "key": "soot",
        "action": "put",
        "content": {"type": "property", "label": "Soot", "schema_definition": {"type": "number"}},
    }
    draft = await client.post("/api/v1/drafts", json={"title": "soot, too", "changes": [changed, new]})
    assert draft.is_success
    await client.put("/api/v1/entities/mill-lane", json={**thing, "label": "Mill Lane (old)"})
    hook = await client.post("/api/v1/webhooks", json={"url": "https://example.org/" + "averylongaddress" * 20})
    webhook = hook.json()["id"]
    assert (await client.post(f"/api/v1/webhooks/{webhook}/test")).is_success
    return {
        "overview": "/",
        "ask": "/ask?q=bad+air",
        "webhooks": "/webhooks",
        "webhook": f"/webhooks/{webhook}",
        "page of a PDF": f"/documents/{pdf}?at=0&q=winter",
        "drafts": "/drafts",
        "review": f"/drafts/{draft.json()['id']}",
        "search": "/search?q=bad+air+in+winter&explain=true",
        "nothing found": "/search?q=winter&filter=%7B%22type%22%3A%22eq%22%2C%22key%22%3A%22year%22%2C%22value%22%3A1%7D",
        "collections": "/collections",
        "collection": "/collections/air",
        "document": f"/documents/{ids['report.md']}?q=winter",
        "failed document": f"/documents/{ids['broken.pdf']}",
        "jobs": "/jobs",
        "catalogue": "/catalogue",
        "entity": "/entities/mill-lane?over=month",
        "keys": "/keys",
        "audit": "/audit",
        "API": "/docs",
    }


async def check(page: Page, name: str) -> None:
    """Nothing is wider than the window, and axe finds nothing serious."""
    assert await page.evaluate(_WIDE) <= 0, f"{name} is wider than the window"
    found = await page.evaluate("async () => (await axe.run()).violations")
    grave = [(each["id"], [node["target"] for node in each["nodes"]]) for each in found if each["impact"] in _GRAVE]
    assert grave == [], f"{name}: {grave}"


async def test_an_address_that_names_no_place_is_as_one_that_names_none(visits: Visits) -> None:
    page = await visits.sign_in()
    for named in ("#%E0%A4%A", "#nowhere", "#"):
        await page.goto(f"/sign-in{named}")
        await page.reload()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1600])
async def test_every_page_fits_and_shuts_nobody_out(
    visits: Visits, client: httpx.AsyncClient, work: Work, width: int, scheme: str
) -> None:
    paths = await fill(client, work)
    size = {"width": width, "height": 900}
    # axe is put into the page, which its policy would not allow.
    page = await visits.sign_in(viewport=size, color_scheme=scheme, bypass_csp=True)
    await page.add_init_script(_AXE)
    for name, path in paths.items():
        await page.goto(path)
        await check(page, name)
    outside = await visits.open(viewport=size, color_scheme=scheme, bypass_csp=True)
    await outside.add_init_script(_AXE)
    await outside.goto("/sign-in")
    await check(outside, "sign in")


async def test_from_the_key_to_a_passage_and_out_again(visits: Visits, client: httpx.AsyncClient, work: Work) -> None:
    page = await visits.open()
    await page.goto("/collections")
    await page.get_by_label("API key").fill("dsk_nobody.wrong")
    async with visits.refused(401):
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("not known here")
    await page.get_by_label("API key").fill(visits.key)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/collections")

    await page.get_by_label("Name").fill("walls")
    await page.get_by_role("button", name="Create").click()
    files = [
        {
            "name": "tying.txt",
            "mimeType": "text/plain",
            "buffer": b"A through-stone ties both faces of a wall together.",
        },
        {"name": "draining.txt", "mimeType": "text/plain", "buffer": b"Water runs through a wall without mortar."},
        {"name": "old.doc", "mimeType": "application/msword", "buffer": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)},
    ]
    await page.get_by_label("Add documents").set_input_files(files)  # type: ignore[arg-type]
    async with visits.refused(415):
        await page.get_by_role("button", name="Upload").click()
        await expect(page.get_by_role("link", name="received")).to_have_count(2)
        await expect(page.locator("[data-uploads]")).to_contain_text("old Office programs")
    await work()
    await expect(page.locator("#documents .state.ready")).to_have_count(2, timeout=20_000)

    await page.get_by_label("Search in walls").fill("what ties the faces?")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("link", name="tying.txt").click()
    await expect(page.locator("mark").first).to_be_visible()
    await expect(page.locator(".passage.meant")).to_contain_text("through-stone")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download").click()
    assert (await download.value).suggested_filename == "tying.txt"

    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/sign-in")
    await page.goto("/collections/walls")
    await expect(page).to_have_url(re.compile("/sign-in"))


async def test_a_file_that_is_dropped_is_sent(visits: Visits, client: httpx.AsyncClient) -> None:
    await client.post("/api/v1/collections", json={"name": "walls"})
    page = await visits.sign_in()
    await page.goto("/collections/walls")
    dropped = await page.evaluate_handle(
        "() => { const files = new DataTransfer(); files.items.add(new File(['A wall.'], 'wall.txt')); return files }"
    )
    await page.dispatch_event("form[data-upload]", "drop", {"dataTransfer": dropped})
    await expect(page.get_by_role("link", name="received")).to_be_visible()
    assert (await client.get("/api/v1/documents")).json()["items"][0]["name"] == "wall.txt"


async def test_by_keyboard_alone(visits: Visits, client: httpx.AsyncClient, work: Work) -> None:
    await fill(client, work)
    page = await visits.open()
    await page.goto("/sign-in")
    await expect(page.get_by_label("API key")).to_be_focused()
    await page.keyboard.type(visits.key)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{visits.address}/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    await page.keyboard.press("/")
    await page.wait_for_url("**/search")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("bad air in winter")
    await page.keyboard.press("Enter")
    hit = page.get_by_role("link", name="Air", exact=True).first
    await expect(hit).to_be_visible()
    for _ in range(30):
        await page.keyboard.press("Tab")
        if await hit.evaluate("each => each === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/documents/**")


async def test_everything_can_be_read_and_sent_without_scripts(
    visits: Visits, client: httpx.AsyncClient, work: Work
) -> None:
    paths = await fill(client, work)
    page = await visits.sign_in(java_script_enabled=False)
    for path in paths.values():
        answer = await page.goto(path)
        assert answer is not None
        assert answer.ok
    await page.goto("/collections/air")
    await page.get_by_label("Add documents").set_input_files(
        {"name": "more.txt", "mimeType": "text/plain", "buffer": b"More of air."}
    )
    await page.get_by_role("button", name="Upload").click()
    await expect(page.get_by_role("heading", name="more.txt")).to_be_visible()


@pytest.mark.parametrize("has_scripts", [True, False])
async def test_a_document_and_its_collection_are_deleted(
    visits: Visits, client: httpx.AsyncClient, has_scripts: bool
) -> None:
    for name in ("a.txt", "b.txt"):
        sent = await client.post(
            "/api/v1/documents", files={"file": (name, name.encode())}, data={"collection": "walls"}
        )
        assert sent.is_success
    page = await visits.sign_in(java_script_enabled=has_scripts, viewport={"width": 360, "height": 800})
    await page.goto("/collections/walls")
    await page.get_by_role("link", name="a.txt").click()
    await page.get_by_text("Delete this document").click()
    await page.get_by_label("with all its versions").check()
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("heading", name="walls")).to_be_visible()
    await expect(page.get_by_role("link", name="a.txt")).to_have_count(0)
    await page.get_by_text("Delete this collection").click()
    await page.get_by_label("to delete it with its 1 document").fill("other")
    async with visits.refused(422):
        await page.get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("alert")).to_contain_text("nothing was deleted")
    assert await page.evaluate(_WIDE) <= 0
    await page.get_by_label("to delete it with its 1 document").fill("walls")
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("There is no collection yet")).to_be_visible()


async def test_no_script_can_read_the_cookie(visits: Visits) -> None:
    page = await visits.sign_in()
    assert await page.evaluate("document.cookie") == ""


async def test_a_job_is_cancelled_only_by_who_says_so_twice(visits: Visits, client: httpx.AsyncClient) -> None:
    sent = await client.post("/api/v1/documents", files={"file": ("a.txt", b"waits")})
    page = await visits.sign_in()
    await page.goto("/jobs")
    page.once("dialog", lambda dialog: dialog.dismiss())
    await page.get_by_role("button", name="Cancel").click()
    job = f"/api/v1/jobs/{sent.json()['job_id']}"
    assert (await client.get(job)).json()["state"] == "queued"
    page.once("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()
    assert (await client.get(job)).json()["state"] == "cancelled"


async def test_what_moves_is_kept_up_to_date(visits: Visits, client: httpx.AsyncClient, work: Work) -> None:
    await client.post("/api/v1/documents", files={"file": ("a.txt", b"waits")})
    page = await visits.sign_in()
    await page.goto("/jobs")
    await expect(page.locator(".state.queued")).to_have_count(1)
    await work()
    await expect(page.locator(".state.done").first).to_be_visible(timeout=20_000)


async def test_a_key_is_shown_once(visits: Visits) -> None:
    page = await visits.sign_in()
    await page.goto("/keys")
    await page.get_by_label("What it is for").fill("website")
    await page.get_by_role("button", name="Create").click()
    token = await page.get_by_role("status").locator("pre").inner_text()
    other = await visits.open()
    await other.goto("/sign-in")
    await other.get_by_label("API key").fill(token)
    await other.get_by_role("button", name="Sign in").click()
    await expect(other.get_by_role("heading", name="Overview")).to_be_visible()
    await expect(other.get_by_role("link", name="Keys")).to_have_count(0)


async def test_the_page_of_a_pdf_stands_beside_its_text(visits: Visits, client: httpx.AsyncClient, work: Work) -> None:
    path = (await fill(client, work))["page of a PDF"]
    page = await visits.sign_in(viewport={"width": 1400, "height": 900})
    await page.goto(path)
    picture = page.get_by_role("img", name="Page 1")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("async each => { await each.decode(); return each.naturalWidth }") == 1200
    words, printed_ = await page.locator("#text").bounding_box(), await picture.bounding_box()
    assert words is not None
    assert printed_ is not None
    assert words["x"] < printed_["x"]
    await page.get_by_role("link", name="Page 2", exact=True).click()
    await expect(page.locator(".said")).to_have_text("Then spring came.")
    await page.set_viewport_size({"width": 360, "height": 900})
    words, printed_ = await page.locator("#text").bounding_box(), await page.locator(".paper img").bounding_box()
    assert words is not None
    assert printed_ is not None
    assert words["y"] < printed_["y"]


@pytest.mark.parametrize("width", [360, 1400])
async def test_who_comes_from_a_hit_sees_where_they_are(
    visits: Visits, client: httpx.AsyncClient, work: Work, width: int
) -> None:
    await fill(client, work)
    page = await visits.sign_in(viewport={"width": width, "height": 900})
    await page.goto("/search?q=winter+of+its+year")
    await page.get_by_role("link", name="air.pdf").first.click()
    await expect(page.get_by_role("heading", level=1)).to_be_in_viewport()
    await expect(page.get_by_role("heading", name="Text of page 1")).to_be_in_viewport()
    await expect(page.locator(".passage.meant .said")).to_be_in_viewport()


async def test_a_question_is_answered_and_leads_to_its_source(
    visits: Visits, client: httpx.AsyncClient, work: Work
) -> None:
    await fill(client, work)
    page = await visits.sign_in(bypass_csp=True, viewport={"width": 360, "height": 800})
    await page.add_init_script(_AXE)
    await page.goto("/search?q=bad+air+in+winter")
    await page.get_by_role("link", name="an answer in sentences").click()
    await expect(page.get_by_role("searchbox")).to_have_value("bad air in winter")
    await page.get_by_role("searchbox").press("Enter")
    await page.get_by_role("link", name="Source").first.click()
    source = page.locator("article:target")
    await expect(source.locator("mark").first).to_be_visible()
    await check(page, "answer")
    # Beside the answer, which is not asked for twice.
    async with page.context.expect_page() as opened:
        await source.get_by_role("link").first.click()
    await expect((await opened.value).locator(".passage.meant")).to_be_visible()
    await expect(page.locator(".answer")).to_be_visible()


async def test_a_webhook_is_made_tried_and_deleted(visits: Visits, client: httpx.AsyncClient) -> None:
    page = await visits.sign_in()
    await page.get_by_role("link", name="Webhooks").click()
    await page.get_by_label("Address").fill("https://example.org/hooks")
    await page.get_by_text("Only some kinds of events").click()
    await page.get_by_label("document.ready").check()
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("status")).to_contain_text("whsec_")
    await page.get_by_role("button", name="Send a test").click()
    await expect(page.locator("#deliveries")).to_contain_text("webhook.test")
    page.on("dialog", lambda asked: asked.accept())
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No other server is told")).to_be_visible()
