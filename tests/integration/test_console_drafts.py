"""The editor behind a draft's link, and the pages of those who decide, without a browser."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.integration.catalogues import NAME, A, change, fill
from tests.integration.test_console import HERE, sign_in
from tests.integration.test_drafts import O3, do, start
from tests.keys import make_key

from drystone.console import editor
from drystone.core.db import Sessions, transaction

OZONE = {"kind": "entity", "key": "o3", "type": "property", "label": "Ozone", "schema_definition": '{"type": "number"}'}


async def open_(browser: httpx.AsyncClient, made: dict[str, Any]) -> str:
    """Open a draft's link; the path of its editor."""
    answer = await browser.post("/draft", data={"link": f"http://drystone/draft#{made['token']}"}, headers=HERE)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def save(browser: httpx.AsyncClient, path: str, **form: str) -> httpx.Response:
    return await browser.post(f"{path}/edit", data={**OZONE, **form}, headers=HERE)


def hidden(page: str, name: str) -> str:
    """A hidden field of a form."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None
    return html.unescape(found[1])


async def changes(client: httpx.AsyncClient, made: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(f"{A}/drafts/{made['id']}")).json()["changes"]
    return found


async def test_a_link_is_opened_once_and_its_token_is_in_no_page(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    made = await start(client, O3)
    prefix, _, secret = made["token"].partition(".")

    answer = await browser.post("/draft", data={"link": made["token"]}, headers=HERE)

    assert answer.headers["location"] == f"/draft/{prefix}"
    cookie = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", f"Path=/draft/{prefix}"):
        assert part in cookie
    for path in (f"/draft/{prefix}", f"/draft/{prefix}/edit?kind=entity&key=o3", f"/draft/{prefix}/catalogue"):
        page = await browser.get(path)
        assert page.status_code == 200, path
        assert secret not in page.text
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "same-origin"
    assert secret not in answer.text
    assert (await browser.get(f"{A}/draft")).status_code == 404  # the API takes no cookie


async def test_two_drafts_are_open_side_by_side(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    one, other = await start(client, title="one"), await start(client, title="other")
    paths = [await open_(browser, each) for each in (one, other)]

    pages = [(await browser.get(path)).text for path in paths]

    assert [re.search("<h1>(.*)</h1>", page)[1] for page in pages] == ["one", "other"]  # type: ignore[index]


async def test_all_that_is_no_link_is_answered_alike_on_every_page(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions
) -> None:
    revoked, expired, deleted = [await start(client, O3) for _ in range(3)]
    paths = {
        name: await open_(browser, each)
        for name, each in (("revoked", revoked), ("expired", expired), ("deleted", deleted))
    }
    await do(client, revoked, "revoke")
    await client.delete(f"{A}/drafts/{deleted['id']}")
    async with transaction(owner) as session:
        statement = text("update drafts set expires_at = now() - interval '1 s' where id = :id")
        await session.execute(statement, {"id": expired["id"]})
    paths["never was"] = "/draft/dsd_nobodyhasit2"

    for route in editor.router.routes:
        inner = getattr(route, "path", "").partition("{link}")
        if not inner[1]:
            continue
        for method in getattr(route, "methods", ()):
            told = set()
            for path in paths.values():
                answer = await browser.request(method, path + inner[2].replace("{verb}", "submit"), headers=HERE)
                told.add((answer.status_code, answer.text.replace(path, "")))
            assert len(told) == 1, (method, inner[2])
            assert next(iter(told))[0] == 404
    wrong = revoked["token"].partition(".")[0] + "." + "x" * 43
    refused = await browser.post("/draft", data={"link": wrong}, headers=HERE)
    assert (refused.status_code, "set-cookie" in refused.headers) == (404, False)
    assert "x" * 43 not in refused.text


async def test_whoever_holds_a_link_sees_no_other_page(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    path = await open_(browser, made)
    token = next(cookie.value for cookie in browser.cookies.jar)

    for other in ("/", "/drafts", f"/drafts/{made['id']}", "/catalogue", "/documents/x"):
        answer = await browser.get(other, headers={"Cookie": f"drystone_8310={token}"})
        assert answer.headers["location"].startswith("/sign-in")
    assert "Sign out" not in (await browser.get(path)).text
    assert "Sign out" not in (await browser.get(f"{path}/nowhere")).text


async def test_an_entity_is_added_changed_and_taken_out(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    made = await start(client)
    path = await open_(browser, made)

    added = await save(browser, path, aliases="de: Ozon\r\nde: Trisauerstoff\r\n\r\nen: O3", description="A gas.")
    assert added.headers["location"] == f"{path}#entity-o3"
    content = (await changes(client, made))[0]["content"]
    form = (await browser.get(f"{path}/edit?kind=entity&key=o3")).text
    again = await save(browser, path, etag=hidden(form, "etag"), was=hidden(form, "was"), label="O3", parents="")
    changed = (await changes(client, made))[0]["content"]
    tag = hidden((await browser.get(path)).text.partition("/drop")[2], "etag")
    dropped = await browser.post(f"{path}/drop", data={"kind": "entity", "key": "o3", "etag": tag}, headers=HERE)

    assert content["aliases"] == {"de": ["Ozon", "Trisauerstoff"], "en": ["O3"]}
    assert (content["description"], content["schema_definition"]) == ("A gas.", {"type": "number"})
    assert (again.status_code, changed["label"], changed["aliases"]) == (303, "O3", {})
    assert dropped.status_code == 303
    assert await changes(client, made) == []


async def test_what_there_is_is_changed_and_proposed_to_be_removed(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await fill(client)
    made = await start(client)
    path = await open_(browser, made)

    assert "Nitrogen dioxide" in (await browser.get(f"{path}/catalogue?words=nitrogen")).text
    form = (await browser.get(f"{path}/edit?kind=entity&key=no2")).text
    assert "de: Stickstoffdioxid" in form
    module = (await browser.get(f"{path}/edit?kind=module&key=air")).text
    sent = {"kind": "module", "key": "air", "label": "Air", "entities": "no2\nstation", "dependencies": "core ^1.0"}
    kept = await browser.post(f"{path}/edit", data=sent, headers=HERE)
    removed = await browser.post(
        f"{path}/edit", data={"kind": "profile", "key": "city", "action": "delete"}, headers=HERE
    )

    assert "core ^1.0" in module
    assert (kept.status_code, removed.status_code) == (303, 303)
    assert [(each["key"], each["action"]) for each in await changes(client, made)] == [
        ("air", "put"), ("city", "delete"),
    ]  # fmt: skip
    shown = (await browser.get(path)).text
    assert "is removed" in shown
    assert "<del" in shown


@pytest.mark.parametrize(
    ("form", "field", "said"),
    [
        ({"key": "No Key"}, "key", "cannot be a key"),
        ({"label": ""}, "label", "at least 1"),
        ({"aliases": "Ozon"}, "aliases", "Line 1 has no language"),
        ({"aliases": "x1: Ozon"}, "aliases", "pattern"),
        ({"schema_definition": "{"}, "schema_definition", "no JSON at line 1"),
        ({"schema_definition": "[]"}, "schema_definition", "is an object"),
        ({"schema_definition": '{"a": NaN}'}, "schema_definition", "no JSON"),
        ({"schema_definition": "[" * 20_000}, "schema_definition", "no JSON"),
        ({"type": "thing"}, "type", "Input should be"),
        ({"description": "x" * 10_001}, "description", "at most 10000"),
        ({"label": "a\0b"}, "label", "cannot be stored"),
    ],
    ids=lambda value: None if isinstance(value, str) and len(value) > 40 else str(value)[:40],
)
async def test_what_is_wrong_is_told_at_its_field_and_nothing_is_kept(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, form: dict[str, str], field: str, said: str
) -> None:
    made = await start(client)
    path = await open_(browser, made)

    told = await browser.post(f"{path}/check", data={**OZONE, **form}, headers=HERE)
    answer = await save(browser, path, **form)

    assert said in " ".join(told.json()["fields"][field])
    assert answer.status_code == 422
    beside = re.search(rf'data-faults="{field}">(.*?)</div>', answer.text, re.DOTALL)
    assert beside is not None
    assert said in html.unescape(beside[1])
    assert await changes(client, made) == []
    if "label" not in form:
        assert 'value="Ozone"' in answer.text  # what was written is still there


async def test_the_rules_are_asked_while_somebody_writes_and_nothing_is_kept(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await fill(client)
    made = await start(client)
    path = await open_(browser, made)
    before = (await client.get(f"{A}/drafts/{made['id']}")).headers["etag"]

    async def told(**form: str) -> dict[str, Any]:
        answer = await browser.post(f"{path}/check", data={**OZONE, **form}, headers=HERE)
        found: dict[str, Any] = answer.json()
        return found

    assert await told() == {"fields": {}, "elsewhere": []}
    assert (await told(schema_definition='{"type": "nummer"}'))["fields"].keys() == {"schema_definition"}
    assert (await told(parents="nobody"))["fields"].keys() == {"parents"}
    both = await told(parents="nobody", aliases="Ozon")
    assert both["fields"].keys() == {"parents", "aliases"}
    moved = await told(key="no2", label="NO2", schema_definition='{"type": "number", "unit": "ppb"}')
    assert moved["fields"] or moved["elsewhere"]
    assert (await client.get(f"{A}/drafts/{made['id']}")).headers["etag"] == before


async def test_all_that_is_wrong_is_told_at_once(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    path = await open_(browser, await start(client))
    wrong = {"key": "No Key", "label": "", "parents": "nobody", "schema_definition": "{"}

    told = (await browser.post(f"{path}/check", data={**OZONE, **wrong}, headers=HERE)).json()

    assert told["fields"].keys() == wrong.keys()
    form = html.unescape((await browser.get(f"{path}/edit?kind=entity")).text)
    characters = told["fields"]["key"][0].partition(": ")[2].rstrip(".")
    assert "underscores" in characters
    assert characters[1:] in form


@pytest.mark.parametrize("type_", ["category", "property", "subobject"])
async def test_the_example_of_a_definition_fits_the_type(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, type_: str
) -> None:
    await fill(client)
    path = await open_(browser, await start(client))
    form = html.unescape((await browser.get(f"{path}/edit?kind=entity")).text)
    place = "property" if type_ == "property" else "object"
    example = re.search(rf'data-for="{place}">.*?<code>(.*?)</code>', form)
    assert example is not None

    sent = {**OZONE, "type": type_, "schema_definition": example[1]}
    told = await browser.post(f"{path}/check", data=sent, headers=HERE)

    assert told.json() == {"fields": {}, "elsewhere": []}


async def test_what_is_wrong_keeps_a_draft_from_being_submitted_and_is_told(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    made = await start(client, {**O3, "content": {**NAME, "label": "Ozone", "parents": ["nobody"]}})
    path = await open_(browser, made)
    tag = hidden((await browser.get(path)).text, "etag")

    answer = await browser.post(f"{path}/submit", data={"etag": tag}, headers=HERE)

    assert answer.status_code == 409
    assert "It was not submitted: one thing keeps it from being merged" in answer.text
    assert '<a href="#entity-o3">' in answer.text
    assert (await client.get(f"{A}/drafts/{made['id']}")).json()["status"] == "open"
    await sign_in(browser, key)
    review = (await browser.get(f"/drafts/{made['id']}")).text
    assert "has submitted it for review" in review
    assert "opens its editor" in review


async def test_what_no_draft_takes_is_refused_while_it_is_written_too(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    path = await open_(browser, await start(client))
    patterns = {f"p{n}": {"pattern": f"^{n}" + "x" * 995} for n in range(21)}
    form = {**OZONE, "type": "category", "schema_definition": json.dumps({"properties": patterns})}

    answer = await browser.post(f"{path}/check", data=form, headers=HERE)

    assert answer.status_code == 200
    assert any(answer.json()["fields"].values())


async def test_nothing_is_lost_where_two_edit_the_same(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    made = await start(client, {**O3, "content": {**NAME, "label": "Ozone", "description": "A gas."}})
    path = await open_(browser, made)
    form = (await browser.get(f"{path}/edit?kind=entity&key=o3")).text
    mine = {"etag": hidden(form, "etag"), "was": hidden(form, "was"), "schema_definition": '{"type": "string"}'}
    theirs = await save(browser, path, **mine, label="Ozone", description="Theirs.", aliases="de: Ozon")

    answer = await save(browser, path, **mine, label="Mine", description="A gas.", aliases="fr: Ozone")

    assert (theirs.status_code, answer.status_code) == (303, 412)
    page = html.unescape(answer.text)
    assert "Somebody else saved this change" in page
    assert 'name="label" value="Mine"' in page
    assert "Theirs." in re.search(r'<textarea id="description".*?</textarea>', page, re.DOTALL)[0]  # type: ignore[index]
    aliases = re.search(r'<textarea id="aliases".*?</textarea>', page, re.DOTALL)[0]  # type: ignore[index]
    assert "de: Ozon" in aliases
    assert "fr: Ozone" in aliases
    kept = (await changes(client, made))[0]["content"]
    assert (kept["label"], kept["description"]) == ("Ozone", "Theirs.")
    after = await save(
        browser,
        path,
        etag=hidden(answer.text, "etag"),
        was=hidden(answer.text, "was"),
        label="Mine",
        description="Theirs.",
    )
    assert after.status_code == 303


async def test_two_who_add_the_same_key_lose_nothing(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    made = await start(client)
    path = await open_(browser, made)
    await save(browser, path, label="Theirs")

    answer = await save(browser, path, label="Mine")

    assert answer.status_code == 412
    assert 'name="label" value="Mine"' in answer.text
    assert "Theirs" in answer.text
    assert (await changes(client, made))[0]["content"]["label"] == "Theirs"


async def test_a_change_that_somebody_took_out_is_not_lost_with_it(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    made = await start(client, O3)
    path = await open_(browser, made)
    form = (await browser.get(f"{path}/edit?kind=entity&key=o3")).text
    await client.delete(f"{A}/drafts/{made['id']}/changes/entity/o3")

    answer = await save(browser, path, etag=hidden(form, "etag"), was=hidden(form, "was"), label="Mine")

    assert answer.status_code == 412
    assert "took this change out" in answer.text
    assert 'name="label" value="Mine"' in answer.text
    assert (await save(browser, path, label="Mine")).status_code == 303


@pytest.mark.parametrize("was", ["", "{", "[]", "null", '{"label": 7}', '{"nobody": 1}', "[" * 9000])
async def test_what_a_form_says_it_began_with_is_never_kept(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, was: str
) -> None:
    made = await start(client, O3)
    path = await open_(browser, made)

    answer = await save(browser, path, etag='"0"', was=was, label="Mine")

    assert answer.status_code == 412
    assert (await changes(client, made))[0]["content"]["label"] == "Ozone"


async def test_from_a_link_to_the_merge(browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str) -> None:
    await sign_in(browser, key)
    begun = await browser.post("/drafts", data={"title": "ozone, too", "message": "why"}, headers=HERE)
    link = html.unescape(re.search(r"<pre>(.*?)</pre>", begun.text)[1])  # type: ignore[index]
    path = await open_(browser, {"token": link.partition("#")[2]})
    await save(browser, path)
    draft = (await client.get(f"{A}/drafts")).json()["items"][0]["id"]
    assert link not in (await browser.get(f"/drafts/{draft}")).text

    tag = hidden((await browser.get(path)).text, "etag")
    submitted = await browser.post(f"{path}/submit", data={"etag": tag}, headers=HERE)
    assert submitted.status_code == 303, submitted.text
    review = (await browser.get(f"/drafts/{draft}")).text
    read = hidden(review, "etag")
    assert "Approve" in review
    unread = await browser.post(f"/drafts/{draft}/approve", headers=HERE)
    stale = await browser.post(f"/drafts/{draft}/approve", data={"etag": '"1"'}, headers=HERE)
    no_reason = await browser.post(f"/drafts/{draft}/reject", data={"etag": read}, headers=HERE)
    approved = await browser.post(f"/drafts/{draft}/approve", data={"etag": read, "reason": "good"}, headers=HERE)
    read = hidden((await browser.get(f"/drafts/{draft}")).text, "etag")
    merged = await browser.post(f"/drafts/{draft}/merge", data={"etag": read}, headers=HERE)

    assert [each.status_code for each in (unread, stale, no_reason)] == [412, 412, 422]
    assert "changed since it was read" in stale.text
    assert [each.status_code for each in (approved, merged)] == [303, 303]
    assert (await client.get(f"{A}/entities/o3")).json()["label"] == "Ozone"
    for page, said in ((path, "It was merged"), (f"/drafts/{draft}", "It is merged")):
        shown = (await browser.get(page)).text
        assert said in shown
        assert "1 change<" in shown
        assert "Ozone" in re.search(r'id="entity-o3">.*</article>', shown, re.DOTALL)[0]  # type: ignore[index]
    assert 'href="/entities/o3"' in shown


async def test_both_sides_of_a_conflict_are_shown_and_one_is_chosen(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await change(client, {"kind": "entity", "key": "name", "content": NAME})
    ours = {**NAME, "label": "Ours"}
    made = await start(client, {"kind": "entity", "key": "name", "action": "put", "content": ours})
    await change(client, {"kind": "entity", "key": "name", "content": {**NAME, "label": "Theirs"}})
    path = await open_(browser, made)

    page = (await browser.get(path)).text
    data = {"etag": hidden(page, "etag"), "take entity name /label": "ours"}
    assert "Catalogue now" in page
    assert "Theirs" in page
    answer = await browser.post(f"{path}/rebase", data=data, headers=HERE)

    assert answer.status_code == 303
    after = (await browser.get(path)).text
    assert "Catalogue now" not in after
    assert (await changes(client, made))[0]["content"]["label"] == "Ours"
    wrong = {"etag": hidden(after, "etag"), "take entity name /label": "ours"}
    assert (await browser.post(f"{path}/rebase", data=wrong, headers=HERE)).status_code == 422


async def test_a_form_of_another_site_edits_nothing(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    made = await start(client, O3)
    path = await open_(browser, made)

    for at in ("", "/edit", "/check", "/drop", "/rebase", "/submit", "/leave"):
        answer = await browser.post(path + at, data=OZONE, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403, at
    sent = await browser.post("/draft", data={"link": made["token"]}, headers={"Sec-Fetch-Site": "cross-site"})
    assert sent.status_code == 403
    assert len(await changes(client, made)) == 1


async def test_a_form_that_is_too_large_says_so(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    path = await open_(browser, await start(client))

    answer = await save(browser, path, description="x" * 300_000)

    assert answer.status_code == 413
    assert "256 KiB" in answer.text


async def test_who_leaves_is_out(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    path = await open_(browser, await start(client))

    assert (await browser.post(f"{path}/leave", headers=HERE)).headers["location"] == "/draft"
    assert (await browser.get(path)).status_code == 404


async def test_who_may_only_read_decides_nothing(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions
) -> None:
    made = await start(client, O3)
    await do(client, made, "validate", "submit")
    await sign_in(browser, await make_key(owner, scopes=["read"]))

    page = (await browser.get(f"/drafts/{made['id']}")).text
    listed = (await browser.get("/drafts")).text

    assert "Approve" not in page
    assert "New link" not in page
    assert "Make its link" not in listed
    for verb in ("approve", "reject", "merge", "withdraw", "rebase", "link", "revoke"):
        data = {"etag": hidden(page, "etag") if 'name="etag"' in page else "", "reason": "x"}
        answer = await browser.post(f"/drafts/{made['id']}/{verb}", data=data, headers=HERE)
        assert answer.status_code == 403, verb
    assert (await browser.post("/drafts", data={"title": "x"}, headers=HERE)).status_code == 403


async def test_another_link_ends_the_one_before(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    made = await start(client, O3)
    path = await open_(browser, made)
    await sign_in(browser, key)

    answer = await browser.post(f"/drafts/{made['id']}/link", data={"etag": '"1"'}, headers=HERE)

    link = re.search(r"<pre>(.*?)</pre>", answer.text)
    assert link is not None
    assert (await browser.get(path)).status_code == 404
    assert (await browser.get(await open_(browser, {"token": link[1].partition("#")[2]}))).status_code == 200


async def test_what_was_written_stays_when_a_draft_was_submitted_meanwhile(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    made = await start(client, O3)
    path = await open_(browser, made)
    form = (await browser.get(f"{path}/edit?kind=entity&key=o3")).text
    about = hidden((await browser.get(path)).text, "etag")
    assert (await browser.post(f"{path}/submit", data={"etag": about}, headers=HERE)).status_code == 303

    answer = await save(browser, path, etag=hidden(form, "etag"), description="Three atoms of oxygen.")

    assert answer.status_code == 409
    assert "Three atoms of oxygen." in answer.text
    assert "What you wrote is below" in answer.text
    called = await browser.post(
        path, data={"etag": about, "title": "Ozone & more", "message": "Why not?"}, headers=HERE
    )
    assert called.status_code in (409, 412)
    assert "Ozone &amp; more" in called.text
    assert "Why not?" in called.text


async def test_what_a_draft_is_to_be_called_stays_in_the_form_when_another_was_first(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    made = await start(client, O3)
    path = await open_(browser, made)
    etag = hidden((await browser.get(path)).text, "etag")
    await browser.post(path, data={"etag": etag, "title": "theirs"}, headers=HERE)

    answer = await browser.post(path, data={"etag": etag, "title": "ours", "message": "as we said"}, headers=HERE)

    assert answer.status_code == 412
    assert 'value="ours"' in answer.text
    assert ">as we said</textarea>" in answer.text
    assert "<h1>theirs</h1>" in answer.text


async def test_the_reason_of_a_decision_stays_when_the_draft_is_another_by_now(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    made = await start(client, O3)
    await sign_in(browser, key)
    page = (await browser.get(f"/drafts/{made['id']}")).text
    assert page
    answer = await browser.post(
        f"/drafts/{made['id']}/reject", data={"etag": '"stale"', "reason": "It lacks a unit."}, headers=HERE
    )
    assert answer.status_code == 412
    assert "It lacks a unit." in answer.text


async def test_an_escape_that_cannot_be_stored_is_told_though_somebody_else_was_first(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    path = await open_(browser, await start(client, O3))
    answer = await save(browser, path, schema_definition='{"x": "\\ud800"}')
    assert answer.status_code == 422
    assert "cannot be stored" in answer.text


async def test_a_label_cannot_turn_round_what_stands_beside_it(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    content = {**NAME, "label": "Ozone\u202etfard", "description": "left open \u2067 here"}
    turned = {"kind": "entity", "key": "o3", "action": "put", "content": content}
    made = await start(client, turned)
    await sign_in(browser, key)

    page = (await browser.get(f"/drafts/{made['id']}")).text

    assert "\u202e" not in page
    assert "Ozone⟨U+202E⟩tfard" in page
    assert "left open \u2067 here\u2069" in page
    path = await open_(browser, made)
    form = (await browser.get(f"{path}/edit?kind=entity&key=o3")).text
    assert 'value="Ozone\u202etfard"' in form  # as it is, lest saving changes it
