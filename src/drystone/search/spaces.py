"""Which space a search asks, and so which model embeds its question.

The question is embedded before any SQL, by the model that the collections had when they were last asked. The snapshot that
the search reads tells whether that still holds; where it does not, the question is embedded anew and another snapshot
read. So an answer is of one space, whole, also while somebody switches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from drystone.access.service import Principal
from drystone.core.errors import Conflict, Invalid
from drystone.documents import reembedding
from drystone.documents.models import Collection
from drystone.index.embedders import Embedders
from drystone.index.spaces import Space
from drystone.search.schemas import Question

_ASK_BY_VECTOR = "ask with a vector of your own, POST /api/v1/collections/{collection}/passages/search"
# Names whose space is remembered; beyond, all are forgotten and asked for again.
_REMEMBERED = 10_000


@dataclass(frozen=True)
class Asked:
    """The space that a search asks. lacking: collections of which it does not have all passages yet.

    by_words: collections that are searched by words alone, because their vectors are brought by callers.
    """

    space_id: int
    space: Space
    lacking: Sequence[str] = ()
    by_words: Sequence[str] = ()


class OtherSpace(Exception):
    """The collections have another space than the question was embedded for."""

    def __init__(self, space: Space) -> None:
        super().__init__(space.model)
        self.space = space


class Guesses:
    """The space that each question will probably ask: that of the last one to the same collections."""

    def __init__(self, embedders: Embedders) -> None:
        self._embedders = embedders
        self._spaces: dict[tuple[UUID, str], Space] = {}

    def guess(self, principal: Principal, question: Question) -> Space:
        """The space to embed the question for."""
        if question.model is not None:
            named = [space for space in self._embedders.spaces if space.is_called(question.model)]
            return named[0] if named else self._embedders.current
        return self._spaces.get((principal.workspace_id, question.collections[0]), self._embedders.current)

    def remember(self, principal: Principal, question: Question, space: Space) -> None:
        """What turned out to be so."""
        if question.model is None and self.guess(principal, question) != space:
            if len(self._spaces) >= _REMEMBERED:
                self._spaces.clear()
            self._spaces[principal.workspace_id, question.collections[0]] = space


async def asked(session: AsyncSession, embedders: Embedders, question: Question, found: Sequence[Collection]) -> Asked:
    """The one space of these collections, or that of the model the question names.

    Raises Conflict where there are several, or the model is not configured though it is needed; Invalid where a
    collection does not have the model that was named.
    """
    chosen = {each.id: each.space_id for each in found}
    lacking: list[str] = []
    if question.model is not None:
        for each, (second_id, is_complete) in (await _seconds(session, found)).items():
            if not (await embedders.space(session, chosen[each.id])).is_called(question.model):
                chosen[each.id] = second_id
                lacking += [] if is_complete else [each.name]
        await _check_named(session, embedders, question.model, found, chosen)
    if question.mode == "lexical" or question.vector is not None:
        space_id = chosen[found[0].id]
        return Asked(space_id, await embedders.space(session, space_id), lacking)
    callers = [each for each in found if (await embedders.space(session, chosen[each.id])).is_callers]
    if question.like is not None and callers and len(found) > 1:
        raise _callers(callers, "and a document is like others of its own collection only", "search it alone")
    if question.mode == "dense" and question.like is None and callers:
        raise _callers(callers, "and no model here can embed the question for them", _ASK_BY_VECTOR)
    of_models = [each for each in found if each not in callers]
    by_space = {chosen[each.id]: each for each in of_models}
    if len(by_space) > 1:
        raise await _several(session, embedders, by_space)
    first = (of_models or found)[0]
    space_id = chosen[first.id]
    space = await embedders.space(session, space_id)
    if question.like is None and of_models and space not in embedders.spaces:
        raise _other_model(first, space, embedders)
    return Asked(space_id, space, lacking, [] if question.like is not None else [each.name for each in callers])


async def check_has(
    session: AsyncSession, embedders: Embedders, within: Asked, collection_id: UUID, searched: Sequence[UUID]
) -> None:
    """Raises Conflict unless the passages of this collection have vectors in the space that is asked.

    Those that callers bring say nothing of another collection's, although both lie in one space.
    """
    home = await session.get_one(Collection, collection_id)
    if within.space.is_callers and collection_id not in searched:
        raise _callers([home], "and a document is like others of its own collection only", "search that one")
    second_id, _ = (await _seconds(session, [home])).get(home, (home.space_id, True))
    if within.space_id not in (home.space_id, second_id):
        raise Conflict(
            "search.like_other_model",
            f"The document is in the collection {home.name!r}, embedded with {await _model(session, embedders, home.space_id)};"
            f" those searched are with {within.space.model}, and their vectors say nothing of each other.",
            hint="look for what is like it by words only (mode lexical)",
            pointer="/like",
        )


async def _seconds(session: AsyncSession, found: Sequence[Collection]) -> dict[Collection, tuple[int, bool]]:
    second = await reembedding.second_spaces(session, found)
    return {each: second[each.id] for each in found if each.id in second}


async def _model(session: AsyncSession, embedders: Embedders, space_id: int) -> str:
    return (await embedders.space(session, space_id)).model


async def _check_named(
    session: AsyncSession, embedders: Embedders, model: str, found: Sequence[Collection], chosen: dict[UUID, int]
) -> None:
    for each in found:
        if not (await embedders.space(session, chosen[each.id])).is_called(model):
            has = await _model(session, embedders, each.space_id)
            raise Invalid(
                "search.no_such_model",
                f"The collection {each.name!r} is not embedded with {model!r}.",
                hint=f"it is with {has}; leave model out, or start a change of its model",
                pointer="/model",
            )


async def _several(session: AsyncSession, embedders: Embedders, by_space: dict[int, Collection]) -> Conflict:
    each = [f"{one.name} ({await _model(session, embedders, space_id)})" for space_id, one in by_space.items()]
    return Conflict(
        "search.several_models",
        "These collections are embedded with different models, whose scores say nothing of each other: "
        + ", ".join(each)
        + ".",
        hint="search them one by one, or by words only (mode lexical)",
    )


def _callers(collections: Sequence[Collection], why: str, hint: str) -> Conflict:
    names = ", ".join(each.name for each in collections)
    return Conflict(
        "search.callers_vectors",
        f"The vectors of {names} are brought by callers, {why}.",
        hint=f"{hint}, or search by words only (mode lexical)",
    )


def _other_model(collection: Collection, space: Space, embedders: Embedders) -> Conflict:
    configured = " and ".join(each.model for each in embedders.spaces)
    return Conflict(
        "search.other_model",
        f"The collection {collection.name!r} was embedded with {space.model}; configured here is {configured}.",
        hint="name its model in the EMBEDDING_ or NEXT_EMBEDDING_ variables, or search by words only (mode lexical)",
    )
