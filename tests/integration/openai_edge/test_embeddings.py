"""Models and embeddings as OpenAI's clients ask for them, against a web process that listens as the Procfile's does."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from openai import OpenAI

from drystone.adapters.embedding import model
from drystone.resources import Resources

TEXTS = ["The kingfisher dives for fish.", "Thin shells buckle under pressure."]


def test_the_models_are_those_that_collections_have(asked: OpenAI) -> None:
    listed = asked.models.list().data

    assert [each.id for each in listed] == [model.MODEL_ID]
    assert asked.models.retrieve(model.MODEL_ID) == listed[0]
    assert asked.models.retrieve(model.MINILM.name) == listed[0]
    with pytest.raises(openai.NotFoundError) as caught:
        asked.models.retrieve("text-embedding-3-small")
    assert (caught.value.code, caught.value.type) == ("model_not_found", "invalid_request_error")
    assert model.MODEL_ID in caught.value.message


async def test_embeddings_are_the_vectors_that_passages_get(asked: OpenAI, lax: OpenAI, resources: Resources) -> None:
    wanted = await resources.embedder.embed(TEXTS)

    answer = lax.embeddings.create(model=model.MODEL_ID, input=TEXTS)  # asks for base64
    as_numbers = asked.embeddings.create(model=model.MODEL_ID, input=TEXTS, encoding_format="float")

    assert [each.index for each in answer.data] == [0, 1]
    for told in (answer, as_numbers):
        np.testing.assert_array_equal(np.array([each.embedding for each in told.data], np.float32), wanted)
    assert answer.usage.prompt_tokens == sum(len(resources.embedder.token_starts(text)) for text in TEXTS)


async def test_base64_is_what_was_asked_for_and_numbers_where_nothing_was(base_url: str, key: str) -> None:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, trust_env=False) as client:
        given = {"model": model.MINILM.name, "input": TEXTS[0]}
        plain = (await client.post(f"{base_url}/embeddings", json=given)).json()
        packed = (await client.post(f"{base_url}/embeddings", json=given | {"encoding_format": "base64"})).json()

    numbers = np.array(plain["data"][0]["embedding"], np.float32)
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4"), numbers)


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({"input": [1, 2, 3]}, "input.tokens", "input"),
        ({"input": [[1, 2], [3]]}, "input.tokens", "input"),
        ({"input": []}, "input.empty", "input"),
        ({"input": ""}, "input.empty", "input"),
        ({"input": ["a", ""]}, "input.empty", "input"),
        ({"input": "stone " * 255}, "input.too_long", "input"),
        ({"input": "a", "dimensions": 12}, "dimensions.fixed", "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "request.invalid", "encoding_format"),
        ({"input": ["a"] * 2049}, "request.invalid", "input"),
        ({"input": "a", "colour": "red"}, "request.invalid", "colour"),
    ],
)
def test_what_cannot_be_embedded_is_refused_with_the_reason(
    asked: OpenAI, given: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        asked.post("/embeddings", cast_to=object, body={"model": model.MODEL_ID} | given)

    assert (caught.value.code, caught.value.param, caught.value.type) == (code, param, "invalid_request_error")


def test_a_text_of_as_many_tokens_as_the_model_reads_is_taken(asked: OpenAI) -> None:
    answer = asked.embeddings.create(
        model=model.MODEL_ID, input="stone " * 254, dimensions=model.DIMENSION, encoding_format="float"
    )

    assert answer.usage.total_tokens == 254


async def test_langchain_asks_as_it_does_elsewhere(base_url: str, key: str, resources: Resources) -> None:
    embeddings = OpenAIEmbeddings(
        base_url=base_url, api_key=key, model=model.MODEL_ID, check_embedding_ctx_length=False
    )

    made = embeddings.embed_documents(TEXTS)
    one = embeddings.embed_query(TEXTS[0])

    wanted = await resources.embedder.embed(TEXTS)
    np.testing.assert_allclose(np.array(made), wanted, atol=1e-7)
    np.testing.assert_allclose(np.array(one), wanted[0], atol=1e-7)


@pytest.mark.parametrize("kind", [OpenAIEmbedding, OpenAILikeEmbedding])
async def test_llamaindex_asks_as_it_does_elsewhere(
    kind: type[OpenAIEmbedding], base_url: str, key: str, resources: Resources
) -> None:
    embeddings = kind(model_name=model.MODEL_ID, api_base=base_url, api_key=key)

    made = embeddings.get_text_embedding_batch(TEXTS)
    one = embeddings.get_query_embedding(TEXTS[0])

    wanted = await resources.embedder.embed(TEXTS)
    np.testing.assert_allclose(np.array(made), wanted, atol=1e-7)
    np.testing.assert_allclose(np.array(one), wanted[0], atol=1e-7)
