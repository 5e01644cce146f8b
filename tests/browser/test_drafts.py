"""The editor of a draft in a real Chromium: from its link to its merge, by two people at once, with and without scripts."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect
from tests.browser.conftest import Visits
from tests.browser.test_console import _AXE, check

O3 = {"type": "property", "label": "Ozone", "schema_definition": {"type": "number"}}


async def begin(client: httpx.AsyncClient, *changes: dict[str, Any]) -> dict[str, Any]:
    made = await client.post("/api/v1/drafts", json={"title": "ozone, too", "changes": list(changes)})
    assert made.is_success, made.text
    found: dict[str, Any] = made.json()
    return found


async def follow(visits: Visits, made: dict[str, Any], **options: Any) -> Page:
    """A window of its own in which somebody opens the link."""
    page = await visits.open(**options)
    await page.goto(made["link"])
    await page.wait_for_url("**/draft/dsd_*")
    return page


def put(key: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "entity", "key": key, "action": "put", "content": content}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1600])
async def test_every_page_of_the_editor_fits_and_shuts_nobody_out(
    visits: Visits, client: httpx.AsyncClient, width: int, scheme: str
) -> None:
    await client.put("/api/v1/entities/no2", json={**O3, "label": "Nitrogen dioxide"})
    made = await begin(client, put("o3", O3), put("no2", {**O3, "label": "NO2"}))
    size = {"width": width, "height": 900}
    page = await follow(visits, made, viewport=size, color_scheme=scheme, bypass_csp=True)
    await page.add_init_script(_AXE)
    own = page.url.removeprefix(visits.address)
    paths = ["/draft", own, f"{own}/edit?kind=entity&key=o3", f"{own}/edit?kind=module", f"{own}/edit?kind=profile"]
    for path in (*paths, f"{own}/catalogue"):
        await page.goto(path)
        await check(page, path.replace(own, ""))
    await client.put("/api/v1/entities/no2", json={**O3, "label": "Nitrogen dioxide, NO2"})
    await page.goto(own)
    await expect(page.get_by_text("conflict", exact=True)).to_be_visible()
    await check(page, "with a conflict")


async def test_a_link_leaves_no_trace_of_its_token(visits: Visits, client: httpx.AsyncClient) -> None:
    made = await begin(client)
    secret = made["token"].partition(".")[2]
    page = await visits.open()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url + str(request.headers.get("referer", ""))))

    await page.goto(made["link"])
    await page.wait_for_url("**/draft/dsd_*")
    await page.get_by_role("link", name="New entity").click()

    # Its first address is what the browser was given; nothing of it is sent.
    assert all(secret not in each.replace(made["link"], "") for each in asked)
    assert secret not in await page.evaluate("document.cookie + document.referrer + document.body.innerHTML")
    await page.go_back()
    await page.go_back()
    assert secret not in page.url


async def test_what_is_wrong_is_told_while_somebody_writes(visits: Visits, client: httpx.AsyncClient) -> None:
    page = await follow(visits, await begin(client))
    await page.get_by_role("link", name="New entity").click()
    await page.get_by_label("Key").fill("o3")
    await page.get_by_label("Label").fill("Ozone")
    await page.get_by_label("Type").select_option("property")

    await page.get_by_label("Definition").fill('{"type": "nummer"')
    await expect(page.locator("#schema_definition-faults")).to_contain_text("no JSON")
    await expect(page.get_by_label("Definition")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Definition").fill('{"type": "nummer"}')
    await expect(page.locator("#schema_definition-faults")).to_contain_text("nummer")
    await page.get_by_label("Definition").fill('{"type": "number", "unit": "µg/m³"}')

    await expect(page.get_by_role("status")).to_have_text("Nothing is wrong with it.")
    await expect(page.locator("[aria-invalid]")).to_have_count(0)
    await page.get_by_role("button", name="Save in the draft").click()
    await expect(page.locator("#entity-o3")).to_contain_text("is new")


async def test_two_people_edit_one_draft_and_nothing_is_lost(visits: Visits, client: httpx.AsyncClient) -> None:
    made = await begin(client, put("o3", O3))
    one, other = await follow(visits, made), await follow(visits, made)
    for page in (one, other):
        await page.locator("#entity-o3").get_by_role("link", name="Edit").click()
    await one.get_by_label("Description").fill("A gas.")
    await one.get_by_role("button", name="Save in the draft").click()
    await one.wait_for_url("**#entity-o3")

    await other.get_by_label("Label").fill("Ozone (O3)")
    async with visits.refused(412):
        await other.get_by_role("button", name="Save in the draft").click()
        await expect(other.get_by_role("alert")).to_contain_text("Somebody else saved this change")
    await expect(other.get_by_label("Description")).to_have_value("A gas.")
    await expect(other.get_by_label("Label")).to_have_value("Ozone (O3)")
    await other.get_by_role("button", name="Save in the draft").click()
    await other.wait_for_url("**#entity-o3")

    kept = (await client.get(f"/api/v1/drafts/{made['id']}")).json()["changes"][0]["content"]
    assert (kept["label"], kept["description"]) == ("Ozone (O3)", "A gas.")


async def test_from_a_draft_to_the_catalogue(visits: Visits, client: httpx.AsyncClient) -> None:
    reviewer = await visits.sign_in()
    await reviewer.goto("/catalogue")
    await reviewer.get_by_role("link", name="Drafts").click()
    await reviewer.get_by_label("Title").fill("ozone, too")
    await reviewer.get_by_role("button", name="Make its link").click()
    link = await reviewer.get_by_role("status").locator("pre").inner_text()
    review = reviewer.url

    editor = await follow(visits, {"link": link})
    await editor.get_by_role("link", name="New entity").click()
    await editor.get_by_label("Key").fill("o3")
    await editor.get_by_label("Label").fill("Ozone")
    await editor.get_by_role("button", name="Save in the draft").click()
    await editor.get_by_role("button", name="Submit for review").click()
    await expect(editor.get_by_text("It waits for somebody to decide.")).to_be_visible()

    await reviewer.goto(f"{visits.address}/drafts?status=submitted")
    await reviewer.get_by_role("link", name="ozone, too").click()
    await reviewer.get_by_role("button", name="Approve").click()
    reviewer.once("dialog", lambda dialog: dialog.accept())
    await reviewer.get_by_role("button", name="Merge").click()
    await expect(reviewer.get_by_text("It is merged")).to_be_visible()
    assert review.endswith("/drafts")
    assert (await client.get("/api/v1/entities/o3")).json()["label"] == "Ozone"


async def test_without_scripts_a_link_is_pasted_and_a_draft_edited(visits: Visits, client: httpx.AsyncClient) -> None:
    made = await begin(client)
    page = await visits.open(java_script_enabled=False)
    await page.goto(made["link"])
    await page.get_by_label("Link").fill(made["token"])
    await page.get_by_role("button", name="Open").click()
    await page.get_by_role("link", name="New entity").click()
    await page.get_by_label("Key").fill("o3")
    await page.get_by_label("Label").fill("Ozone")
    await page.get_by_label("Definition").fill("{")
    async with visits.refused(422):
        await page.get_by_role("button", name="Save in the draft").click()
        await expect(page.locator("#schema_definition-faults")).to_contain_text("no JSON")
    await page.get_by_label("Definition").fill("")
    await page.get_by_role("button", name="Save in the draft").click()
    await expect(page.locator("#entity-o3")).to_contain_text("Ozone")
    assert re.search(r"/draft/dsd_\w+#entity-o3$", page.url)


async def test_another_link_in_the_same_window_opens_its_draft(visits: Visits, client: httpx.AsyncClient) -> None:
    first = await follow(visits, await begin(client))
    other = await client.post("/api/v1/drafts", json={"title": "soot, instead", "changes": []})
    await first.goto("/draft")
    # Only what stands after the "#" changes: the page is not asked for anew.
    await first.evaluate("token => { location.hash = token }", other.json()["token"])
    await expect(first.get_by_role("heading", name="soot, instead")).to_be_visible()
    assert other.json()["token"].partition(".")[2] not in first.url


async def test_by_keyboard_alone_a_change_is_saved(visits: Visits, client: httpx.AsyncClient) -> None:
    page = await follow(visits, await begin(client))
    await page.get_by_role("link", name="New entity").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/edit?**")
    await expect(page.get_by_label("Key")).to_be_focused()
    await page.keyboard.type("o3")
    await page.keyboard.press("Tab")
    await page.keyboard.type("Ozone")
    await page.keyboard.press("Enter")
    await expect(page.locator("#entity-o3")).to_be_visible()
