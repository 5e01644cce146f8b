"""One of the compared, in a process of its own: a line of JSON in, a line of JSON out.

    python -m benchmarks.stores     (started by `benchmarks.peers`)

open: which one, and where; gives versions. ingest: gives seconds. ask: gives ms and documents of each question.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.stores import Passage, Store

if TYPE_CHECKING:
    import numpy as np

_TOGETHER = 64  # passages handed to a store at a time
# A store gives passages and we want documents: so many passages are asked for each of them.
_PASSAGES_A_DOCUMENT = 2


class Contender(Protocol):
    def ingest(self, path: Path) -> None:
        """Make everything in the file findable."""

    def ask(self, question: str, count: int) -> list[str]:
        """Ids of the best `count` documents, best first, each once."""


class Library:
    """A store and the bundled model, in this process."""

    def __init__(self, store: Store, embedder: Embedder | None) -> None:
        self._store = store
        self._embedder = embedder

    def ingest(self, path: Path) -> None:
        lines = iter(path.read_text(encoding="utf-8").splitlines())
        while part := [Passage(**json.loads(line)) for line in itertools.islice(lines, _TOGETHER)]:
            vectors = self._embedder.many([each.text for each in part]) if self._embedder else None
            self._store.add(part, vectors)
        self._store.finish()

    def ask(self, question: str, count: int) -> list[str]:
        vector = self._embedder.one(question) if self._embedder else None
        found = self._store.search(question, vector, count * _PASSAGES_A_DOCUMENT)
        return list(dict.fromkeys(each.document for each in found))[:count]


class Embedder:
    """The bundled model through its adapter: as many texts at once as the stack has workers, a thread each."""

    def __init__(self, model_dir: Path, threads: int) -> None:
        from drystone.adapters.embedding.bundled import BundledEmbedder

        self._embedder = BundledEmbedder(model_dir)
        self._loops = [asyncio.new_event_loop() for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def one(self, text: str) -> np.ndarray:
        row: np.ndarray = self._run(self._loops[0], [text])[0]
        return row

    def many(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        count = len(self._loops)
        shares = self._pool.map(self._run, self._loops, [texts[number::count] for number in range(count)])
        rows = np.empty((len(texts), self._embedder.dimension), np.float32)
        for number, share in enumerate(shares):
            rows[number::count] = share
        return rows

    def _run(self, loop: asyncio.AbstractEventLoop, texts: Sequence[str]) -> np.ndarray:
        return loop.run_until_complete(self._embedder.embed(texts))


class Drystone:
    """A running stack over HTTP: what a program on the same machine gets."""

    def __init__(self, root: Path) -> None:
        from benchmarks import stacks
        from benchmarks.client import Api

        self._loop = asyncio.new_event_loop()
        self._api = Api(stacks.settings_of(root))

    def ingest(self, path: Path) -> None:
        from benchmarks.client import ingest
        from benchmarks.corpus import Document

        documents = [Document(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        _, done = self._loop.run_until_complete(ingest(self._api, documents, "bench-peers"))
        if done["documents"]["failed"]:
            raise SystemExit(f"not all documents are ready: {done['documents']}")

    def ask(self, question: str, count: int) -> list[str]:
        asked = self._api.ask(query=question, collection="bench-peers", limit=count, max_per_document=1)
        return [hit["document"]["external_id"] for hit in self._loop.run_until_complete(asked)["hits"]]


def _open(name: str, folder: str, database: str, model_dir: str, threads: int) -> Contender:
    if name == "drystone":
        return Drystone(Path(folder))
    store: Store = importlib.import_module(f"benchmarks.stores.{name}").Store(Path(folder), database)
    return Library(store, Embedder(Path(model_dir), threads) if store.needs_vectors else None)


def _ingest(contender: Contender, path: Path) -> dict[str, Any]:
    began = time.perf_counter()
    contender.ingest(path)
    return {"seconds": time.perf_counter() - began}


def _ask(contender: Contender, questions: Sequence[str], count: int) -> dict[str, Any]:
    took_ms, found = [], []
    for question in questions:
        began = time.perf_counter()
        found.append(contender.ask(question, count))
        took_ms.append((time.perf_counter() - began) * 1000)
    return {"took_ms": took_ms, "found": found}


def _answers(orders: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    first = next(orders)
    packages = first.pop("packages")
    contender = _open(**first)
    yield {"versions": {package: metadata.version(package) for package in packages}}
    for order in orders:
        if "ingest" in order:
            yield _ingest(contender, Path(order["ingest"]))
        else:
            yield _ask(contender, order["ask"], order["count"])


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    for answer in _answers(json.loads(line) for line in sys.stdin):
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
