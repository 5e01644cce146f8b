"""Deleting on pages: by whom the API lets, and only by those who say so twice."""

from __future__ import annotations

import httpx
import pytest
from tests.integration.test_console import HERE, add, sign_in
from tests.keys import make_key, make_workspace

from drystone.core.db import Sessions


async def _there(client: httpx.AsyncClient, document: str) -> bool:
    return (await client.get(f"/api/v1/documents/{document}")).is_success


async def _delete_both(browser: httpx.AsyncClient, document: str) -> list[int]:
    """Ask for the document, then for its collection `walls`; the answers."""
    sent = [(f"/documents/{document}/delete", {"sure": "true"}), ("/collections/walls/delete", {"typed": "walls"})]
    return [(await browser.post(path, data=form, headers=HERE)).status_code for path, form in sent]


async def test_a_document_is_deleted_once_the_box_is_ticked(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    document = await add(client, "A wall.", collection="walls")
    await sign_in(browser, key)

    unsure = await browser.post(f"/documents/{document}/delete", headers=HERE)
    assert unsure.status_code == 422
    assert "nothing was deleted" in unsure.text
    assert await _there(client, document)

    answer = await browser.post(f"/documents/{document}/delete", data={"sure": "true"}, headers=HERE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/collections/walls")
    assert not await _there(client, document)
    assert (await browser.get(f"/documents/{document}")).status_code == 404
    done = (await client.get("/api/v1/audit", params={"action": "document.delete"})).json()["items"]
    assert [each["subject_id"] for each in done] == [document]


async def test_a_collection_is_deleted_by_typing_its_name(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str
) -> None:
    document = await add(client, "A wall.", collection="walls")
    await sign_in(browser, key)
    assert "with its 1 document<" in (await browser.get("/collections/walls")).text

    for typed in ("", "Walls", "wall"):
        wrong = await browser.post("/collections/walls/delete", data={"typed": typed}, headers=HERE)
        assert wrong.status_code == 422
        assert "was not typed as it is" in wrong.text
    by_id = (await client.get("/api/v1/collections/walls")).json()["id"]
    assert (await browser.post(f"/collections/{by_id}/delete", data={"typed": by_id}, headers=HERE)).status_code == 422
    assert await _there(client, document)

    answer = await browser.post("/collections/walls/delete", data={"typed": " walls "}, headers=HERE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/collections")
    assert not await _there(client, document)
    assert (await client.get("/api/v1/collections/walls")).status_code == 404


async def test_who_may_only_read_deletes_nothing(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions
) -> None:
    document = await add(client, "A wall.", collection="walls")
    await sign_in(browser, await make_key(owner, scopes=["read"]))

    for path in (f"/documents/{document}", "/collections/walls"):
        assert "Delete" not in (await browser.get(path)).text
    assert await _delete_both(browser, document) == [403, 403]
    assert await _there(client, document)


async def test_a_key_of_another_collection_deletes_nothing(
    browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    document = await add(client, "A wall.", collection="walls")
    await client.post("/api/v1/collections", json={"name": "open"})
    made = await client.post("/api/v1/keys", json={"name": "k", "scopes": ["write"], "collections": ["open"]})
    await sign_in(browser, made.json()["key"])

    assert await _delete_both(browser, document) == [404, 404]
    assert await _there(client, document)
    own = await browser.post("/collections/open/delete", data={"typed": "open"}, headers=HERE)
    as_api = await client.get("/api/v1/collections/open")
    assert (own.status_code, as_api.status_code) == (303, 404)


async def test_a_stranger_of_another_workspace_deletes_nothing(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions
) -> None:
    document = await add(client, "A wall.", collection="walls")
    await sign_in(browser, await make_key(owner, workspace_id=await make_workspace(owner)))

    assert await _delete_both(browser, document) == [404, 404]
    assert await _there(client, document)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_form_of_another_site_deletes_nothing(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, site: str
) -> None:
    document = await add(client, "A wall.", collection="walls")
    await sign_in(browser, key)

    answer = await browser.post(
        f"/documents/{document}/delete", data={"sure": "true"}, headers={"Sec-Fetch-Site": site}
    )

    assert answer.status_code == 403
    assert await _there(client, document)
