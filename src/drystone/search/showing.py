"""From a ranking to the answer: which passages are hits, what a reader sees of each, and why it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Row

from drystone.index import analysis
from drystone.index.lexical import MANY_WORDS, Scored
from drystone.mentions import queries as mentions
from drystone.search import choosing, queries
from drystone.search.choosing import Choice, Chosen, Passage
from drystone.search.context import Search
from drystone.search.fusion import Side
from drystone.search.ranking import Ranked, Wording
from drystone.search.schemas import (
    MAX_FACET_VALUES,
    Answer,
    Contribution,
    Duplicate,
    ExplainedWord,
    Explanation,
    FacetValue,
    Hit,
    HitDocument,
    HitEntity,
    Merged,
    Neighbour,
    Notice,
)


async def choose(search: Search, ranked: Ranked) -> tuple[Choice, dict[int, Row[Any]]]:
    """The hits, and what the database has of each place looked at: a few more than hits, and again more if need be."""
    question = search.question
    choice = Choice(question.limit, merge=question.merge, collapse=question.collapsed)
    rows: dict[int, Row[Any]] = {}
    with search.clock.stage("choose"):
        order = await _order(search, ranked)
        begin, count = 0, question.limit * 3 // 2 + 5 if question.leaves_out else question.limit
        while begin < len(order) and not choice.is_full:
            places = order[begin : begin + count]
            found = await queries.passages(search.session, ranked.candidates[places].tolist())
            for place in places.tolist():
                row = found.get(int(ranked.candidates[place]))
                if row is not None and not choice.is_full:
                    rows[place] = row
                    choice.add(_passage(place, row))
            begin, count = begin + count, count * 2
    return choice, rows


async def show(search: Search, ranked: Ranked, choice: Choice, rows: Mapping[int, Row[Any]]) -> Answer:
    with search.clock.stage("show"):
        hits = await _hits(search, ranked, choice.hits, rows)
    return Answer(
        hits,
        exact=ranked.exact,
        truncated=_is_truncated(search, ranked, choice),
        took_ms=search.clock.total_ms,
        explanation=_explanation(search, ranked, choice) if search.question.explain else None,
        reranked=ranked.rerank is not None,
        warnings=[*await _warnings(search, ranked), *ranked.warnings],
        entities=await _facet(search, ranked),
    )


async def _facet(search: Search, ranked: Ranked) -> list[FacetValue]:
    """Entities of the passages found, by how many mention them; nothing unless asked for."""
    if "entity" not in search.question.facets:
        return []
    found = ranked.candidates[ranked.order].tolist()  # after a reranker some may be gone
    with search.clock.stage("facets"):
        return [
            FacetValue(**row._mapping) for row in await mentions.count_in(search.session, found, limit=MAX_FACET_VALUES)
        ]


async def _entities(search: Search, chosen: Sequence[Chosen], rows: Mapping[int, Row[Any]]) -> list[list[HitEntity]]:
    """For each hit the entities that its passages mention, by key; nothing unless asked for."""
    if not search.question.entities:
        return [[] for _ in chosen]
    hit_of = {rows[each.place].chunk_id: hit for hit, one in enumerate(chosen) for each in one.passages}
    found: list[dict[str, HitEntity]] = [{} for _ in chosen]
    for row in await mentions.of_passages(search.session, hit_of.keys()):
        its = found[hit_of[row.chunk_id]].setdefault(row.key, HitEntity(row.id, row.key, row.type, row.label, []))
        its.mentions.extend(zip(row.starts, row.ends, strict=True))
    return [list(each.values()) for each in found]


async def _warnings(search: Search, ranked: Ranked) -> list[Notice]:
    """What a reader would not guess from the hits, or from that there are none."""
    question, model = search.question, search.within.space.model
    found = []
    if search.within.lacking and question.mode != "lexical":
        names = ", ".join(search.within.lacking)
        found.append(Notice("search.incomplete_model", f"{model} does not have all passages of {names} yet.", None))
    if search.within.by_words and question.mode != "lexical":
        names = ", ".join(search.within.by_words)
        told = f"The vectors of {names} are brought by callers: there the question was answered by its words alone."
        hint = "POST /api/v1/collections/{collection}/passages/search takes a vector of your own"
        found.append(Notice("search.by_words_alone", told, hint))
    if search.unread:
        does = "its scores say nothing" if question.mode == "dense" else "it was answered by its words alone"
        told = f"{model} cannot read the script of the question; {does}."
        hint = "multilingual-e5-small can: docs/guides/models.md; a collection's model is changed without a pause"
        found.append(Notice("search.unread_question", told, hint))
    if ranked.no_words and question.like is None:
        told = "All words of the question are stop words, which are in no index: nothing was looked for by words."
        found.append(Notice("search.only_stop_words", told, "ask with a word that tells something"))
    if not ranked.searchable and search.scope.filter is not None:
        found += [_mismatch(each) for each in await queries.mismatches(search.session, search.scope)]
    found += [_unknown(*each) for each in (await queries.unknown_entities(search.session, search.scope)).items()]
    return found


def _unknown(key: str, meant: Sequence[str]) -> Notice:
    hint = (
        f"is it {' or '.join(map(repr, meant))}?"
        if meant
        else 'GET /api/v1/entities?q=… or "drystone entities list" finds it'
    )
    return Notice(
        "filter.unknown_entity", f"There is no entity {key!r} in the catalogue: no document mentions it.", hint
    )


def _mismatch(each: queries.Mismatch) -> Notice:
    if not each.types:
        told = f"No document here has an attribute {each.key!r} that is a number, a string, true or false."
        return Notice(
            "filter.unknown_attribute", told, "is its name right? a document's attributes tell; lists are not searched"
        )
    told = f"The attribute {each.key!r} is a {' or a '.join(each.types)} here, never a {each.wanted}."
    return Notice("filter.other_type", told, 'values compare only within a type: 1960 is a number, "1960" a string')


def _is_truncated(search: Search, ranked: Ranked, choice: Choice) -> bool:
    """Whether passages were not even looked at, although there is room. Words alone tell when they have no more."""
    if choice.is_full:
        return False
    is_by_words = all(each.dense is None for each in ranked.asked)
    return not ranked.is_all if is_by_words else len(ranked.candidates) < ranked.searchable


async def _order(search: Search, ranked: Ranked) -> np.ndarray:
    """The places that may be hits, best first: so many of a document at most, and the first of them unlike each other."""
    order, question = ranked.order, search.question
    if question.max_per_document is not None:
        of_chunk = await queries.documents_of(search.session, ranked.candidates.tolist())
        of_place = {place: of_chunk[int(ranked.candidates[place])] for place in order.tolist()}
        order = choosing.within(order, of_place, question.max_per_document)
    if question.diversity > 0 and ranked.vectors is not None:
        # A reranker's scores and ours are of two scales: those it did not read stay behind.
        pool = order if ranked.rerank is None else order[np.isfinite(ranked.rerank[order])]
        relevance = np.array([ranked.score(place) for place in pool.tolist()])
        count = 2 * question.limit
        first = choosing.diversified(pool, relevance, ranked.vectors[pool], diversity=question.diversity, count=count)
        order = np.concatenate([first, order[~np.isin(order, pool)]])
    return order


async def _hits(search: Search, ranked: Ranked, chosen: Sequence[Chosen], rows: Mapping[int, Row[Any]]) -> list[Hit]:
    asked, question = ranked.asked, search.question
    terms = _terms(search, asked) if question.highlight else set()
    near = await _neighbours(search, [_ends(each, rows) for each in chosen])
    ids = [int(ranked.candidates[each.best.place]) for each in chosen]
    added = await _contributions(asked, ids) if question.explain else [[] for _ in chosen]
    named = await _entities(search, chosen, rows)
    hits: list[Hit] = []
    for each, around, contributions, entities in zip(chosen, near, added, named, strict=True):
        place, start, quote = each.best.place, each.passages[0].start, each.text
        hits.append(
            _hit(
                each,
                quote,
                rows,
                ranked,
                rank=len(hits) + 1,
                highlights=[
                    (start + first, start + last)
                    for first, last in _spans(quote, terms, rows[place].language, ranked.snapshot.languages)
                ],
                neighbours=around,
                contributions=contributions,
                entities=entities,
            )
        )
    return hits


def _spans(quote: str, terms: set[str], language: str | None, languages: Sequence[str]) -> list[tuple[int, int]]:
    """Where the terms are, as the passage was cut; by the rules of all languages where it does not say by whose."""
    if not terms:
        return []
    return analysis.spans(quote, terms, [language] if language and language in languages else languages)


async def _neighbours(search: Search, ends: Sequence[tuple[int, int]]) -> list[list[Neighbour]]:
    """For each hit those before its first and after its last passage. ends: the chunk ids of both."""
    if not search.question.neighbours:
        return [[] for _ in ends]
    ids = list({chunk_id for pair in ends for chunk_id in pair})
    near = await queries.neighbours(search.session, ids, search.question.neighbours)
    return [
        [_neighbour(each) for each in near[first] if each.distance < 0]
        + [_neighbour(each) for each in near[last] if each.distance > 0]
        for first, last in ends
    ]


def _terms(search: Search, asked: Sequence[Wording]) -> set[str]:
    scored = [each.scored for each in asked if each.scored is not None]
    return {term for each in scored for weight in each.weights for term in weight.token.terms}


def _explanation(search: Search, ranked: Ranked, choice: Choice) -> Explanation:
    asked = ranked.asked
    return Explanation(
        languages=list(ranked.snapshot.languages),
        words=[_explained(each.scored) for each in asked],
        passages=ranked.snapshot.chunk_count,
        searchable=ranked.searchable,
        vectors="none" if all(each.vector is None for each in asked) else "scan" if ranked.exact else "graph",
        best_dense=[each.dense.best for each in asked if each.dense is not None],
        best_lexical=[each.lexical.best for each in asked if each.lexical is not None],
        candidates=len(ranked.candidates),
        reranked_passages=0 if ranked.rerank is None else int(np.isfinite(ranked.rerank).sum()),
        merged_passages=sum(len(hit.passages) - 1 for hit in choice.hits),
        collapsed_passages=sum(len(hit.duplicates) for hit in choice.hits),
        stages=dict(search.clock.stages),
    )


def _passage(place: int, row: Row[Any]) -> Passage:
    return Passage(place, row.version_id, row.ordinal, row.start_offset, row.end_offset, row.text, row.space_before)


def _ends(chosen: Chosen, rows: Mapping[int, Row[Any]]) -> tuple[int, int]:
    """The chunk ids of its first and its last passage."""
    return rows[chosen.passages[0].place].chunk_id, rows[chosen.passages[-1].place].chunk_id


def _hit(
    chosen: Chosen,
    quote: str,
    rows: Mapping[int, Row[Any]],
    ranked: Ranked,
    *,
    rank: int,
    highlights: list[tuple[int, int]],
    neighbours: list[Neighbour],
    contributions: list[Contribution],
    entities: list[HitEntity],
) -> Hit:
    place = chosen.best.place
    first, last, row = (rows[each.place] for each in (chosen.passages[0], chosen.passages[-1], chosen.best))
    dense = _best_of([each.dense for each in ranked.asked], place) if ranked.has_vector(place) else None
    lexical = _best_of([each.lexical for each in ranked.asked], place)
    has_words = lexical is not None and lexical[0] > 0
    return Hit(
        rank=rank,
        score=ranked.score(place),
        document=_document(row),
        version_id=row.version_id,
        title_path=choosing.shared([rows[each.place].title_path for each in chosen.passages]),
        quote=quote,
        start=first.start_offset,
        end=last.end_offset,
        page=first.page,
        page_end=last.page_end,
        ordinal=first.ordinal,
        dense_score=dense[0] if dense else None,
        dense_rank=(dense[1] or None) if dense else None,
        lexical_score=lexical[0] if lexical and has_words else None,
        lexical_rank=(lexical[1] or None) if lexical and has_words else None,
        rerank_score=ranked.rerank_score(place),
        highlights=highlights,
        neighbours=neighbours,
        contributions=contributions,
        merged=[
            Merged(each.start, each.end, rows[each.place].title_path, ranked.score(each.place))
            for each in chosen.passages
            if len(chosen.passages) > 1
        ],
        duplicates=[
            _duplicate(rows[each.passage.place], ranked.score(each.passage.place), is_copy=each.is_copy)
            for each in chosen.duplicates
        ],
        entities=entities,
    )


def _document(row: Row[Any]) -> HitDocument:
    return HitDocument(
        id=row.document_id,
        version=row.version_number,
        version_id=row.version_id,
        collection=row.collection,
        external_id=row.external_id,
        title=row.title,
        name=row.name,
        attributes=row.attributes,
    )


def _duplicate(row: Row[Any], score: float, *, is_copy: bool) -> Duplicate:
    return Duplicate(_document(row), row.start_offset, row.end_offset, row.page, score, is_copy)


def _neighbour(row: Row[Any]) -> Neighbour:
    return Neighbour(row.distance, row.text, row.start_offset, row.end_offset)


async def _contributions(asked: Sequence[Wording], chunk_ids: Sequence[int]) -> list[list[Contribution]]:
    """For each of these passages what each word of the question adds to it, most first; the wording that gives most counts."""
    scored = [each.scored for each in asked if each.scored is not None]
    if sum(len(each.weights) for each in scored) > MANY_WORDS:
        return await asyncio.to_thread(_added, scored, chunk_ids)
    return _added(scored, chunk_ids)


def _added(scored: Sequence[Scored], chunk_ids: Sequence[int]) -> list[list[Contribution]]:
    best: list[dict[str, float]] = [{} for _ in chunk_ids]
    for each in scored:
        found = each.contributions(np.array(chunk_ids, np.int64))
        for row, at in np.argwhere(found > 0).tolist():
            word, score = each.weights[at].token.word, float(found[row, at])
            best[row][word] = max(score, best[row].get(word, 0.0))
    return [
        [Contribution(word, score) for word, score in sorted(words.items(), key=lambda pair: -pair[1])]
        for words in best
    ]


def _explained(scored: Scored | None) -> list[ExplainedWord]:
    return [
        ExplainedWord(weight.token.word, sorted(weight.token.terms), weight.chunks, weight.weight)
        for weight in (scored.weights if scored is not None else ())
    ]


def _best_of(sides: Sequence[Side | None], place: int) -> tuple[float, int] | None:
    """The best score and the best rank (0: none) of a candidate among several wordings; None where none was asked."""
    asked = [side for side in sides if side is not None]
    if not asked:
        return None
    ranks = [int(side.ranks[place]) for side in asked if side.ranks[place]]
    return max(float(side.scores[place]) for side in asked), min(ranks, default=0)
