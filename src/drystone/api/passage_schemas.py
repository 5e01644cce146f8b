"""What the routes of passages that come with their vectors take and give."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, JsonValue, Strict, StrictBool
from pydantic.types import FailFast

from drystone.core.numbers import WHOLE
from drystone.core.text import Text
from drystone.documents import own_vectors
from drystone.documents.filters import Filter
from drystone.documents.own_vectors import MAX_ID, MAX_PASSAGES, MAX_TEXT, Kept, Upserted
from drystone.index.spaces import MAX_DIMENSION
from drystone.search.schemas import MAX_LIMIT, Hit

# The first number that is none ends the look at it: there may be a million.
Vector = Annotated[list[Annotated[float, Strict()]], FailFast(), Len(1, MAX_DIMENSION)]
Id = Annotated[Text, Len(1, MAX_ID)]
Ids = Annotated[list[Id], Len(1, MAX_PASSAGES)]
_VECTOR: list[JsonValue] = [0.1, -0.3, 0.2]


class NewPassage(BaseModel):
    """A passage and its vector, under an id of the caller's."""

    model_config = ConfigDict(extra="forbid")

    # Bounds are only described here: the service refuses what is beyond with codes of its own.
    id: Text = Field(json_schema_extra={"minLength": 1, "maxLength": MAX_ID})
    text: Text = Field(json_schema_extra={"minLength": 1, "maxLength": MAX_TEXT})
    vector: Vector = Field(description="As many numbers as the collection's dimension; its direction counts.")
    attributes: dict[str, Any] = Field({}, description="As documents have; those of before go.")

    def passage(self) -> own_vectors.Passage:
        return own_vectors.Passage(self.id, self.text, self.vector, self.attributes)


class PassagesRequest(BaseModel):
    """Passages to be written, all or none."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "passages": [
                        {"id": "a-1", "text": "Thin shells buckle.", "vector": _VECTOR, "attributes": {"year": 1960}}
                    ]
                }
            ]
        },
    )

    passages: list[NewPassage] = Field(json_schema_extra={"minItems": 1, "maxItems": MAX_PASSAGES})


class UpsertedPassage(BaseModel):
    """What became of a passage."""

    id: str
    is_new: bool = Field(description="Whether there was none of this id before.")


class UpsertedPassages(BaseModel):
    """In the order in which they were sent."""

    passages: list[UpsertedPassage]

    @classmethod
    def of(cls, done: list[Upserted]) -> UpsertedPassages:
        return cls(passages=[UpsertedPassage(id=each.id, is_new=each.is_new) for each in done])


class PassagesByIds(BaseModel):
    """Passages to be read."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ids": ["a-1", "a-2"]}]})

    ids: Ids
    with_vectors: StrictBool = Field(False, description="Give the vectors, too.")


class PassagesToDelete(BaseModel):
    """Passages to be deleted."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ids": ["a-1", "a-2"]}]})

    ids: Ids


class DeletedPassages(BaseModel):
    """How many there were."""

    deleted: int


class KeptPassage(BaseModel):
    """A passage as it is kept."""

    id: str
    text: str
    attributes: dict[str, Any]
    vector: list[float] | None = Field(
        description="Where it was asked for: the direction of what was sent, of length 1, as numbers of 16 bits."
    )


class KeptPassages(BaseModel):
    """In the order in which they were asked for, those that are there."""

    passages: list[KeptPassage]

    @classmethod
    def of(cls, found: list[Kept]) -> KeptPassages:
        return cls(
            passages=[
                KeptPassage(id=each.id, text=each.text, attributes=each.attributes, vector=_listed(each.vector))
                for each in found
            ]
        )


class NearestRequest(BaseModel):
    """A vector, to what lies nearest to it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"vector": _VECTOR, "limit": 4}]})

    vector: Vector
    limit: Annotated[int, WHOLE] = Field(10, json_schema_extra={"minimum": 1, "maximum": MAX_LIMIT})
    filter: Filter | None = Field(None, description="Over the passages' attributes, as that of a search.")
    with_vectors: StrictBool = Field(False, description="Give the vectors, too.")


class NearPassage(KeptPassage):
    """A passage that lies near."""

    score: float = Field(
        description="The cosine of both vectors: 1: one direction; 0: nothing in common; -1: opposite."
    )


class NearestPassages(BaseModel):
    """Best first. exact: every passage was compared; otherwise a graph was walked, which may miss some."""

    hits: list[NearPassage]
    exact: bool
    took_ms: float

    @classmethod
    def hit(cls, hit: Hit, vector: np.ndarray | None) -> NearPassage:
        return NearPassage(
            id=hit.document.external_id or str(hit.document.id),
            text=hit.quote,
            attributes=hit.document.attributes,
            vector=_listed(vector),
            score=min(1.0, max(-1.0, hit.score)),  # of vectors of halves, whose lengths are only near 1
        )


def _listed(vector: np.ndarray | None) -> list[float] | None:
    return None if vector is None else vector.tolist()
