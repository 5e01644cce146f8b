"""What is told over HTTP of entities that passages mention."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Row

from drystone.catalogue.models import EntityType
from drystone.mentions.queries import Named


class MentionSpan(BaseModel):
    """A stretch of the document's text, in code points, that says the name."""

    start: int
    end: int


class MentioningDocument(BaseModel):
    """The document a passage is from."""

    id: UUID = Field(description="Of the document: `GET /api/v1/documents/{id}`.")
    version_id: UUID = Field(description="The version that offsets are of: the one that serves.")
    version: int = Field(description="Its number.")
    collection: str
    external_id: str | None
    title: str | None
    name: str | None


class MentioningPassage(BaseModel):
    """A passage that mentions the entity. The document's text, cut from start to end (code points), is the quote."""

    document: MentioningDocument
    quote: str
    start: int
    end: int
    page: int | None
    title_path: list[str] = Field(description="The headings above it, outermost first.")
    mentions: list[MentionSpan] = Field(description="Where the entity's names stand, in order.")

    @classmethod
    def of(cls, row: Row[Any]) -> MentioningPassage:
        document = MentioningDocument(
            id=row.document_id,
            version_id=row.version_id,
            version=row.version_number,
            collection=row.collection,
            external_id=row.external_id,
            title=row.title,
            name=row.name,
        )
        spans = zip(row.starts, row.ends, strict=True)
        return cls(
            document=document,
            quote=row.text,
            start=row.start_offset,
            end=row.end_offset,
            page=row.page,
            title_path=row.title_path,
            mentions=[MentionSpan(start=start, end=end) for start, end in spans],
        )


class MentioningPassages(BaseModel):
    """One page of passages."""

    items: list[MentioningPassage]
    next_cursor: str | None

    @classmethod
    def of(cls, found: list[Row[Any]], limit: int) -> MentioningPassages:
        """found: one more than `limit`, where there are so many."""
        last = found[limit - 1] if len(found) > limit else None
        cursor = f"{last.document_id}~{last.chunk_id}" if last else None
        return cls(items=[MentioningPassage.of(row) for row in found[:limit]], next_cursor=cursor)


class MentionedEntity(BaseModel):
    """An entity that a document mentions."""

    id: UUID
    key: str
    type: EntityType
    label: str
    mentions: int = Field(description="How often its names stand there.")
    passages: int = Field(description="In how many passages.")


class MentionedEntities(BaseModel):
    """Entities that a document mentions, most often first."""

    items: list[MentionedEntity]
    total: int = Field(description="How many there are.")

    @classmethod
    def of(cls, found: list[Named], total: int) -> MentionedEntities:
        return cls(items=[MentionedEntity.model_validate(vars(each)) for each in found], total=total)


class MentionsStatus(BaseModel):
    """Whether mentions are those of the names that entities have now."""

    state: Literal["none", "waiting", "under_way", "current"] = Field(
        description="none: no entity ever had a name; waiting: names changed, and a worker will look for them;"
        " under_way: it does; current: all passages were looked through."
    )
    passages: int | None = Field(description="How many the newest round has looked through.")
    began_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, row: Row[Any]) -> MentionsStatus:
        return cls(state=row.state, passages=row.passages, began_at=row.began_at, ended_at=row.ended_at)
