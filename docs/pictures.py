"""Takes the pictures of the guides from a running stack with `./drystone demo`, in Chromium: `just pictures`.

It prints some of the example's documents as a PDF, adds it and some files to a collection of its own, and proposes a draft; both are
removed when the pictures are taken.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from dotenv import dotenv_values
from markdown_it import MarkdownIt
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures"
EXAMPLE = ROOT / "src" / "drystone" / "demo" / "documents"
SIZE = ViewportSize(width=1200, height=760)
# A page has few colours; with all of them, each picture would be four times as large.
COLOURS, MOST_BYTES = 128, 150_000
COLLECTION = "printed"
PRINTED = ("nitrogen-dioxide", "ozone", "particles", "quality-control", "who-guidelines")
SOOT = {"type": "property", "label": "Soot", "aliases": {"de": ["Ruß"]}, "schema_definition": {"type": "number"}}
PRINT = "<style>body{font:11pt/1.5 serif;margin:0 6mm}table{border-collapse:collapse}td,th{border:1px solid #999;padding:2px 8px}</style>"


def main() -> int:
    """Take them all. Ends with 1 where one is too large."""
    env = dotenv_values(ROOT / ".env")
    address, key = f"http://127.0.0.1:{env['API_PORT']}", str(env["DRYSTONE_API_KEY"])
    FOLDER.mkdir(exist_ok=True)
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with (
        sync_playwright() as playwright,
        httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}) as api,
    ):
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        with added(api, browser) as made:
            take(browser, address, key, made)
        browser.close()
    sizes = {path.name: path.stat().st_size for path in sorted(FOLDER.glob("*.png"))}
    for name, size in sizes.items():
        sys.stdout.write(f"{name}\t{size}\n")
    return int(any(size > MOST_BYTES for size in sizes.values()))


@contextmanager
def added(api: httpx.Client, browser: Browser) -> Iterator[dict[str, Any]]:
    """A printed document and a draft; gone afterwards."""
    page = browser.new_page()
    texts = "\n\n".join((EXAMPLE / f"{name}.md").read_text() for name in PRINTED)
    page.set_content(PRINT + MarkdownIt().enable("table").render(texts))
    printed = page.pdf(format="A5", margin={"top": "14mm", "bottom": "14mm", "left": "14mm", "right": "14mm"})
    page.close()
    sent = api.post(
        "/api/v1/documents",
        files={"file": ("air.pdf", printed)},
        data={"collection": COLLECTION, "title": "What is in the air"},
    ).raise_for_status()
    document = sent.json()["document"]["id"]
    while api.get(f"/api/v1/documents/{document}").raise_for_status().json()["state"] == "pending":
        page_wait(browser)
    told = api.get("/api/v1/entities/no2").raise_for_status().json()
    named = {name: told[name] for name in ("type", "label", "description", "aliases", "parents", "schema_definition")}
    named["description"] = "Mean of an hour, by chemiluminescence."
    changes = [{"kind": "entity", "key": key, "content": content} for key, content in (("no2", named), ("soot", SOOT))]
    body = {"title": "Soot, too", "message": "The new station measures it.", "bump_modules": True, "changes": changes}
    draft = api.post("/api/v1/drafts", json=body).raise_for_status().json()
    try:
        yield {"document": document, "draft": draft}
    finally:
        api.delete(f"/api/v1/drafts/{draft['id']}").raise_for_status()
        api.delete(f"/api/v1/collections/{COLLECTION}").raise_for_status()


def page_wait(browser: Browser) -> None:
    """A little while."""
    page = browser.new_page()
    page.wait_for_timeout(200)
    page.close()


def take(browser: Browser, address: str, key: str, made: dict[str, Any]) -> None:
    """Each picture, of somebody who is signed in, and of whoever holds the link."""
    page = browser.new_context(viewport=SIZE, base_url=address).new_page()
    page.goto("/sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{address}/")
    keep(page, "overview")
    for name, path in (
        ("search", "/search?q=why+is+there+less+ozone+next+to+a+busy+street&collection=demo&explain=true"),
        ("entity", "/entities/mill-lane?over=year"),
        ("catalogue", "/catalogue"),
    ):
        page.goto(path)
        keep(page, name)
    page.goto("/ask?q=how+high+may+ozone+be&collection=demo")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".answer")).to_be_visible()
    keep(page, "ask")
    page.goto(f"/search?q=what+makes+ozone+near+the+ground&collection={COLLECTION}")
    page.locator(".hit a").first.click()
    page.locator(".paper img").evaluate("each => each.decode()")
    page.evaluate("scrollTo(0, 0)")
    keep(page, "document")
    page.goto(f"/collections/{COLLECTION}")
    files = [EXAMPLE / f"{name}.md" for name in ("report-2025-01", "report-2025-04", "report-2025-07")]
    page.get_by_label("Add documents").set_input_files(files)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("link", name="received")).to_have_count(len(files))
    keep(page, "upload")
    editor = browser.new_context(viewport=SIZE, base_url=address).new_page()
    editor.goto(made["draft"]["link"])
    editor.wait_for_url("**/draft/dsd_*")
    editor.locator("#entity-soot").get_by_role("link", name="Edit").click()
    editor.get_by_label("Definition").fill('{"type": "number", "unit": "µg/m³", "minimum": "none"}')
    editor.get_by_label("Parents").fill("carbon")
    expect(editor.locator("#schema_definition-faults")).not_to_be_empty()
    editor.set_viewport_size(ViewportSize(width=SIZE["width"], height=1040))
    keep(editor, "draft")
    editor.get_by_role("link", name="Back").click()
    editor.get_by_role("button", name="Submit for review").click()
    page.goto(f"/drafts/{made['draft']['id']}")
    keep(page, "review")


def keep(page: Page, name: str) -> None:
    """Keep what the window shows, with few colours."""
    shot = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    shot.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
