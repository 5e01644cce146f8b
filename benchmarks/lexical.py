"""Keyword search inside PostgreSQL: writing, merging, size and latency, and whether the best ten are brute force's.

    python -m benchmarks.lexical [--passages 100000] [--questions 500]

Words alone: no vectors, no HTTP, servers of its own. The text is that of `python -m benchmarks.debian`, published twenty
passages at a time and merged as the worker merges. One process asks, one question after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from sqlalchemy import text

from benchmarks import debian, report, stacks
from benchmarks.report import ROOT, say
from drystone import schema
from drystone.core.db import Sessions, make_engine, make_sessions, transaction
from drystone.evaluation import measures
from drystone.index import additions, analysis, lexical, merging
from drystone.index.additions import Words
from drystone.index.analysis import Analysed
from drystone.index.lexical import Lexicon
from drystone.stack.supervise import Servers

LANGUAGE = "english"
PUBLISHED_AT_ONCE, MERGED_EVERY = 20, 25  # passages a publication, publications between two looks of the worker
BEST, COMPARED = 10, 300
# Megabytes of cache, and how often all questions are asked before it is measured.
CACHES = {"nothing kept": (1, 0), "first time": (64, 0), "again": (64, 1)}


async def measure(sessions: Sessions, readers: Sessions, passages: int, questions: Sequence[str]) -> dict[str, Any]:
    collection = uuid4()
    held, seconds = await _publish(sessions, readers, collection, passages)
    latencies = {}
    for name, (megabytes, before) in CACHES.items():
        lexicon = Lexicon(cache_bytes=megabytes << 20)
        for _ in range(before):
            await _latencies(readers, lexicon, collection, questions)
        latencies[name] = await _latencies(readers, lexicon, collection, questions)
        say(f"{name}: {latencies[name]}")
    return {
        "n_chunks": len(held),
        "seconds": seconds,
        "size": await _size(sessions),
        "latency": latencies,
        "same_best_ten": await _same(readers, collection, held, questions[:COMPARED]),
        "compared": min(COMPARED, len(questions)),
    }


async def _publish(
    sessions: Sessions, readers: Sessions, collection: UUID, passages: int
) -> tuple[list[Analysed], dict[str, float]]:
    """Everything analysed, written and merged: what each passage holds, and seconds of each step."""
    held: list[Analysed] = []
    spent: dict[str, float] = defaultdict(float)
    for turn, part in enumerate(_parts(passages), start=1):
        began = time.perf_counter()
        found = [analysis.analyse(each.text, LANGUAGE, titles=each.title_path) for each in part]
        analysed = time.perf_counter()
        words = [Words(len(held) + n, collection, LANGUAGE, each) for n, each in enumerate(found, start=1)]
        async with transaction(sessions) as session:
            await additions.add(session, words)
        written = time.perf_counter()
        held += found
        if turn % MERGED_EVERY == 0:
            await merging.tidy(sessions, readers)
        for step, took_s in (
            ("analyse", analysed - began),
            ("write", written - analysed),
            ("merge", time.perf_counter() - written),
        ):
            spent[step] += took_s
    await merging.tidy(sessions, readers)
    say(f"{len(held)} passages published")
    return held, {name: round(took, 1) for name, took in spent.items()}


def _parts(passages: int) -> Iterator[tuple[debian.Text, ...]]:
    texts = debian.texts(passages)
    while part := tuple(itertools.islice(texts, PUBLISHED_AT_ONCE)):
        yield part


async def _latencies(
    readers: Sessions, lexicon: Lexicon, collection: UUID, questions: Sequence[str]
) -> dict[str, float]:
    took_ms = []
    for question in questions:
        began = time.perf_counter()
        await _ask(readers, lexicon, collection, question)
        took_ms.append((time.perf_counter() - began) * 1000)
    return {f"p{percent}_ms": round(measures.percentile(took_ms, percent), 2) for percent in (50, 95, 99)}


async def _ask(readers: Sessions, lexicon: Lexicon, collection: UUID, question: str) -> tuple[np.ndarray, np.ndarray]:
    async with transaction(readers) as session:
        snapshot = await lexicon.open(session, [collection])
        scored = await snapshot.score(session, analysis.tokens(question, snapshot.languages))
        return scored.top(100)


async def _size(sessions: Sessions) -> dict[str, Any]:
    async with transaction(sessions) as session:
        row = (await session.execute(_SIZE)).one()
    return dict(row._mapping)


async def _same(readers: Sessions, collection: UUID, held: Sequence[Analysed], questions: Sequence[str]) -> int:
    """For how many questions the best ten scores are those of BM25 counted passage by passage."""
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, each in enumerate(held):
        for term, frequency in each.counts.items():
            postings[term].append((place, frequency))
    lengths = [each.length for each in held]
    lexicon, same = Lexicon(cache_bytes=64 << 20), 0
    for question in questions:
        expected = sorted(_brute(postings, lengths, question).values(), reverse=True)[:BEST]
        _, scores = await _ask(readers, lexicon, collection, question)
        same += bool(np.allclose(scores[:BEST], expected, rtol=1e-9)) and len(scores[:BEST]) == len(expected)
    return same


def _brute(postings: dict[str, list[tuple[int, int]]], lengths: Sequence[int], question: str) -> dict[int, float]:
    mean = sum(lengths) / len(lengths)
    scores: dict[int, float] = defaultdict(float)
    for token in analysis.tokens(question, [LANGUAGE]):
        having = dict(pair for term in token.terms for pair in postings.get(term, ()))
        weight = token.frequency * math.log(1 + (len(lengths) - len(having) + 0.5) / (len(having) + 0.5))
        for place, tf in having.items():
            norm = lexical.K1 * (1 - lexical.B + lexical.B * lengths[place] / mean)
            scores[place] += weight * tf * (lexical.K1 + 1) / (tf + norm)
    return scores


async def _run(settings: Any, passages: int, questions: Sequence[str]) -> dict[str, Any]:
    await schema.migrate(settings, ROOT)
    engine = make_engine(settings.database.url.get_secret_value(), pool_size=4)
    readers = make_sessions(engine.execution_options(isolation_level="REPEATABLE READ"))
    try:
        return await measure(make_sessions(engine), readers, passages, questions)
    finally:
        await engine.dispose()


_SIZE = text("""
select (select count(*) from lexical_segments) as segments,
       (select count(*) from lexical_postings) as lists,
       (select sum(octet_length(frequencies)) / 2 from lexical_postings) as postings,
       pg_total_relation_size('lexical_postings') + pg_total_relation_size('lexical_segments') as bytes
""")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lexical", description=__doc__.partition("\n")[0])
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=500)
    arguments = parser.parse_args()
    questions = debian.questions()[: arguments.questions]
    with stacks.temporary_root() as root, Servers(stacks.settings_of(root), root):
        found = asyncio.run(_run(stacks.settings_of(root), arguments.passages, questions))
    title = f"Keyword search among {found['n_chunks']} passages, {len(questions)} questions, ms"
    rows = [(name, *each.values()) for name, each in found["latency"].items()]
    report.table(title, ("cache", "p50", "p95", "p99"), rows)
    say(
        f"{found['same_best_ten']} of {found['compared']} best tens are brute force's; {found['seconds']}; {found['size']}"
    )
    lines = [
        {"n_chunks": found["n_chunks"], "cache": cache, "metric": metric, "value": value}
        for cache, each in found["latency"].items()
        for metric, value in each.items()
    ]
    lines += [
        {"n_chunks": found["n_chunks"], "metric": f"{step}_s", "value": value}
        for step, value in found["seconds"].items()
    ]
    lines += [
        {"n_chunks": found["n_chunks"], "metric": name, "value": int(value)} for name, value in found["size"].items()
    ]
    lines.append(
        {
            "n_chunks": found["n_chunks"],
            "metric": "same_best_ten",
            "value": found["same_best_ten"],
            "of": found["compared"],
        }
    )
    report.save_lines("lexical", lines)


if __name__ == "__main__":
    main()
