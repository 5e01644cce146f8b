"""Builds a bundled model's int8 graph from its weights. Needs the packages of the group "model"."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file

from drystone.adapters.embedding.model import DIMENSION
from drystone.adapters.embedding.packed import BLOCK, Blocks
from drystone.core.errors import Unavailable

_HEADS = 12
_EPSILON = 1e-12


def quantise(model: onnx.ModelProto, path: Path) -> None:
    """Write the graph with its weights as int8, one scale a column; activations are scaled as they come."""
    with _quiet_root_logger():
        quantize_dynamic(
            model,
            path,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Attention", "Gather"],
            extra_options={"DefaultTensorType": TensorProto.FLOAT, "MatMulConstBOnly": True},
        )


def try_out(graph_file: Path) -> None:
    """Run the new graph once, so that a runtime which cannot is found at set-up and not in a worker."""
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


def load(weights_file: Path) -> dict[str, np.ndarray]:
    """The weights of a safetensors file: float32 by name."""
    return {
        name: array.astype(np.float32) for name, array in load_file(weights_file).items() if array.dtype != np.int64
    }


def encoder(
    weights: Mapping[str, np.ndarray], words: Blocks | None = None, centre: np.ndarray | None = None
) -> onnx.ModelProto:
    """The BERT sentence encoder in fp32, with onnxruntime's fused operators; of as many layers as there are weights.

    words: their weights where these have 4 bits, which the graph then keeps as they are.
    centre: float (hidden,), taken from each vector of length 1, which is then made that long again.
    Inputs: input_ids and attention_mask, int64 (batch, tokens). Output: float32 (batch, hidden), the mean over the
    unmasked tokens, rows of length 1. Source: Devlin et al. 2018 for the layers; Reimers and Gurevych 2019 for the pooling.
    """
    graph = _Graph()
    hidden = _embeddings(graph, weights, words)
    graph.add("Cast", ["attention_mask"], "mask_int32", to=TensorProto.INT32)
    for layer in count():
        if f"encoder.layer.{layer}.output.dense.weight" not in weights:
            break
        hidden = _layer(graph, weights, layer, hidden)
    if centre is None:
        _mean_of_unit_length(graph, hidden, "embedding")
    else:
        _mean_of_unit_length(graph, hidden, "uncentred")
        centred = graph.add("Sub", ["uncentred", graph.constant("centre", centre.astype(np.float32))], "centred")
        graph.add("LpNormalization", [centred], "embedding", axis=1, p=2)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIMENSION])
    return helper.make_model(
        helper.make_graph(graph.nodes, "encoder", inputs, [output], graph.constants),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(_Graph.FUSED, 1)],
        ir_version=10,
    )


class _Graph:
    """Nodes and constants of an ONNX graph in the making; every call gives the name of its result."""

    FUSED = "com.microsoft"

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def nibbles(self, name: str, array: np.ndarray) -> str:
        """A constant of 4-bit numbers. array: int8 (rows, width) in [-8, 7]; two go into a byte, the first one low."""
        halves = array.view(np.uint8) & 15
        packed = halves[:, 0::2] | halves[:, 1::2] << 4
        self.constants.append(helper.make_tensor(name, TensorProto.INT4, array.shape, packed.tobytes(), raw=True))
        return name

    def add(self, kind: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def fused(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        return self.add(kind, inputs, output, domain=self.FUSED, **attributes)


def _embeddings(graph: _Graph, weights: Mapping[str, np.ndarray], words: Blocks | None) -> str:
    """Word plus position plus token type; the type is always 0, so its row is folded into the positions."""
    positions = graph.constant(
        "positions",
        weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0],
    )
    zero = graph.constant("zero", np.array([0], np.int64))
    if words is None:
        by_word = graph.add(
            "Gather", [graph.constant("words", weights["embeddings.word_embeddings.weight"]), "input_ids"], "by_word"
        )
    else:
        parts = [graph.nibbles("words", words.values), "input_ids", graph.constant("word_scales", words.scales)]
        by_word = graph.fused(
            "GatherBlockQuantized", parts, "by_word", gather_axis=0, quantize_axis=1, block_size=BLOCK
        )
    length = graph.add("Shape", ["input_ids"], "length", start=1, end=2)
    by_position = graph.add("Slice", [positions, zero, length, zero], "by_position")
    both = graph.add("Add", [by_word, by_position], "word_and_position")
    scale = graph.constant("embedding_scale", weights["embeddings.LayerNorm.weight"])
    shift = graph.constant("embedding_shift", weights["embeddings.LayerNorm.bias"])
    return graph.add("LayerNormalization", [both, scale, shift], "hidden_0", epsilon=_EPSILON)


def _layer(graph: _Graph, weights: Mapping[str, np.ndarray], layer: int, hidden: str) -> str:
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
    one = graph.constant("axis_1", np.array([1], np.int64))
    two = graph.constant("axis_2", np.array([2], np.int64))
    mask = graph.add("Cast", ["attention_mask"], "mask_float", to=TensorProto.FLOAT)
    wide_mask = graph.add("Unsqueeze", [mask, two], "mask_wide")
    kept = graph.add("Mul", [hidden, wide_mask], "kept")
    total = graph.add("ReduceSum", [kept, one], "total", keepdims=0)
    count = graph.add("ReduceSum", [mask, one], "count", keepdims=1)
    mean = graph.add("Div", [total, count], "mean")
    graph.add("LpNormalization", [mean], output, axis=1, p=2)
