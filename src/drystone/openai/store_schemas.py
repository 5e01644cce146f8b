"""What of vector stores and their files goes over the wire in more than one place."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len
from pydantic import AllowInfNan, BaseModel, ConfigDict, StrictBool

from drystone.core.errors import Invalid
from drystone.core.numbers import WHOLE
from drystone.core.text import Text
from drystone.documents.queries import Totals

# Files of one request: each becomes a document in the same transaction.
MOST_FILES = 500

Name = Annotated[Text, Len(0, 256)]
Metadata = Annotated[dict[Annotated[Text, Len(1, 64)], Annotated[Text, Len(0, 512)]], Len(0, 16)]
Attributes = Annotated[
    dict[
        Annotated[Text, Len(1, 64)],
        Annotated[Text, Len(0, 512)] | StrictBool | Annotated[int, WHOLE] | Annotated[float, AllowInfNan(False)],
    ],
    Len(0, 16),
]
FileIds = Annotated[list[Text], Len(0, MOST_FILES)]


class Chunking(BaseModel):
    """How files are cut into passages: auto. Sizes can be named and are refused."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["auto", "static"]
    static: dict[str, Any] | None = None

    def check(self) -> None:
        """Raise Invalid unless it is auto."""
        if self.type != "auto":
            raise Invalid(
                "chunking_strategy.fixed",
                "Passages are cut by headings and paragraphs, to what the embedding model reads; their size cannot be chosen.",
                hint='leave chunking_strategy out, or send {"type": "auto"}',
                pointer="/chunking_strategy",
            )


class FileToAttach(BaseModel):
    """A file that is to be put into a vector store."""

    model_config = ConfigDict(extra="forbid")

    file_id: Text
    attributes: Attributes | None = None
    chunking_strategy: Chunking | None = None


class ExpiresAfter(BaseModel):
    """So many days after anybody used it last."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["last_active_at"]
    days: Annotated[int, Ge(1), Le(365), WHOLE]


class FileCounts(BaseModel):
    """Files by what became of them."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int

    @classmethod
    def of(cls, counted: Totals) -> FileCounts:
        return cls(
            in_progress=counted.pending,
            completed=counted.ready,
            failed=counted.failed,
            cancelled=counted.cancelled,
            total=counted.pending + counted.ready + counted.failed + counted.cancelled,
        )


class Content(BaseModel):
    """A stretch of text."""

    type: Literal["text"] = "text"
    text: str


def shown_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Those that OpenAI's clients can read: a document that was sent elsewhere may have lists, objects and null."""
    return {name: value for name, value in attributes.items() if isinstance(value, str | bool | int | float)}
