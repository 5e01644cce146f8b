"""Makes src/drystone/adapters/embedding/multilingual_centre.npy: what all of multilingual-e5-small's vectors have in common.

python -m benchmarks.centre FOLDER      FOLDER: usr/share/doc/debian-handbook/html of Debian's package debian-handbook

Thirty paragraphs in each of sixteen languages, the mean of each language's vectors, the mean of these, times 0.8.
Made from debian-handbook 11.20220922.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
from selectolax.lexbor import LexborHTMLParser
from tokenizers import Tokenizer

from drystone.adapters.embedding import graph, model, packed

LANGUAGES = [
    "ar-MA",
    "de-DE",
    "el-GR",
    "en-US",
    "es-ES",
    "fa-IR",
    "fr-FR",
    "it-IT",
    "ja-JP",
    "ko-KR",
    "nb-NO",
    "pl-PL",
    "pt-BR",
    "ru-RU",
    "vi-VN",
    "zh-CN",
]
PARAGRAPHS = 30
SHARE = 0.8
FILE = Path(graph.__file__).with_name(model.CENTRE_FILE)


def paragraphs(folder: Path) -> list[str]:
    """Some of a language's paragraphs, of 60 to 1 000 characters."""
    found = [
        " ".join(node.text().split())
        for page in sorted(folder.glob("*.html"))
        for node in LexborHTMLParser(page.read_text(encoding="utf-8")).css("div.para, p")
    ]
    return random.Random(2).sample([text for text in found if 60 < len(text) < 1000], PARAGRAPHS)


def vectors(session: ort.InferenceSession, tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """Vectors of passages that are not centred: float32 (texts, 384)."""
    rows = []
    for text in texts:
        inner = tokenizer.encode(model.E5.passage_prefix + text).ids[: model.E5.max_tokens - 2]
        ids = np.array([[model.E5.first, *inner, model.E5.last]], np.int64)
        rows.append(session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0])
    return np.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.centre", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    spec = importlib.util.find_spec(model.E5.package)
    assert spec
    assert spec.origin
    read = packed.read(Path(spec.origin).with_name("e5-small-q4.bin"))
    with tempfile.TemporaryDirectory() as made:
        graph.quantise(graph.encoder(read.weights, read.words), Path(made) / "uncentred.onnx")
        session = ort.InferenceSession(Path(made) / "uncentred.onnx")
    tokenizer = packed.tokenizer(read)
    means = [vectors(session, tokenizer, paragraphs(folder / language)).mean(axis=0) for language in LANGUAGES]
    centre = np.mean(means, axis=0)
    print(f"length of the mean {np.linalg.norm(centre):.3f}")
    np.save(FILE, (SHARE * centre).astype(np.float16))


if __name__ == "__main__":
    main()
