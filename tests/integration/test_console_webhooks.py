"""The pages of webhooks, without a browser: made, tried, stopped, and seen by those only whose they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

import httpx
import pytest
from sqlalchemy import text
from tests.keys import make_key, make_workspace

from drystone.core.db import Sessions, transaction

HERE = {"Sec-Fetch-Site": "same-origin"}
URL = "https://example.org/hooks?a=<b>"
SHOWN = "https://example.org/hooks?a=&lt;b&gt;"


async def _sign_in(browser: httpx.AsyncClient, key: str) -> None:
    assert (await browser.post("/sign-in", data={"key": key}, headers=HERE)).status_code == 303


async def _make(client: httpx.AsyncClient, **more: object) -> str:
    answer = await client.post("/api/v1/webhooks", json={"url": URL} | more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def _send(browser: httpx.AsyncClient, path: str, **form: str | Sequence[str]) -> httpx.Response:
    return await browser.post(path, data=form, headers=HERE)


async def _do(owner: Sessions, sql: str) -> None:
    async with transaction(owner) as session:
        await session.execute(text(sql))


async def test_one_is_made_and_its_secret_shown_this_once(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    await client.post("/api/v1/collections", json={"name": "walls"})
    await _sign_in(browser, key)
    made = await _send(browser, "/webhooks", url=f" {URL} ", collection="walls", kind=["document.ready", "batch.*"])
    assert made.status_code == 200
    assert re.search(r"whsec_[\w+/=]{20,}", made.text)
    (webhook,) = (await client.get("/api/v1/webhooks")).json()["items"]
    assert (webhook["url"], webhook["kinds"]) == (URL, ["document.ready", "batch.*"])
    for path in ("/webhooks", f"/webhooks/{webhook['id']}"):
        page = (await browser.get(path)).text
        assert SHOWN in page
        assert "walls" in page
        assert "whsec_" not in page


async def test_it_is_tried_stopped_and_goes_on(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, owner: Sessions
) -> None:
    path = f"/webhooks/{await _make(client)}"
    await _sign_in(browser, key)
    assert (await _send(browser, f"{path}/test")).headers["location"] == path
    page = (await browser.get(path)).text
    assert "webhook.test" in page
    assert "pending" in page
    await _do(owner, "update webhook_deliveries set state = 'failed', tries = 8, error = 'Nobody <answered>.'")
    page = (await browser.get(f"{path}?state=failed")).text
    assert "Nobody &lt;answered&gt;." in page
    again = re.search(rf'action="({path}/deliveries/[^"]+/redeliver)"', page)
    assert again is not None
    assert (await _send(browser, again[1])).status_code == 303
    assert "Nothing is failed" in (await browser.get(f"{path}?state=failed")).text

    await _send(browser, f"{path}/disable")
    assert "Somebody disabled it." in (await browser.get(path)).text
    refused = await _send(browser, f"{path}/test")
    assert (refused.status_code, "The webhook is disabled." in refused.text) == (409, True)
    await _send(browser, f"{path}/enable")
    assert "Somebody disabled it." not in (await browser.get(path)).text


async def test_a_new_secret_is_shown_and_a_deleted_one_is_gone(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    path = f"/webhooks/{await _make(client)}"
    await _sign_in(browser, key)
    assert "whsec_" in (await _send(browser, f"{path}/rotate")).text
    assert (await _send(browser, f"{path}/delete")).headers["location"] == "/webhooks"
    assert (await browser.get(path)).status_code == 404


async def test_failed_ones_are_all_sent_again(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, owner: Sessions
) -> None:
    path = f"/webhooks/{await _make(client)}"
    await _sign_in(browser, key)
    for _ in range(3):
        await _send(browser, f"{path}/test")
    await _do(owner, "update webhook_deliveries set state = 'failed'")
    await _send(browser, f"{path}/redeliver")
    assert (await browser.get(f"{path}?state=pending")).text.count("webhook.test") == 3


async def test_many_deliveries_are_paged(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, owner: Sessions
) -> None:
    webhook = await _make(client)
    await _do(
        owner,
        "insert into webhook_deliveries (id, webhook_id, event_id, kind, body, state)"
        f" select gen_random_uuid(), '{webhook}', -n, 'document.ready', '{{}}', 'delivered' from generate_series(1, 70) n",
    )
    await _sign_in(browser, key)
    first = (await browser.get(f"/webhooks/{webhook}?state=delivered")).text
    assert first.count("document.ready</span>") == 50
    older = re.search(r'href="([^"]+before=[^"]+)"', first)
    assert older is not None
    assert (await browser.get(older[1].replace("&amp;", "&"))).text.count("document.ready</span>") == 20


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"url": ""}, "A webhook has a URL"),
        ({"url": "ftp://example.org"}, "none that can be called"),
        ({"url": "https://example.org", "kind": "no.such"}, "told of no kind no.such"),
        ({"url": "https://example.org", "collection": "nowhere"}, "nowhere"),
    ],
)
async def test_what_is_none_is_told(browser: httpx.AsyncClient, key: str, form: dict[str, str], said: str) -> None:
    await _sign_in(browser, key)
    answer = await _send(browser, "/webhooks", **form)
    assert answer.status_code in (404, 422)
    assert said in answer.text


async def test_only_those_whose_it_is_see_it(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions
) -> None:
    await client.post("/api/v1/collections", json={"name": "open"})
    webhook = await _make(client)
    confined = await client.post("/api/v1/keys", json={"name": "k", "scopes": ["admin"], "collections": ["open"]})
    stranger = await make_key(owner, workspace_id=await make_workspace(owner))
    for key in (confined.json()["key"], stranger):
        await _sign_in(browser, key)
        assert "example.org/hooks?" not in (await browser.get("/webhooks")).text
        assert (await browser.get(f"/webhooks/{webhook}")).status_code == 404
        assert (await _send(browser, f"/webhooks/{webhook}/delete")).status_code == 404
    await _sign_in(browser, await make_key(owner, scopes=["write"]))
    assert (await browser.get("/webhooks")).status_code == 403
    assert (await _send(browser, "/webhooks", url=URL)).status_code == 403
    assert 'href="/webhooks"' not in (await browser.get("/")).text
    assert len((await client.get("/api/v1/webhooks")).json()["items"]) == 1
