"""How long what is said in a catalogue may be, and how deep: types of whatever reads it, requests and bundles alike."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Len
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from drystone.catalogue import definitions, semver
from drystone.core.text import Text


def _shallow(value: Any) -> Any:
    if definitions.is_too_deep(value):
        raise ValueError(f"is nested deeper than {definitions.DEEPEST} levels")
    return value


def _one_each(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("names one twice")
    return values


MOST_MEMBERS = 5000
Key = Annotated[Text, Len(1, 100)]
Label = Annotated[Text, Len(1, 200)]
Description = Annotated[Text, Len(0, 10_000)]
Message = Annotated[Text, Len(0, 1000)]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,5}$")]
# Language -> names.
Aliases = Annotated[
    dict[Language, Annotated[list[Annotated[Text, Len(1, 200)]], Len(0, 100)]],
    Len(0, 100),
    Field(json_schema_extra={"additionalProperties": False}),
]
Parents = Annotated[list[Key], Len(0, 50)]
Definition = Annotated[dict[str, Any], BeforeValidator(_shallow)]
Version = Annotated[Text, Len(1, 32)]
Members = Annotated[list[Key], Len(0, MOST_MEMBERS), AfterValidator(_one_each)]
# Key of a module -> range of its versions.
Ranges = Annotated[dict[Key, Annotated[Text, Len(1, semver.MOST)]], Len(0, 200)]
