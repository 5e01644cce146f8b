"""A question to an answer: search as the caller may, have a model write or choose sentences, hold each against the passages."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import numpy as np

from drystone.access.service import Principal
from drystone.adapters.chat import Chat
from drystone.adapters.embedding import Embedder
from drystone.answers import extracting, prompting, verifying
from drystone.answers.context import Answerer
from drystone.answers.reading import Reader, Statement
from drystone.answers.schemas import (
    MAX_PASSAGES,
    MAX_SENTENCES,
    MOST_SENTENCES,
    Asked,
    Ending,
    Passage,
    Sentence,
    Tell,
)
from drystone.answers.verifying import Verifier
from drystone.core import measures, tracing
from drystone.core.errors import Invalid, Unavailable
from drystone.core.logging import get_logger
from drystone.index import analysis
from drystone.search import service as search
from drystone.search.schemas import MAX_QUERY_CHARACTERS, Answer, Notice

log = get_logger(__name__)

# Texts that are embedded in one turn.
_AT_ONCE = 16


@asynccontextmanager
async def answering(answerer: Answerer, principal: Principal, asked: Asked) -> AsyncIterator[Answering]:
    """An answer that is about to be given, with its passages. Whatever can be refused is refused here.

    Raises what search raises; Invalid `answer.no_model` where one is demanded and none configured; Unavailable `server.busy`.
    """
    began = time.perf_counter()
    _check(answerer, asked)
    found = await search.search(answerer.searcher, principal, replace(asked.question, explain=True))
    passages = [Passage(number, hit) for number, hit in enumerate(found.hits, start=1)]
    async with AsyncExitStack() as stack:
        if answerer.chat is not None and asked.mode != "extractive" and passages:
            await stack.enter_async_context(answerer.turns.turn())
        yield Answering(answerer, asked, await _embedder(answerer, principal, asked), passages, found, began)


async def _embedder(answerer: Answerer, principal: Principal, asked: Asked) -> Embedder:
    """That of the collections; where they have none that is configured here, that of new ones: it compares sentences as well."""
    embedders = answerer.searcher.embedders
    try:
        return await embedders.get(answerer.searcher.guesses.guess(principal, asked.question))
    except Unavailable:
        return await embedders.get(embedders.current)


def _check(answerer: Answerer, asked: Asked) -> None:
    (question,) = asked.question.queries
    if not question.strip():
        raise Invalid("answer.empty_question", "The question is empty.", hint="ask something", pointer="/question")
    if len(question) > MAX_QUERY_CHARACTERS:
        raise Invalid(
            "answer.question_too_long",
            f"A question has up to {MAX_QUERY_CHARACTERS} characters; this one has {len(question)}.",
            pointer="/question",
        )
    for name, value, most in (
        ("passages", asked.question.limit, MAX_PASSAGES),
        ("sentences", asked.sentences, MAX_SENTENCES),
    ):
        if not 1 <= value <= most:
            raise Invalid("answer.out_of_range", f"{name} is a number from 1 to {most}.", pointer=f"/{name}")
    if asked.mode == "generated" and answerer.chat is None:
        raise Invalid(
            "answer.no_model",
            "There is no model here that writes answers.",
            hint="ask with mode auto or extractive; whoever runs the server may set ANSWER_URL and ANSWER_MODEL",
            pointer="/mode",
        )


@dataclass
class Answering:
    """One answer on its way. passages: what it may rest on, best first."""

    answerer: Answerer
    asked: Asked
    embedder: Embedder
    passages: Sequence[Passage]
    found: Answer
    began: float

    async def whole(self) -> tuple[list[Sentence], Ending]:
        """All of the answer. Where a model fails in `auto`, nothing that it said is in it."""
        sentences: list[Sentence] = []

        async def keep(sentence: Sentence) -> None:
            sentences.append(sentence)

        ending = await self._measured(keep, sentences.clear)
        return sentences, ending

    async def told(self, tell: Tell) -> Ending:
        """The answer sentence by sentence. Raises Unavailable where a model fails after it has said something."""
        return await self._measured(tell, None)

    async def _measured(self, tell: Tell, take_back: Callable[[], None] | None) -> Ending:
        outcome = "answered"
        try:
            ending = await self._answered(tell, take_back)
            outcome = "answered" if ending.supported else "unsupported" if ending.unsupported else "none"
        except BaseException as exc:
            outcome = measures.reason(exc)
            raise
        finally:
            took_s = time.perf_counter() - self.began
            measures.of(measures.ANSWER_SECONDS, self.asked.mode, outcome).observe(took_s)
        for support, count in (("supported", ending.supported), ("unsupported", ending.unsupported)):
            measures.of(measures.ANSWER_SENTENCES, ending.mode, support).inc(count)
        return replace(ending, took_ms=round(took_s * 1000, 2))

    async def _answered(self, tell: Tell, take_back: Callable[[], None] | None) -> Ending:
        chat, warnings = self.answerer.chat, list(self.found.warnings)
        if chat is None or self.asked.mode == "extractive":
            return await self._extracted(tell, warnings)
        if not self.passages:
            return Ending("generated", 0, 0, warnings=warnings)
        counted = _Counted(tell)
        try:
            return await self._written(chat, counted, warnings)
        except Unavailable as exc:
            if self.asked.mode == "generated" or (counted.all and take_back is None):
                raise
            log.warning("answer.not_written", code=exc.code)
            if take_back is not None:
                take_back()
            return await self._extracted(tell, [*warnings, Notice(exc.code, exc.message, exc.hint)])

    async def _written(self, chat: Chat, counted: _Counted, warnings: list[Notice]) -> Ending:
        """A model's answer, each sentence told as soon as it is whole and has been held against the passages."""
        shown = await asyncio.to_thread(self._shown)
        if len(shown) < len(self.passages):
            warnings.append(
                Notice(
                    "answer.fewer_passages",
                    f"The model was shown {len(shown)} of {len(self.passages)} passages: ANSWER_CONTEXT_TOKENS has no room for more.",
                    None,
                )
            )
        verifier, reader = Verifier(shown, self._languages), Reader()
        with tracing.span("answer write", passages=len(shown)):
            async with chat.talk(prompting.messages(self._question, shown)) as talk:
                async for part in talk:
                    for statement in reader.feed(part):
                        await self._tell(statement, verifier, counted)
            for statement in reader.finish(is_cut=talk.is_cut):
                await self._tell(statement, verifier, counted)
        if talk.is_cut:
            warnings.append(
                Notice(
                    "answer.cut", "The model was stopped at ANSWER_MAX_TOKENS: the end of the answer is missing.", None
                )
            )
        return Ending("generated", counted.supported, counted.all - counted.supported, talk.is_cut, warnings)

    async def _tell(self, statement: Statement, verifier: Verifier, counted: _Counted) -> None:
        if counted.all >= MOST_SENTENCES:
            raise Unavailable(
                "answer.too_many_sentences",
                f"The model wrote more than {MOST_SENTENCES} sentences.",
                hint="ask something narrower, or with mode extractive",
            )
        await counted.tell(await self._verified(statement, verifier))

    async def _verified(self, statement: Statement, verifier: Verifier) -> Sentence:
        candidates = await asyncio.to_thread(verifier.candidates, statement)
        best = verifying.best(candidates)
        if best is None or best.verdict.is_borne:
            return verifying.told(statement.text, best)
        near = [each for each in candidates if each.verdict.may_be_near]
        if near:
            vectors = await self._vectors([statement.text, *(" ".join(each.sources) for each in near)])
            for candidate, similarity in zip(near, [] if vectors is None else vectors[1:] @ vectors[0], strict=False):
                again = verifier.again(statement.text, candidate, float(similarity))
                if again.verdict.is_borne:
                    return verifying.told(statement.text, again, float(similarity))
        return verifying.told(statement.text, best)

    async def _extracted(self, tell: Tell, warnings: list[Notice]) -> Ending:
        """Sentences of the passages, word by word."""
        with tracing.span("answer extract", passages=len(self.passages)):
            tokens = analysis.tokens(self._question, self._languages)
            choices = await asyncio.to_thread(extracting.choices, self.passages, tokens, self._weights, self._languages)
            vectors = None
            if choices and self.embedder.reads(self._question):
                texts = [each.span.quote for each in choices]
                vectors = await self._vectors(texts, query=self._question)
        nearness = None if vectors is None else vectors[1:] @ vectors[0]
        least = extracting.LEAST_BY_WORDS if nearness is None else extracting.LEAST_SCORE
        score = extracting.scores(choices, nearness)
        taken = extracting.choose(choices, score, least=least, count=self.asked.sentences)
        for place in taken:
            near = None if nearness is None else round(float(nearness[place]), 3)
            span = choices[place].span
            await tell(Sentence(span.quote, [span], "verbatim", coverage=1.0, similarity=near))
        return Ending("extractive", len(taken), 0, warnings=warnings)

    async def _vectors(self, texts: Sequence[str], *, query: str | None = None) -> np.ndarray | None:
        """Unit rows, that of the query first; None where the model is away or busy: words then decide alone."""
        try:
            parts = []
            for start in range(0, len(texts), _AT_ONCE):
                async with self.answerer.searcher.turns.turn():
                    parts.append(await self.embedder.embed(texts[start : start + _AT_ONCE]))
            if query is not None:
                parts.insert(0, await self.embedder.embed_queries([query]))
        except Unavailable as exc:
            log.warning("answer.no_vectors", code=exc.code)
            return None
        return np.concatenate(parts)

    def _shown(self) -> list[Passage]:
        """As many of the passages as the model may be shown; the first in any case."""
        sizes = [len(self.embedder.token_starts(each.text)) for each in self.passages]
        sums = list(itertools.accumulate(sizes))
        count = sum(size <= self.answerer.context_tokens for size in sums)
        return list(self.passages[: max(count, 1)])

    @property
    def _question(self) -> str:
        return self.asked.question.queries[0]

    @property
    def _languages(self) -> list[str]:
        """In which the passages may be; the rules of English where nothing is known."""
        known = self.found.explanation.languages if self.found.explanation else []
        return [each for each in known if each != "simple"] or ["english"]

    @property
    def _weights(self) -> dict[str, float]:
        """How rare each word of the question is in the collections."""
        explained = self.found.explanation.words if self.found.explanation else []
        return {word.word: word.weight for words in explained for word in words}


class _Counted:
    """Tells sentences, and counts them."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.all = self.supported = 0

    async def tell(self, sentence: Sentence) -> None:
        self.all += 1
        self.supported += sentence.is_supported
        await self._tell(sentence)
