"""The page that answers in sentences, without a browser: with a model that a real server plays, and without one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import pytest
from starlette.responses import Response
from tests.chatting import Model, line, model
from tests.conftest import ROOT
from tests.keys import make_key

from drystone.core import settings as core_settings
from drystone.core.db import Sessions
from drystone.web import create_app

Work = Callable[[], Awaitable[None]]

HERE = {"Sec-Fetch-Site": "same-origin"}
BRIDGE = (
    "The Forth Bridge was opened on 4 March 1890. Its three double cantilevers span 521 metres each. "
    "57 men are known to have died during its construction."
)
OPENED = "When was the Forth Bridge opened?"


async def _sign_in(browser: httpx.AsyncClient, key: str) -> None:
    assert (await browser.post("/sign-in", data={"key": key}, headers=HERE)).status_code == 303


async def _add(client: httpx.AsyncClient, collection: str = "bridges") -> None:
    sent = await client.post(
        "/api/v1/documents", files={"file": ("bridge.txt", BRIDGE.encode())}, data={"collection": collection}
    )
    assert sent.status_code == 202, sent.text


async def _ask(browser: httpx.AsyncClient, **form: str) -> str:
    answer = await browser.post("/ask", data={"q": OPENED} | form, headers=HERE)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_each_sentence_leads_to_its_source(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Work
) -> None:
    await _add(client)
    await work()
    await _sign_in(browser, key)

    page = await _ask(browser)

    cited = re.search(r'<a class="cite" href="#(source-\d+)"', page)
    assert cited is not None
    assert f'id="{cited[1]}"' in page
    assert "<mark>The Forth Bridge was opened on 4 March 1890.</mark>" in page
    assert "no model is configured" in page
    link = re.search(r'href="(/documents/[^"]+)"', page)
    assert link is not None
    document = (await browser.get(link[1].replace("&amp;", "&"))).text
    assert 'class="passage meant"' in document


async def test_an_address_fills_the_form_and_asks_nothing(browser: httpx.AsyncClient, key: str) -> None:
    await _sign_in(browser, key)
    page = (await browser.get("/ask", params={"q": "<b>when</b>?", "collection": "walls"})).text
    assert 'value="&lt;b&gt;when&lt;/b&gt;?"' in page
    assert "There is nothing to ask yet." in page


async def test_a_question_without_an_answer_leads_to_the_search(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, work: Work
) -> None:
    await _add(client)
    await work()
    await _sign_in(browser, key)
    page = await _ask(browser, q="zebra zoology in Zanzibar")
    assert "Nothing that was found answers it." in page
    assert 'href="/search?q=zebra+zoology+in+Zanzibar"' in page


async def test_a_collection_that_is_not_the_visitors_bears_nothing(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, owner: Sessions, work: Work
) -> None:
    await _add(client)
    await client.post("/api/v1/collections", json={"name": "open"})
    await work()
    made = await client.post("/api/v1/keys", json={"name": "k", "scopes": ["read"], "collections": ["open"]})
    await _sign_in(browser, made.json()["key"])
    assert "1890" not in await _ask(browser)
    assert "1890" not in await _ask(browser, collection="bridges")


@pytest.mark.parametrize(("form", "said"), [({"q": " "}, "empty"), ({"q": "w" * 9000}, "characters")])
async def test_what_cannot_be_asked_is_told_above_the_form(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, key: str, form: dict[str, str], said: str
) -> None:
    await _add(client)
    await _sign_in(browser, key)
    assert re.search(rf'role="alert">\s*<p>[^<]*{said}', await _ask(browser, **form))


async def test_a_key_that_may_not_read_asks_nothing(browser: httpx.AsyncClient, key: str, owner: Sessions) -> None:
    await _sign_in(browser, await make_key(owner, scopes=[]))
    assert (await browser.post("/ask", data={"q": OPENED}, headers=HERE)).status_code == 403


# --- with a model ---


@pytest.fixture(scope="module")
def playing() -> Iterator[Model]:
    with model() as opened:
        yield opened


@pytest.fixture(scope="module")
async def written(playing: Model, environment: dict[str, str]) -> AsyncIterator[httpx.ASGITransport]:
    given = environment | {"ANSWER_URL": playing.url, "ANSWER_MODEL": "some-model", "ANSWER_TIMEOUT_S": "5"}
    app = create_app(core_settings.absolute(core_settings.parse(given), ROOT))
    async with app.router.lifespan_context(app):
        yield httpx.ASGITransport(app, raise_app_exceptions=False)


@pytest.fixture
async def writer(
    written: httpx.ASGITransport, client: httpx.AsyncClient, key: str, work: Work
) -> AsyncIterator[httpx.AsyncClient]:
    """A browser, signed in, at a stack with a model and a document."""
    await _add(client)
    await work()
    async with httpx.AsyncClient(
        transport=written, base_url="http://drystone", headers={"Accept": "text/html"}
    ) as browser:
        await _sign_in(browser, key)
        yield browser


async def test_what_the_model_says_and_no_passage_does_is_marked(writer: httpx.AsyncClient, playing: Model) -> None:
    first = line("It was opened on 4 March 1890.", (1, "opened on 4 March 1890"))
    second = line("It has <script>1999</script> lamps.", (1, "opened on 4 March 1890"))
    playing.says(first + second)

    page = await _ask(writer)

    assert "Written by a model" in page
    assert "1 of 2 sentences have no source" in page
    assert re.search(r'<li class="unborne">It has &lt;script&gt;1999&lt;/script&gt; lamps\.', page)
    assert "a number is not in the passages: 1999" in page


async def test_where_the_model_fails_the_documents_answer_or_nobody(writer: httpx.AsyncClient, playing: Model) -> None:
    playing.answers = [Response(status_code=400), Response(status_code=400)]
    page = await _ask(writer)
    assert "own sentences" in page
    assert 'role="alert"' in page
    page = await _ask(writer, mode="generated")
    assert 'role="alert"' in page
    assert 'class="answer"' not in page
