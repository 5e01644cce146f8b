"""The bundled embedder: order, shape and meaning of its vectors, and where tokens begin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from drystone.adapters.embedding import Embedder, model, model_id, open_embedder
from drystone.adapters.embedding.bundled import BundledEmbedder
from drystone.adapters.embedding.openai import OpenAIEmbedder
from drystone.core.errors import Invalid
from drystone.core.settings import EmbeddingSettings

MODEL_DIR = Path(__file__).parents[2] / ".drystone" / "models"


@pytest.fixture(scope="module")
def embedder() -> BundledEmbedder:
    return BundledEmbedder(MODEL_DIR)


async def test_rows_have_length_one_in_the_order_of_the_texts(embedder: BundledEmbedder) -> None:
    texts = [f"{'word ' * count}number {count}" for count in (40, 1, 90, 3, 0, 17)]

    together = await embedder.embed(texts)

    assert together.dtype == np.float32
    assert together.shape == (6, 384)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal((await embedder.embed([text]))[0], row)


async def test_no_texts_give_no_rows(embedder: BundledEmbedder) -> None:
    assert (await embedder.embed([])).shape == (0, 384)


async def test_an_empty_text_has_a_vector(embedder: BundledEmbedder) -> None:
    assert np.isfinite(await embedder.embed([""])).all()


async def test_what_means_alike_is_closer(embedder: BundledEmbedder) -> None:
    cat, kitten, rates = await embedder.embed(
        ["A cat sits on the mat.", "A kitten rests on a rug.", "The central bank raised interest rates."]
    )

    assert cat @ kitten > cat @ rates + 0.3


async def test_tokens_beyond_the_limit_have_no_influence(embedder: BundledEmbedder) -> None:
    inside = "stone " * (embedder.max_tokens - 2)

    rows = await embedder.embed([inside, inside + "cats and interest rates", inside.replace("stone", "cat", 1)])

    np.testing.assert_array_equal(rows[0], rows[1])
    assert rows[0] @ rows[2] < 0.9999


async def test_the_loop_runs_on_while_texts_are_embedded(embedder: BundledEmbedder) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await embedder.embed(["stone " * 250] * 10)
    ticking.cancel()

    assert ticks > 10


async def test_a_text_with_half_a_surrogate_pair_is_refused(embedder: BundledEmbedder) -> None:
    with pytest.raises(Invalid) as caught:
        await embedder.embed(["fine", "broken \ud83d here"])

    assert caught.value.code == "embedding.not_unicode"


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("", []),
        ("  \n ", []),
        ("hello world", [0, 6]),
        ("don't", [0, 3, 4]),
        ("中文 ok", [0, 1, 3]),  # a token each
        ("\N{GRINNING FACE} cat", [0, 2]),  # offsets count code points, not bytes or UTF-16 units
        ("Ünïcödé x", [0, 8]),  # one word of the vocabulary once the accents are gone
        ("a [SEP] b", [0, 2, 3, 6, 8]),  # in a text it is a word in brackets, not the model's separator
    ],
)
def test_token_starts_are_code_points(embedder: BundledEmbedder, text: str, starts: list[int]) -> None:
    assert embedder.token_starts(text).tolist() == starts


def test_slices_of_a_long_text_give_the_tokens_of_the_whole(embedder: BundledEmbedder) -> None:
    paragraph = "Boundary-layer control, 3.5 % thicker; naïve Überströmung 中文 (see fig. 2).\n"
    text = paragraph * 4_000
    whole = Tokenizer.from_file(str(model.prepare(MODEL_DIR) / model.TOKENIZER_FILE))
    whole.no_truncation()
    whole.no_padding()

    starts = embedder.token_starts(text)

    assert starts.dtype == np.int64
    assert starts.tolist() == [start for start, _ in whole.encode(text, add_special_tokens=False).offsets]


def test_a_long_run_without_white_space_is_taken_in_slices(embedder: BundledEmbedder) -> None:
    starts = embedder.token_starts("風" * 150_000)

    assert starts.tolist() == list(range(150_000))


async def test_settings_choose_the_embedder() -> None:
    bundled = open_embedder(EmbeddingSettings.model_validate({}), MODEL_DIR)
    remote = open_embedder(
        EmbeddingSettings.model_validate(
            {
                "EMBEDDING_PROVIDER": "openai",
                "EMBEDDING_URL": "http://127.0.0.1:9/v1",
                "EMBEDDING_MODEL": "some-model",
                "EMBEDDING_DIMENSION": 7,
            }
        ),
        MODEL_DIR,
    )

    assert isinstance(bundled, BundledEmbedder)
    assert isinstance(remote, OpenAIEmbedder)
    assert remote.dimension == 7
    assert bundled.model_id != remote.model_id
    await close(bundled, remote)


def test_what_stands_before_passages_is_part_of_the_models_id() -> None:
    def known_as(**variables: str) -> str:
        return model_id(
            EmbeddingSettings.model_validate({"EMBEDDING_PROVIDER": "openai", "EMBEDDING_MODEL": "m"} | variables)
        )

    assert known_as() == known_as(EMBEDDING_QUERY_PREFIX="query: ") == "m"
    assert known_as(EMBEDDING_PASSAGE_PREFIX="passage: ") == "m 'passage: '"


async def close(*embedders: Embedder) -> None:
    for embedder in embedders:
        await embedder.aclose()
