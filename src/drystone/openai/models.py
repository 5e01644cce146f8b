"""/models: the embedding models there are."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from drystone.core.errors import NotFound
from drystone.http.dependencies import Caller, ResourcesOf
from drystone.index.embedders import Embedders
from drystone.index.spaces import Space

router = APIRouter(prefix="/models", tags=["openai"])

OWNER = "drystone"


class Model(BaseModel):
    """An embedding model. created: nobody knows when; 0, as it must be a number."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = OWNER


class Models(BaseModel):
    """All of them, that of new vector stores first."""

    object: Literal["list"] = "list"
    data: list[Model]


def find(embedders: Embedders, name: str) -> Space:
    """The space of the model that is called so. Raises NotFound."""
    for space in embedders.spaces:
        if space.is_called(name):
            return space
    there = ", ".join(space.model for space in embedders.spaces)
    raise NotFound(
        "model_not_found", f"There is no model {name!r}.", hint=f"use one of those there are: {there}", pointer="/model"
    )


@router.get("")
async def list_(caller: Caller, resources: ResourcesOf) -> Models:
    caller.require("read")
    return Models(data=[Model(id=space.model) for space in resources.embedders.spaces])


@router.get("/{model:path}")
async def get(model: str, caller: Caller, resources: ResourcesOf) -> Model:
    caller.require("read")
    return Model(id=find(resources.embedders, model).model)
