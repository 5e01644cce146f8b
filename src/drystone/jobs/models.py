"""Tables of the ledger: jobs, and the events that tell what happened."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from drystone.core.orm import Base, CreatedAt, Id, Time

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
STATES = (QUEUED, RUNNING, DONE, FAILED, CANCELLED)

# Jobs named `checks.…` are taken by their message alone: they prove that the broker delivers.
CHECK_KIND = "checks.echo"


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


class Job(Base):
    """One piece of work on one subject.

    attempt: counts claims; it is the fencing token: only the holder of the newest attempt may finish.
    poison_tries: times the subject broke its parser. lost_tries: times the worker vanished.
    transient_tries: times a server was away; never a reason to give up.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state in {STATES}", name="state"),
        Index("ix_jobs_due", "run_after", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_turns", "collection_id", "run_after", "id", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_leases", "lease_until", postgresql_where=text("state = 'running'")),
        Index("ix_jobs_workspace_id_id", "workspace_id", "id"),
        Index("ix_jobs_failed", "workspace_id", "error_code", "id", postgresql_where=text("state = 'failed'")),
        Index("ix_jobs_subject_id", "subject_id"),
        Index("ix_jobs_finished_at", "workspace_id", "finished_at", postgresql_where=text("finished_at is not null")),
    )

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    kind: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[UUID]
    # The collection that the work is for, where it is for one.
    collection_id: Mapped[UUID | None]
    # How much work it is, roughly, in bytes to read: what is small does not queue behind what is large.
    cost: Mapped[int] = mapped_column(BigInteger, server_default="0")
    state: Mapped[str] = mapped_column(Text, server_default=QUEUED)
    attempt: Mapped[int] = mapped_column(server_default="0")
    lease_until: Mapped[Time | None]
    poison_tries: Mapped[int] = mapped_column(server_default="0")
    lost_tries: Mapped[int] = mapped_column(server_default="0")
    transient_tries: Mapped[int] = mapped_column(server_default="0")
    run_after: Mapped[CreatedAt]
    # When the broker was last told of it; the sweep offers again what nobody took.
    offered_at: Mapped[CreatedAt]
    worker: Mapped[str | None] = mapped_column(Text)
    # The trace of the request that made it, where there is one: W3C's traceparent.
    traceparent: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    error_hint: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    started_at: Mapped[Time | None]
    finished_at: Mapped[Time | None]


class Event(Base):
    """Something that happened. Readers go by (xid, id) and stay below the oldest running transaction.

    Identity order is not commit order: a row with a lower id may become visible later. Reading only rows whose
    `xid < pg_snapshot_xmin(pg_current_snapshot())` never skips one.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_workspace_id_xid_id", "workspace_id", "xid", "id"),
        Index("ix_events_subject_id_xid_id", "subject_id", "xid", "id"),
        Index(
            "ix_events_collection_id_xid_id",
            "collection_id",
            "xid",
            "id",
            postgresql_where=text("collection_id is not null"),
        ),
        Index("ix_events_batch_id_xid_id", "batch_id", "xid", "id", postgresql_where=text("batch_id is not null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    xid: Mapped[int] = mapped_column(Xid8, server_default=text("pg_current_xact_id()"))
    at: Mapped[CreatedAt]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    kind: Mapped[str] = mapped_column(Text)
    subject_kind: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[UUID]
    collection_id: Mapped[UUID | None]
    batch_id: Mapped[UUID | None]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")


class Timeline(Base):
    """One row, which `snapshot restore` renews: transaction ids of before count nothing after it."""

    __tablename__ = "timeline"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
