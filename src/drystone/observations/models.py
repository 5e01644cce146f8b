"""Tables of observations: series, raw rows and hours. The latter two lie in partitions, a pair for each month (UTC).

Partitions are no part of the metadata: `months` has them made.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Double, ForeignKey, Identity, Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from drystone.core.orm import Base, CreatedAt, Time


class Series(Base):
    """What one source says of one metric of one entity. unit: of all its values; None: they have none."""

    __tablename__ = "series"
    __table_args__ = (
        UniqueConstraint("workspace_id", "entity_id", "metric", "source"),
        Index("ix_series_workspace_id_metric", "workspace_id", "metric"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    entity_id: Mapped[UUID] = mapped_column(ForeignKey("entities.id"))
    metric: Mapped[str] = mapped_column(Text(collation="C"))
    source: Mapped[str] = mapped_column(Text(collation="C"))
    unit: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]


class Observation(Base):
    """A value at a moment. evidence: where it was read, in a version of a document, which may be gone by now.

    evidence_start, evidence_end: code points of the version's text. evidence_sha256: of what stood there.
    """

    __tablename__ = "observations"
    __table_args__ = ({"postgresql_partition_by": "range (observed_at)"},)

    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    observed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    workspace_id: Mapped[UUID]
    value: Mapped[float] = mapped_column(Double)
    attributes: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    evidence_version_id: Mapped[UUID | None]
    evidence_start: Mapped[int | None]
    evidence_end: Mapped[int | None]
    evidence_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)


class ObservationHour(Base):
    """What the raw rows of one hour (UTC) of a series amount to. Made anew from them in the transaction of each change."""

    __tablename__ = "observation_hours"
    __table_args__ = ({"postgresql_partition_by": "range (hour)"},)

    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hour: Mapped[Time] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID]
    count: Mapped[int]
    sum: Mapped[float] = mapped_column(Double)
    min: Mapped[float] = mapped_column(Double)
    max: Mapped[float] = mapped_column(Double)
    first: Mapped[float] = mapped_column(Double)
    last: Mapped[float] = mapped_column(Double)
