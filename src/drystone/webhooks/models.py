"""Tables of webhooks: who wants to hear of what, and what became of each call."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from drystone.core.orm import Base, CreatedAt, Id, Time
from drystone.jobs.models import Xid8

# The kind of the jobs of this room. The worker's own sender takes them; nobody is nudged for them.
DELIVER = "webhooks.deliver"
PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
STATES = (PENDING, DELIVERED, FAILED)


class Webhook(Base):
    """A server that wants to hear of events. kinds: those it is told of; empty: all.

    (cursor_xid, cursor_id): the last event for which deliveries were made.
    """

    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_workspace_id", "workspace_id"),)

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    url: Mapped[str] = mapped_column(Text)
    # The signing secret is needed in clear for every call: nobody is ever shown it again.
    secret: Mapped[str] = mapped_column(Text)
    # The one before, with which calls are signed too until then.
    previous_secret: Mapped[str | None] = mapped_column(Text)
    previous_until: Mapped[Time | None]
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    collection_id: Mapped[UUID | None]
    cursor_xid: Mapped[int] = mapped_column(Xid8)
    cursor_id: Mapped[int] = mapped_column(BigInteger)
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    # Set when it failed for too long; nothing is sent until somebody enables it again.
    disabled_at: Mapped[Time | None]
    disabled_reason: Mapped[str | None] = mapped_column(Text)


class Delivery(Base):
    """One event for one webhook; the job of kind `webhooks.deliver` with this subject sends it."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint(f"state in {STATES}", name="state"),
        UniqueConstraint("webhook_id", "event_id"),
        Index("ix_webhook_deliveries_created_at", "created_at"),
        Index("ix_webhook_deliveries_pending", "webhook_id", "id", postgresql_where=text("state = 'pending'")),
    )

    id: Mapped[Id]
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    # The event's row may be gone by the time of a late try: the body is kept as it is to be sent.
    event_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default=PENDING)
    tries: Mapped[int] = mapped_column(server_default="0")
    response_status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    delivered_at: Mapped[Time | None]
