"""What is ingested and asked: collections in BEIR's layout, or documents made of a vocabulary and a seed."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from drystone.adapters.embedding import model
from drystone.evaluation import judgements


@dataclass(frozen=True)
class Document:
    """One document; its file is `text` as text/plain."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Documents with questions. relevant: query id -> document id -> grade, for the queries that were judged."""

    name: str
    documents: list[Document]
    queries: dict[str, str]
    relevant: dict[str, dict[str, int]] = field(default_factory=dict)


def load(folder: Path) -> Corpus:
    """A BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv.

    A document without text gets its title as text; one without either cannot be found by anybody and is left out.
    """
    documents = []
    for row in _lines(folder / "corpus.jsonl"):
        title, text = row.get("title", "").strip(), row["text"].strip()
        if text or title:
            documents.append(Document(row["_id"], title, text or title))
    queries = judgements.read_queries(folder / "queries.jsonl")
    relevant = judgements.read_judgements(folder / "qrels" / "test.tsv")
    return Corpus(folder.name, documents, queries, relevant)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


class Writer:
    """Writes documents of English words whose frequencies fall as 1 / rank. The same seed writes the same."""

    def __init__(self, model_dir: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._words = _vocabulary(model_dir)
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, len(self._words) + 1)))

    def abstracts(self, count: int) -> list[Document]:
        """Documents of about 180 words, as abstracts have: one passage each."""
        return [self._document(number, paragraphs=1) for number in range(count)]

    def articles(self, count: int) -> list[Document]:
        """Documents of about five passages."""
        return [self._document(number, paragraphs=5) for number in range(count)]

    def reports(self, count: int) -> list[Document]:
        """Documents of about 20 passages."""
        return [self._document(number, paragraphs=20) for number in range(count)]

    def questions(self, count: int) -> list[str]:
        """Questions of four to nine words."""
        return [" ".join(self._choose(self._random.randint(4, 9))) for _ in range(count)]

    def _document(self, number: int, *, paragraphs: int) -> Document:
        text = "\n\n".join(self._paragraph() for _ in range(paragraphs))
        return Document(f"made-{self._seed}-{number}", self._sentence()[:-1], text)

    def _paragraph(self) -> str:
        return " ".join(self._sentence() for _ in range(10))

    def _sentence(self) -> str:
        return " ".join(self._choose(self._random.randint(10, 26))).capitalize() + "."

    def _choose(self, count: int) -> list[str]:
        return self._random.choices(self._words, cum_weights=self._weights, k=count)


def _vocabulary(model_dir: Path) -> list[str]:
    """The whole words of the model's vocabulary, which lists them by frequency."""
    file = model.find_tokenizer(model_dir)
    assert file is not None
    vocabulary: dict[str, int] = Tokenizer.from_file(str(file)).get_vocab()
    words = [word for word in vocabulary if len(word) > 1 and word.isascii() and word.isalpha()]
    return sorted(words, key=vocabulary.__getitem__)
