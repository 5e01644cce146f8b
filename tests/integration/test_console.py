"""The console without a browser: who is let in, what is kept of it, and what a page may never show or do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text
from tests.keys import make_key, make_workspace

from drystone.access import visits
from drystone.console.edge import ROUTERS
from drystone.core.db import Sessions, transaction

HERE = {"Sec-Fetch-Site": "same-origin"}
CANARY = "kingfisher"
_UNGUARDED = {"/sign-in", "/sign-out", "/static/{digest}/{name}", "/favicon.ico", "/docs"}
# Whoever holds a link needs no key: test_console_drafts.py asks these.
_BY_LINK = "/draft"


async def sign_in(browser: httpx.AsyncClient, key: str, **form: str) -> httpx.Response:
    return await browser.post("/sign-in", data={"key": key, **form}, headers=HERE)


async def add(client: httpx.AsyncClient, words: str, **form: str) -> str:
    answer = await client.post(
        "/api/v1/documents", files={"file": (form.pop("file", "a.txt"), words.encode())}, data=form
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["document"]["id"])


def _guarded() -> Iterator[tuple[str, str]]:
    for route in (each for router in ROUTERS for each in router.routes if isinstance(each, APIRoute)):
        if route.path not in _UNGUARDED and route.path.split("/{")[0] != _BY_LINK:
            yield from ((method, re.sub(r"{verb}", "retry", route.path)) for method in route.methods or ())


@pytest.mark.parametrize(("method", "path"), sorted(_guarded()))
async def test_no_page_is_shown_to_whoever_is_not_signed_in(browser: httpx.AsyncClient, method: str, path: str) -> None:
    path = re.sub(r"{\w+}", "0199c0de-0000-7000-8000-000000000000", path)
    for cookie in (None, "x", "a" * 43):
        shown = {} if cookie is None else {"Cookie": f"{visitor_cookie(browser)}={cookie}"}
        answer = await browser.request(method, path, headers=HERE | shown)
        if method in ("GET", "HEAD"):
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/sign-in")
        else:
            assert answer.status_code == 401


def visitor_cookie(browser: httpx.AsyncClient) -> str:
    port = browser._transport.app.state.resources.settings.api.port  # type: ignore[attr-defined]
    return f"drystone_{port}"


async def test_the_right_key_lets_in_and_only_its_hash_is_kept(
    browser: httpx.AsyncClient, key: str, owner: Sessions
) -> None:
    answer = await sign_in(browser, f" {key}\n", next="/collections?x=1")

    assert (answer.status_code, answer.headers["location"]) == (303, "/collections?x=1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    token = browser.cookies[visitor_cookie(browser)]
    async with transaction(owner) as session:
        row = (await session.execute(text("select * from visits"))).one()
        done = (await session.scalars(text("select action from audit where action like 'visit.%'"))).all()
    assert token not in str(row)
    assert key not in str(row)
    assert done == ["visit.begin"]
    page = await browser.get("/")
    assert page.status_code == 200
    assert token not in page.text


async def test_who_is_to_go_on_to_what_is_no_address_begins_at_the_start(browser: httpx.AsyncClient, key: str) -> None:
    assert (await browser.get("/sign-in", params={"next": "//["})).status_code == 200
    assert (await sign_in(browser, key, next="//[")).headers["location"] == "/"


async def test_behind_tls_the_cookie_is_sent_nowhere_else(browser: httpx.AsyncClient, key: str) -> None:
    browser.base_url = httpx.URL("https://drystone")
    assert "Secure" in (await sign_in(browser, key)).headers["set-cookie"]


async def test_a_wrong_key_is_told_on_the_form_and_never_shown_again(browser: httpx.AsyncClient) -> None:
    answer = await sign_in(browser, "dsk_nobody.wrong-secret-of-somebody")
    assert answer.status_code == 401
    assert "not known here" in answer.text
    assert "wrong-secret" not in answer.text
    assert "set-cookie" not in answer.headers


async def test_who_leaves_is_out_even_with_the_cookie(browser: httpx.AsyncClient, key: str) -> None:
    await sign_in(browser, key)
    shown = {"Cookie": f"{visitor_cookie(browser)}={browser.cookies[visitor_cookie(browser)]}"}
    assert (await browser.post("/sign-out", headers=HERE)).status_code == 303
    assert not browser.cookies
    assert (await browser.get("/", headers=shown)).headers["location"] == "/sign-in"


async def test_signing_in_again_ends_the_visit_before_whoever_made_it(
    browser: httpx.AsyncClient, key: str, owner: Sessions
) -> None:
    other = await make_key(owner, workspace_id=await make_workspace(owner))
    for now in (key, other):
        await sign_in(browser, other)
        former = {"Cookie": f"{visitor_cookie(browser)}={browser.cookies[visitor_cookie(browser)]}"}
        await sign_in(browser, now)

        assert (await browser.get("/")).status_code == 200
        assert (await browser.get("/", headers=former)).status_code == 303


async def test_who_is_out_already_may_leave(browser: httpx.AsyncClient, key: str, owner: Sessions) -> None:
    await sign_in(browser, key)
    async with transaction(owner) as session:
        await session.execute(text("update visits set expires_at = now()"))

    answer = await browser.post("/sign-out", headers=HERE)

    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert not browser.cookies
    assert (await browser.post("/sign-out")).status_code == 403


@pytest.mark.parametrize("end", ["revoke", "rotate", "expire"])
async def test_a_visit_holds_no_longer_than_its_key(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions, end: str
) -> None:
    key = await make_key(owner)
    prefix = key.partition(".")[0]
    await sign_in(browser, key)
    assert (await browser.get("/collections")).status_code == 200
    if end == "revoke":
        assert (await client.delete(f"/api/v1/keys/{prefix}")).is_success
    elif end == "rotate":
        assert (await client.post(f"/api/v1/keys/{prefix}/rotate", json={"overlap_s": 0})).is_success
    else:
        async with transaction(owner) as session:
            await session.execute(text("update visits set expires_at = now()"))
    assert (await browser.get("/collections")).headers["location"] == "/sign-in?next=%2Fcollections"


async def test_visits_that_are_over_are_removed_when_the_next_begins(
    browser: httpx.AsyncClient, key: str, owner: Sessions
) -> None:
    await sign_in(browser, key)
    async with transaction(owner) as session:
        await session.execute(text("update visits set expires_at = now() - interval '1 s'"))
    await sign_in(browser, key)
    async with transaction(owner) as session:
        assert await session.scalar(text("select count(*) from visits")) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {},
    ],
)
async def test_a_form_of_another_site_does_nothing(
    browser: httpx.AsyncClient, key: str, owner: Sessions, headers: dict[str, str]
) -> None:
    await sign_in(browser, key)
    answer = await browser.post("/collections", data={"name": "planted"}, headers=headers)
    assert answer.status_code == 403
    assert (await browser.post("/sign-in", data={"key": key}, headers=headers)).status_code == 403
    async with transaction(owner) as session:
        assert await session.scalar(text("select count(*) from collections")) == 0


async def test_without_fetch_metadata_the_origin_tells(browser: httpx.AsyncClient, key: str) -> None:
    await sign_in(browser, key)
    answer = await browser.post("/collections", data={"name": "ours"}, headers={"Origin": "http://drystone"})
    assert answer.headers["location"] == "/collections/ours"


async def test_the_api_takes_no_cookie_for_a_key(browser: httpx.AsyncClient, key: str) -> None:
    await sign_in(browser, key)
    assert (await browser.get("/api/v1/collections")).status_code == 401


async def test_every_page_runs_nothing_but_what_comes_from_here(browser: httpx.AsyncClient, key: str) -> None:
    for path in ("/sign-in", "/nowhere", "/"):
        answer = await browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    await sign_in(browser, key)
    page = await browser.get("/")
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]* src=\"/static/)|\son\w+=|style=\"|https?://", page.text)


async def test_what_documents_say_is_never_part_of_the_page(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    evil = "<script>alert('x')</script><img src=x onerror=alert(1)>"
    entity = {"key": "evil", "type": "category", "label": "alert <b>(1)</b>"}
    assert (
        await client.post("/api/v1/catalogue/changes", json={"changes": [{"op": "put", "kind": "entity", **entity}]})
    ).status_code < 500
    document = await add(
        client,
        f"A wall {evil} of stones.",
        title=evil,
        external_id=evil,
        attributes='{"<i>": "<u>x</u>"}',
        file="<s>.txt",
    )
    await work()
    await sign_in(browser, key)
    for path in (
        f"/documents/{document}?q=wall",
        "/search?q=" + "wall+stones&explain=true",
        "/collections/default",
        "/jobs",
        "/",
    ):
        page = await browser.get(path)
        assert page.status_code == 200, path
        for bad in ("<script>a", "<img src=x", "<i>", "<u>", "<s>", "<b>"):
            assert bad not in page.text, (path, bad)
    assert "&lt;script&gt;" in (await browser.get(f"/documents/{document}")).text


async def test_a_key_of_one_collection_sees_nothing_of_another(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions, work: Any
) -> None:
    await add(client, "Open to all.", collection="open")
    hidden = await add(client, f"The {CANARY} nests here.", collection=CANARY, title=CANARY)
    await work()
    mine = (await client.get("/api/v1/collections/open")).json()["id"]
    made = await client.post("/api/v1/keys", json={"name": "k", "scopes": ["write"], "collections": ["open"]})
    assert made.status_code == 201, made.text
    await sign_in(browser, made.json()["key"])
    assert mine
    for path in (
        "/",
        "/collections",
        "/jobs",
        "/search?q=nests+here",
        f"/documents/{hidden}",
        f"/collections/{CANARY}",
    ):
        page = await browser.get(path)
        told = page.text.replace(path, "")  # an error may say again what was asked for
        assert CANARY not in re.sub(rf"no collection[^<]*{CANARY}", "", told), path


async def test_a_stranger_of_another_workspace_sees_nothing(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions, work: Any
) -> None:
    document = await add(client, f"The {CANARY} nests here.", title=CANARY)
    await work()
    theirs = await make_key(owner, workspace_id=await make_workspace(owner))
    await sign_in(browser, theirs)
    for path in (
        "/",
        "/collections",
        "/jobs",
        "/search?q=nests",
        f"/documents/{document}",
        f"/documents/{document}/file",
    ):
        assert CANARY not in (await browser.get(path)).text, path


async def test_who_may_only_read_is_shown_no_button_and_may_do_nothing(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions
) -> None:
    document = await add(client, "waits")
    job = (await client.get("/api/v1/jobs", params={"document": document})).json()["items"][0]["id"]
    await sign_in(browser, await make_key(owner, scopes=["read"]))
    assert ">Cancel<" not in (await browser.get("/jobs")).text
    answer = await browser.post(f"/jobs/{job}/cancel", headers=HERE)
    assert answer.status_code == 403
    assert "does not carry the scope" in answer.text
    assert (await browser.post("/collections", data={"name": "x"}, headers=HERE)).status_code == 403


async def test_a_job_is_cancelled_and_tried_again(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    document = await add(client, "waits")
    job = (await client.get("/api/v1/jobs", params={"document": document})).json()["items"][0]["id"]
    await sign_in(browser, key)
    answer = await browser.post(f"/jobs/{job}/cancel", data={"back": "/jobs?state=cancelled"}, headers=HERE)
    assert answer.headers["location"] == "/jobs?state=cancelled"
    assert "Somebody cancelled the work on it." in (await browser.get("/jobs?state=cancelled")).text
    assert (await browser.post(f"/jobs/{job}/retry", headers=HERE)).headers["location"] == "/jobs"
    assert (await client.get(f"/api/v1/jobs/{job}")).json()["state"] == "queued"
    again = await browser.post(f"/jobs/{job}/retry", headers=HERE)
    assert again.status_code == 409
    assert "cannot be retried" in again.text


async def test_a_hit_leads_to_its_passage_with_the_words_marked(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    paragraphs = [f"Paragraph {n} is about something else entirely, such as {n} ducks." * 12 for n in range(60)]
    paragraphs[50] = "The through-stone ties both faces of the wall together." * 3
    document = await add(client, "\n\n".join(paragraphs), title="Walls")
    await work()
    await sign_in(browser, key)
    found = (await browser.get("/search", params={"q": "which stone ties the faces?"})).text
    link = re.search(rf'href="(/documents/{document}\?[^"]+)"', found)
    assert link is not None
    page = (await browser.get(link[1].replace("&amp;", "&"))).text
    assert "<mark>ties</mark>" in page
    assert 'class="passage meant"' in page
    assert "Before" in page


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/documents/nope", 422, "document_id"),
        ("/documents/0199c0de-0000-7000-8000-000000000000", 404, "There is no document"),
        ("/collections/nowhere", 404, "nowhere"),
        ("/jobs?state=odd", 422, "state"),
        ("/search?q=wall&limit=9999", 422, "limit"),
        ("/search?q=%00", 422, "q"),
    ],
)
async def test_what_cannot_be_shown_is_told_on_a_page(
    browser: httpx.AsyncClient, key: str, path: str, status: int, said: str
) -> None:
    await sign_in(browser, key)
    answer = await browser.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert said in answer.text


@pytest.mark.parametrize("path", ["/nowhere", "/entities/nobody", "/collections/nowhere", "/search?limit=x"])
async def test_an_error_leads_back_and_speaks_to_people(browser: httpx.AsyncClient, key: str, path: str) -> None:
    await sign_in(browser, key)
    page = (await browser.get(path)).text
    main = page.partition("<main")[2].partition("</main>")[0]
    assert '<a href="/">To the overview</a>' in main
    for word in ("/api/", "openapi", "`errors`", "Sign in"):
        assert word not in main
    browser.cookies.clear()
    assert '<a href="/sign-in">Sign in</a>' in (await browser.get("/nowhere")).text
    assert "/openapi.json" in (await browser.get("/nowhere", headers={"Accept": "*/*"})).json()["hint"]


async def test_a_wrong_time_is_told_once_above_the_entity(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    await client.put("/api/v1/entities/mill-lane", json={"type": "category", "label": "Mill Lane"})
    await sign_in(browser, key)
    answer = await browser.get("/entities/mill-lane?at=garbage")
    assert answer.status_code == 422
    assert answer.text.count("is neither") == 1
    assert "For example 15m" in answer.text
    assert 'name="at" value="garbage"' in answer.text


async def test_a_wrong_filter_is_told_where_it_was_written(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    await add(client, "A wall.", attributes='{"year": 1960}')
    await work()
    await sign_in(browser, key)
    answer = await browser.get("/search", params={"q": "wall", "filter": '{"year": 1960}'})
    assert answer.status_code == 200
    assert "The filter is not acceptable" in answer.text
    right = await browser.get("/search", params={"q": "wall", "filter": '{"type":"eq","key":"year","value":1960}'})
    assert "1 passage in" in right.text


async def test_a_file_is_given_back_to_be_saved_and_never_shown(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    page = "<!doctype html><script>alert(1)</script>"
    document = await add(client, page, file="ü.html")
    await sign_in(browser, key)
    answer = await browser.get(f"/documents/{document}/file")
    assert answer.text == page
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert answer.headers["content-disposition"].endswith("filename*=UTF-8''%C3%BC.html")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_what_is_got_may_be_asked_for_by_head(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    document = await add(client, "A wall.")
    await sign_in(browser, key)
    style = re.findall(r'href="(/static/[^"]+)"', (await browser.get("/sign-in")).text)[0]

    for path in ("/", "/sign-in", "/collections", f"/documents/{document}/file", style, "/favicon.ico"):
        head, got = await browser.head(path), await browser.get(path)
        assert head.status_code == got.status_code == 200
        assert list(head.headers) == list(got.headers)
        assert all(head.headers[name] == got.headers[name] for name in ("content-type", "cache-control"))
    assert (await browser.head(f"/documents/{document}/file")).content == b""
    assert (await browser.head("/sign-out")).headers["allow"] == "POST"


async def test_files_of_pages_are_kept_for_good_under_their_hash(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/sign-in")).text
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        answer = await browser.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert (await browser.get("/static/0/console.css")).headers["cache-control"] == "no-cache"
    assert (await browser.get("/static/0/../pages.py")).status_code == 404


async def test_a_form_that_is_too_large_is_as_if_it_were_empty(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/sign-in", data={"key": "x" * 70_000}, headers=HERE)
    assert answer.status_code == 401


async def test_a_file_is_added_by_the_form_and_by_the_script(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    await sign_in(browser, key)
    await browser.post("/collections", data={"name": "walls"}, headers=HERE)
    file = {"file": ("wall.txt", b"A wall without mortar.")}
    answer = await browser.post("/collections/walls/documents", files=file, headers=HERE)
    assert answer.status_code == 303
    again = await browser.post(
        "/collections/walls/documents", files=file, headers=HERE | {"Accept": "application/json"}
    )
    assert again.json() == {"url": answer.headers["location"], "title": "wall.txt", "said": "was there already"}
    await work()
    page = await browser.get("/collections/walls")
    assert 'class="state ready"' in page.text
    assert answer.headers["location"] in page.text


async def test_what_is_no_document_is_told_to_form_and_script(browser: httpx.AsyncClient, key: str) -> None:
    await sign_in(browser, key)
    file = {"file": ("a.exe", b"MZ\0\0")}
    page = await browser.post("/collections/walls/documents", files=file, headers=HERE)
    assert (page.status_code, page.headers["content-type"]) == (415, "text/html; charset=utf-8")
    told = await browser.post("/collections/walls/documents", files=file, headers=HERE | {"Accept": "application/json"})
    assert told.json()["code"] == "document.unsupported_type"


async def test_nothing_is_received_from_whoever_may_not_write_or_is_elsewhere(
    browser: httpx.AsyncClient, key: str, owner: Sessions
) -> None:
    file = {"file": ("wall.txt", b"A wall.")}
    assert (await browser.post("/collections/walls/documents", files=file, headers=HERE)).status_code == 401
    await sign_in(browser, await make_key(owner, scopes=["read"]))
    assert (await browser.post("/collections/walls/documents", files=file, headers=HERE)).status_code == 403
    await sign_in(browser, key)
    assert (await browser.post("/collections/walls/documents", files=file)).status_code == 403


async def test_a_key_is_made_shown_once_rotated_and_revoked(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    await sign_in(browser, key)
    await browser.post("/collections", data={"name": "walls"}, headers=HERE)
    made = await browser.post(
        "/keys", data={"name": "website", "scope": "read", "collection": "walls", "days": "30"}, headers=HERE
    )
    token = re.search(r"<pre[^>]*>(\S+)</pre>", made.text)
    assert token is not None
    prefix = token[1].partition(".")[0]
    told = (await client.get(f"/api/v1/keys/{prefix}")).json()
    assert (told["name"], told["scopes"], len(told["collection_ids"])) == ("website", ["read"], 1)
    shown = {"Authorization": f"Bearer {token[1]}"}
    assert (await browser.get("/api/v1/collections", headers=shown)).json()["items"][0]["name"] == "walls"
    assert token[1] not in (await browser.get("/keys")).text

    rotated = await browser.post(f"/keys/{prefix}/rotate", headers=HERE)
    assert prefix in rotated.text
    assert token[1] not in rotated.text
    await browser.post(f"/keys/{prefix}/revoke", headers=HERE)
    assert (await browser.get("/api/v1/collections", headers=shown)).status_code == 401
    assert prefix not in (await browser.get("/keys")).text
    assert prefix in (await browser.get("/keys?ended=true")).text


@pytest.mark.parametrize("form", [{"name": ""}, {"name": "x", "days": "soon"}, {"name": "x", "days": "0"}])
async def test_a_key_without_a_name_or_end_that_is_one_is_refused(
    browser: httpx.AsyncClient, key: str, form: dict[str, str]
) -> None:
    await sign_in(browser, key)
    assert (await browser.post("/keys", data=form, headers=HERE)).status_code == 422


async def test_keys_and_audit_are_for_an_admin_of_the_whole_workspace(
    browser: httpx.AsyncClient, owner: Sessions
) -> None:
    await sign_in(browser, await make_key(owner, scopes=["write"]))
    assert 'href="/keys"' not in (await browser.get("/")).text
    for path in ("/keys", "/audit"):
        assert (await browser.get(path)).status_code == 403
    assert (await browser.post("/keys", data={"name": "x"}, headers=HERE)).status_code == 403


async def test_the_audit_tells_of_what_was_done_here(browser: httpx.AsyncClient, key: str) -> None:
    await sign_in(browser, key)
    await browser.post("/collections", data={"name": "walls"}, headers=HERE)
    page = (await browser.get("/audit?action=collection.*")).text
    assert "collection.create" in page
    assert '<td class="mono">visit.begin</td>' not in page
    assert '<td class="mono">visit.begin</td>' in (await browser.get("/audit")).text


async def test_an_entity_is_shown_with_what_was_said_measured_and_written_of_it(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Any
) -> None:
    entity = {"type": "category", "label": "Mill Lane", "aliases": {"de": ["Mühlgasse"]}}
    assert (await client.put("/api/v1/entities/mill-lane", json=entity)).is_success
    rows = [
        {
            "entity": "mill-lane",
            "metric": "no2",
            "observed_at": f"2026-01-{day:02}T10:00:00Z",
            "value": day * 1.5,
            "unit": "µg/m³",
        }
        for day in (1, 2, 3, 9)
    ]
    assert (await client.post("/api/v1/observations", json=rows)).is_success
    document = await add(client, "At Mill Lane the air is bad.", title="Report")
    await work()
    await sign_in(browser, key)
    page = (await browser.get("/entities/mill-lane?at=2026-01-20")).text
    assert "It was not in the catalogue at" in page
    now = (await browser.get("/entities/mill-lane?over=month")).text
    assert "<strong>13.5</strong>" in now
    assert '<path d="M' in now
    assert "Mühlgasse" in now
    assert "<mark>Mill Lane</mark>" in now
    assert f"/documents/{document}?at=0" in now
    assert 'href="/entities/mill-lane"' in (await browser.get(f"/documents/{document}")).text
    assert 'href="/entities/mill-lane"' in (await browser.get("/catalogue?words=mill")).text
    assert (await browser.get("/entities/nowhere")).status_code == 404
    assert (await browser.get("/entities/mill-lane?at=soon")).status_code == 422


async def test_a_series_is_called_as_its_property_is(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    for name, type_, label in (("mill-lane", "category", "Mill Lane"), ("no2", "property", "Nitrogen dioxide")):
        definition = {"type": "number"} if type_ == "property" else {}
        sent = {"type": type_, "label": label, "schema_definition": definition}
        assert (await client.put(f"/api/v1/entities/{name}", json=sent)).is_success
    rows = [
        {"entity": "mill-lane", "metric": metric, "observed_at": "2026-01-01T10:00:00Z", "value": 7}
        for metric in ("no2", "noise", "mill-lane")
    ]
    assert (await client.post("/api/v1/observations", json=rows)).is_success
    await sign_in(browser, key)
    page = (await browser.get("/entities/mill-lane")).text
    assert re.findall("<h3>(.*?) <span", page) == [
        "mill-lane", 'Nitrogen dioxide <code class="soft">no2</code>', "noise",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/search", "/ask"])
async def test_an_empty_stack_says_how_files_come_into_it(
    browser: httpx.AsyncClient, key: str, owner: Sessions, path: str
) -> None:
    await sign_in(browser, key)
    page = (await browser.get(path)).text
    assert 'under <a href="/collections">Collections</a>, and drop files' in page
    await sign_in(browser, await make_key(owner, scopes=["read"]))
    assert "drop files" not in (await browser.get(path)).text


async def test_a_pace_of_nothing_is_not_told(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, owner: Sessions, work: Any
) -> None:
    await add(client, "A wall.")
    await work()
    async with transaction(owner) as session:
        await session.execute(text("update jobs set finished_at = now() - interval '4 minutes' where state = 'done'"))
    await sign_in(browser, key)
    assert "0.0 a second" not in (await browser.get("/")).text


async def test_the_catalogue_is_drawn(browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str) -> None:
    await sign_in(browser, key)
    assert "The catalogue is empty" in (await browser.get("/catalogue")).text
    assert (
        await client.put(
            "/api/v1/entities/no2",
            json={"type": "property", "label": "Nitrogen <dioxide>", "schema_definition": {"type": "number"}},
        )
    ).is_success
    assert (
        await client.put("/api/v1/modules/air", json={"label": "Air", "version": "1.0.0", "entities": ["no2"]})
    ).is_success
    assert "/catalogue/graph.svg" in (await browser.get("/catalogue")).text
    drawn = await browser.get("/catalogue/graph.svg?entities=true")
    assert drawn.headers["content-type"].startswith("image/svg+xml")
    assert "sandbox" in drawn.headers["content-security-policy"]
    assert "Nitrogen &lt;dioxide&gt;" in drawn.text


def test_a_visit_ends_within_a_day() -> None:
    assert visits.LASTS.total_seconds() <= 86_400
