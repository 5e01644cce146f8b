"""Embedding with nothing around it: what ingestion is compared with. In a module of its own for spawned processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool
from pathlib import Path

from benchmarks.corpus import Document
from drystone.adapters.embedding.bundled import BundledEmbedder
from drystone.adapters.parsing import read_text
from drystone.documents import ingest

_AT_ONCE = 16
_embedder: BundledEmbedder


def passages(documents: list[Document], model_dir: Path) -> list[str]:
    """What ingestion embeds of these documents, cut as it cuts them."""
    return [text for texts in passages_of(documents, model_dir) for text in texts]


def passages_of(documents: list[Document], model_dir: Path) -> list[list[str]]:
    """The same, for each document."""
    embedder = BundledEmbedder(model_dir)

    async def cut() -> list[list[str]]:
        found = []
        for document in documents:
            parsed = read_text.read(document.text.encode(), len(document.text) * 4)
            found.append(list((await ingest.chunk(embedder, parsed, document.title, "simple")).contents))
        return found

    return asyncio.run(cut())


@contextmanager
def processes(count: int, model_dir: Path, threads: int) -> Iterator[Pool]:
    """Processes that each hold the model, warmed up."""
    with multiprocessing.get_context("spawn").Pool(count, _open, (model_dir, threads)) as pool:
        pool.map(_embed, [["warm up"] * 4] * count * 2, chunksize=1)
        yield pool


def embed(pool: Pool, texts: list[str]) -> float:
    """Embed all; the seconds it took."""
    began = time.monotonic()
    parts = [texts[start : start + _AT_ONCE] for start in range(0, len(texts), _AT_ONCE)]
    done = sum(pool.imap_unordered(_embed, parts))
    assert done == len(texts)
    return time.monotonic() - began


def _open(model_dir: Path, threads: int) -> None:
    global _embedder  # noqa: PLW0603  one for each process of the pool
    _embedder = BundledEmbedder(model_dir, threads=threads)


def _embed(texts: list[str]) -> int:
    return len(asyncio.run(_embedder.embed(texts)))
