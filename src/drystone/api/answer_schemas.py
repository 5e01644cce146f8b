"""What /ask takes and gives over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat

from drystone.answers import schemas
from drystone.answers.reasons import Reason
from drystone.answers.schemas import (
    DEFAULT_PASSAGES,
    DEFAULT_SENTENCES,
    MAX_PASSAGES,
    MAX_SENTENCES,
    Asked,
    Ending,
    Found,
    Wanted,
)
from drystone.api.search_schemas import HitDocument, Notice
from drystone.core.errors import Invalid
from drystone.core.numbers import WHOLE
from drystone.core.text import Text
from drystone.documents.filters import Filter
from drystone.search.schemas import MAX_LIMIT, MAX_QUERY_CHARACTERS, Collapse, Question
from drystone.search.schemas import Mode as SearchMode

_Name = Annotated[Text, Len(1, 128)]
_Model = Annotated[Text, Len(1, 256)]


class AskRequest(BaseModel):
    """A question to one or several collections, to be answered in sentences."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"question": "why do thin shells buckle", "collection": "papers", "mode": "auto", "stream": False}
            ]
        },
    )

    # As with /search, bounds are described here and refused by the service with codes of its own.
    question: Text = Field(json_schema_extra={"minLength": 1, "maxLength": MAX_QUERY_CHARACTERS})
    mode: Wanted = Field(
        "auto",
        description="generated: written by the configured model, or not at all (422, 503); extractive: sentences of the passages, word by word; auto: by the model where there is one that answers, else extractive.",
    )
    stream: StrictBool = Field(
        False,
        description="true: Server-Sent Events, each sentence as soon as it is there and verified; false: one JSON.",
    )
    passages: Annotated[int, WHOLE] = Field(
        DEFAULT_PASSAGES,
        description="How many passages are searched for, and may be rested on.",
        json_schema_extra={"minimum": 1, "maximum": MAX_PASSAGES},
    )
    sentences: Annotated[int, WHOLE] = Field(
        DEFAULT_SENTENCES,
        description="Of an extractive answer, at most.",
        json_schema_extra={"minimum": 1, "maximum": MAX_SENTENCES},
    )
    collection: _Name | None = Field(None, description="`default` when none is named.")
    collections: list[_Name] | None = Field(None, description="Several collections, searched as one.")
    filter: Filter | None = Field(None, description="Over the documents' attributes and fields, as /search takes it.")
    search_mode: SearchMode = Field("hybrid", description="How passages are searched for: `mode` of /search.")
    max_per_document: Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": MAX_LIMIT}), WHOLE] | None = (
        Field(None, description="At most so many passages of one document.")
    )
    rerank: StrictBool | None = Field(None, description="As /search takes it.")
    merge: StrictBool = Field(False, description="Passages side by side become one, as with /search.")
    collapse: Collapse | None = Field(None, description="As /search takes it.")
    diversity: StrictFloat = Field(
        0.0, description="As /search takes it.", json_schema_extra={"minimum": 0, "maximum": 1}
    )
    model: _Model | None = Field(None, description="With the vectors of this embedding model, as /search takes it.")

    def asked(self) -> Asked:
        """What the room of answers takes. Raises Invalid where collections are named in two ways."""
        if self.collection is not None and self.collections is not None:
            raise Invalid("search.collections", "Name collection or collections, not both.", pointer="/collections")
        question = Question(
            queries=[self.question],
            collections=self.collections if self.collections is not None else [self.collection or "default"],
            mode=self.search_mode,
            limit=self.passages,
            filter=self.filter,
            max_per_document=self.max_per_document,
            rerank=self.rerank,
            model=self.model,
            merge=self.merge,
            collapse=self.collapse,
            diversity=self.diversity,
        )
        return Asked(question, self.mode, self.sentences)


class AnswerPassage(BaseModel):
    """A passage that the answer may rest on. The document's text, cut from start to end (code points), is the quote."""

    number: int = Field(description="What it is called in `support`, from 1; best first.")
    id: str = Field(description="The same for the same passage in any answer: version's id, start and end.")
    document: HitDocument
    quote: str
    start: int
    end: int
    page: int | None = Field(description="From 1; null where the format has none.")
    title_path: list[str] = Field(description="The headings above it.")
    score: float = Field(description="The search's.")

    @classmethod
    def of(cls, passage: schemas.Passage) -> AnswerPassage:
        hit = passage.hit
        return cls(
            number=passage.number,
            id=passage.id,
            document=HitDocument(**vars(hit.document)),
            quote=hit.quote,
            start=hit.start,
            end=hit.end,
            page=hit.page,
            title_path=hit.title_path,
            score=hit.score,
        )


class Support(BaseModel):
    """A span that bears a sentence: text[start:end] of the document and quote[passage_start:passage_end] of the passage are the quote."""

    passage: int = Field(description="Number of the passage.")
    passage_id: str
    document_id: UUID
    version: int = Field(description="Number of the document's version.")
    version_id: UUID
    title: str | None = Field(description="The document's title, else its file's name.")
    start: int = Field(description="In the document's text, in code points.")
    end: int
    passage_start: int = Field(description="In the passage, in code points.")
    passage_end: int
    quote: str

    @classmethod
    def of(cls, span: schemas.Support) -> Support:
        hit = span.passage.hit
        return cls(
            passage=span.passage.number,
            passage_id=span.passage.id,
            document_id=hit.document.id,
            version=hit.document.version,
            version_id=hit.version_id,
            title=hit.document.title or hit.document.name,
            start=hit.start + span.start,
            end=hit.start + span.end,
            passage_start=span.start,
            passage_end=span.end,
            quote=span.quote,
        )


class Verification(BaseModel):
    """How a sentence was held against the passages. Never the model's word."""

    found: Found | None = Field(
        description="How its span was found: verbatim: it is the sentence; quoted: the model quoted it, and it stands there; widened: the sentences round that; searched: looked for here. null: not supported."
    )
    coverage: float = Field(description="Which part of its words stand in the span, 0 to 1.")
    similarity: float | None = Field(description="Cosine of both; null where words had decided.")
    reason: Reason | None = Field(
        description="Why it is not supported: a number, a name or most words do not stand there; a negation or an opposite turns it; no_source: there is no passage. null: it is."
    )
    missing: list[str] = Field(description="What does not stand there.")


class AnswerSentence(BaseModel):
    """A sentence of the answer: plain text, whatever it looks like."""

    text: str
    is_supported: bool = Field(description="false: nothing that was found bears it.")
    support: list[Support] = Field(description="What bears it; empty where nothing does.")
    verification: Verification

    @classmethod
    def of(cls, sentence: schemas.Sentence) -> AnswerSentence:
        return cls(
            text=sentence.text,
            is_supported=sentence.is_supported,
            support=[Support.of(each) for each in sentence.support],
            verification=Verification(
                found=sentence.found,
                coverage=sentence.coverage,
                similarity=sentence.similarity,
                reason=sentence.reason,
                missing=list(sentence.missing),
            ),
        )


class AnswerEnding(BaseModel):
    """What is known of an answer at its end."""

    mode: Literal["extractive", "generated"] = Field(description="Who gave it: nobody wrote an extractive one.")
    is_answered: bool = Field(
        description="false: nothing that was found answers the question, or bears what was written."
    )
    supported: int = Field(description="Sentences that a span bears.")
    unsupported: int = Field(description="Sentences that none does.")
    truncated: bool = Field(description="The model was stopped at ANSWER_MAX_TOKENS.")
    warnings: list[Notice] = Field(
        description="What the answer lacks, and why: also where `auto` fell back to an extractive one."
    )
    took_ms: float

    @classmethod
    def of(cls, ending: Ending) -> AnswerEnding:
        return cls(
            mode=ending.mode,
            is_answered=ending.supported > 0,
            supported=ending.supported,
            unsupported=ending.unsupported,
            truncated=ending.is_cut,
            warnings=[Notice(code=each.code, detail=each.message, hint=each.hint) for each in ending.warnings],
            took_ms=ending.took_ms,
        )


class AskResponse(AnswerEnding):
    """An answer in sentences, and the passages that it was made from."""

    sentences: list[AnswerSentence]
    passages: list[AnswerPassage]
