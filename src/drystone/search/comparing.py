"""The two models of a collection asked the same questions: how much would an answer change?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drystone.access.service import Principal
from drystone.core.db import transaction
from drystone.core.errors import Conflict
from drystone.documents import reembedding
from drystone.evaluation.agreement import DEPTH, Agreement
from drystone.search import service
from drystone.search.context import Searcher
from drystone.search.schemas import Mode, Question

MAX_QUESTIONS = 100


@dataclass(frozen=True)
class Compared:
    """active: the model that searches ask. lacking: passages the other does not have yet. ours: active, theirs: other."""

    active: str
    other: str
    lacking: int
    agreements: Sequence[Agreement]


async def compare(
    searcher: Searcher, principal: Principal, collection: str, questions: Sequence[str], *, mode: Mode
) -> Compared:
    """The documents that either model finds for each question, each document once. Raises Conflict where there is one model."""
    async with transaction(searcher.sessions.within(principal.reach)) as session:
        found = await reembedding.status(session, principal, searcher.embedders, collection)
    if found.second is None or found.fill is None:
        raise Conflict(
            "embedding.single",
            f"The collection {found.collection.name!r} has one model: {found.active.model}.",
            hint="start a change first",
        )
    models = found.active.model, found.second.model
    if models[0] == models[1]:
        models = found.active.full_name, found.second.full_name
    agreements = []
    for asked in questions:
        ours, theirs = [await _ranked(searcher, principal, collection, asked, mode, model) for model in models]
        agreements.append(Agreement(asked, ours[0], theirs[0], (ours[1], theirs[1])))
    return Compared(*models, found.fill.total - found.fill.done, agreements)


async def _ranked(
    searcher: Searcher, principal: Principal, collection: str, asked: str, mode: Mode, model: str
) -> tuple[list[str], float]:
    """Ids of documents, best first, and the milliseconds it took."""
    rerank = False if mode == "dense" else None  # dense is what the models alone do
    question = Question([asked], [collection], mode=mode, limit=DEPTH, max_per_document=1, model=model, rerank=rerank)
    answer = await service.search(searcher, principal, question)
    return [str(hit.document.id) for hit in answer.hits], answer.took_ms
