"""/embeddings: texts to vectors, by the models that collections have."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Len
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from drystone.core.errors import Invalid
from drystone.core.numbers import WHOLE
from drystone.core.text import Text
from drystone.http.dependencies import Caller, ResourcesOf
from drystone.openai import models
from drystone.search import texts

router = APIRouter(prefix="/embeddings", tags=["openai"])

_Texts = Annotated[list[Text], Len(0, texts.MOST)]
# Only to tell whoever sends tokens what to do: no client's tokens are those of a model here.
_Tokens = list[int] | list[list[int]]


class EmbeddingRequest(BaseModel):
    """Texts, and the model that is to read them."""

    model_config = ConfigDict(extra="forbid")

    input: Text | _Texts | _Tokens
    model: Text
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, WHOLE] | None = None
    user: Text | None = Field(None, description="Taken and forgotten.")

    def texts(self) -> list[str]:
        """Raises Invalid for tokens, and for a text without a character."""
        given = [self.input] if isinstance(self.input, str) else self.input
        found = [each for each in given if isinstance(each, str)]
        if len(found) < len(given):
            raise Invalid(
                "input.tokens",
                "Input is a text or a list of texts; tokens are those of another model's vocabulary.",
                hint="send texts; in LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False)",
                pointer="/input",
            )
        if not found or not all(found):
            raise Invalid(
                "input.empty", "The input is empty, or a text of it is.", hint="leave it out", pointer="/input"
            )
        return found


class Embedding(BaseModel):
    """The vector of one text: of length 1, as numbers or as their bytes (float32, little-endian) in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


@router.post("")
async def create(body: EmbeddingRequest, caller: Caller, resources: ResourcesOf) -> Embeddings:
    caller.require("read")
    space = models.find(resources.embedders, body.model)
    if body.dimensions not in (None, space.dimension):
        raise Invalid(
            "dimensions.fixed",
            f"Vectors of {space.model} have {space.dimension} dimensions, never {body.dimensions}.",
            hint="leave dimensions out",
            pointer="/dimensions",
        )
    made = await texts.embed(resources.searcher, space, body.texts())
    encode = _as_base64 if body.encoding_format == "base64" else _as_numbers
    return Embeddings(
        data=[Embedding(index=index, embedding=encode(row)) for index, row in enumerate(made.vectors)],
        model=space.model,
        usage=Usage(prompt_tokens=made.tokens, total_tokens=made.tokens),
    )


def _as_base64(row: np.ndarray) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def _as_numbers(row: np.ndarray) -> Any:
    return row.tolist()
