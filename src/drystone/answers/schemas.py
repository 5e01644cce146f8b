"""What an answer takes and gives, inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from drystone.answers.reasons import Reason
from drystone.search.schemas import Hit, HitDocument, Notice, Question

Wanted = Literal["auto", "extractive", "generated"]
Mode = Literal["extractive", "generated"]
# How the span that bears a sentence was found: it is the sentence itself; the model quoted it; it is the sentences round what
# the model quoted; or it was looked for here.
Found = Literal["verbatim", "quoted", "widened", "searched"]
DEFAULT_PASSAGES, MAX_PASSAGES = 8, 20
DEFAULT_SENTENCES, MAX_SENTENCES = 3, 10
# Of an answer that a model writes.
MOST_SENTENCES = 100


@dataclass(frozen=True)
class Asked:
    """question: as search takes it, in one wording. sentences: of an extractive answer, at most."""

    question: Question
    mode: Wanted = "auto"
    sentences: int = DEFAULT_SENTENCES


@dataclass(frozen=True, eq=False)
class Passage:
    """A passage that an answer may rest on. number: what it is called in the answer, from 1."""

    number: int
    hit: Hit

    @property
    def id(self) -> str:
        """What is the same passage in any answer: the text of a version never changes."""
        return f"{self.hit.version_id}:{self.hit.start}-{self.hit.end}"

    @property
    def document(self) -> HitDocument:
        return self.hit.document

    @property
    def text(self) -> str:
        return self.hit.quote

    @property
    def titles(self) -> list[str]:
        """What it stands below."""
        return [*([self.document.title] if self.document.title else []), *self.hit.title_path]


@dataclass(frozen=True)
class Support:
    """A span that bears a sentence: `passage.text[start:end] == quote`, in code points."""

    passage: Passage
    start: int
    end: int

    @property
    def quote(self) -> str:
        return self.passage.text[self.start : self.end]

    @property
    def document_id(self) -> UUID:
        return self.passage.document.id


@dataclass(frozen=True)
class Sentence:
    """A sentence of an answer. support: what bears it; empty where nothing does.

    found: how the spans were found. coverage: which part of its words stand there. similarity: cosine of both, where it was
    asked for. reason, missing: why it is not supported.
    """

    text: str
    support: Sequence[Support] = ()
    found: Found | None = None
    coverage: float = 0.0
    similarity: float | None = None
    reason: Reason | None = None
    missing: Sequence[str] = ()

    @property
    def is_supported(self) -> bool:
        return self.reason is None


@dataclass(frozen=True)
class Ending:
    """What is known of an answer once all its sentences are told. is_cut: the model had reached the most it may say."""

    mode: Mode
    supported: int
    unsupported: int
    is_cut: bool = False
    warnings: Sequence[Notice] = field(default_factory=list)
    took_ms: float = 0.0


Tell = Callable[[Sentence], Awaitable[None]]
