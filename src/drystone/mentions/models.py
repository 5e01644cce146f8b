"""Tables of mentions: where passages name entities, and how far a workspace's are made anew."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from drystone.core.orm import Base, CreatedAt, Time

# The job that makes mentions anew where names changed is `catalogue.models.NAMES_CHANGED`.


class Mentions(Base):
    """That a passage names an entity: `version_text[starts[n]:ends[n]]` each time, in code points, ascending.

    Gone with its passage. No foreign key to entities: their rows stay for ever.
    """

    __tablename__ = "mentions"
    __table_args__ = (
        # An entity's passages, newest document first.
        Index("ix_mentions_entity_id", "entity_id", text("document_id desc"), "chunk_id"),
    )

    chunk_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("chunks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    entity_id: Mapped[UUID] = mapped_column(primary_key=True)
    collection_id: Mapped[UUID]
    document_id: Mapped[UUID]
    starts: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    ends: Mapped[list[int]] = mapped_column(ARRAY(Integer))


class Round(Base):
    """A workspace's passages being looked through for its newest names, document by document.

    names_id: of `catalogues`, the names it is for; mentions of whatever was published after it began are of these, or newer.
    position, ordinal: the last passage looked at; None: none yet. passages: how many it looked at. ended_at: None while it
    is under way.
    """

    __tablename__ = "mention_rounds"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    names_id: Mapped[UUID | None]
    position: Mapped[UUID | None]
    ordinal: Mapped[int | None]
    passages: Mapped[int] = mapped_column(BigInteger, server_default="0")
    began_at: Mapped[CreatedAt]
    ended_at: Mapped[Time | None]
