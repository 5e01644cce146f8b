"""Tables of access: workspaces, API keys, visits, readers, audit, idempotency keys."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from drystone.core.orm import Base, CreatedAt, Id, Time


class Workspace(Base):
    """The outermost boundary: nothing is ever read across it."""

    __tablename__ = "workspaces"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[CreatedAt]


class ApiKey(Base):
    """A key `prefix.secret`; only the SHA-256 of the secret is kept.

    Until previous_until the secret before is right, too. is_from_settings: its secret is DRYSTONE_API_KEY.
    """

    __tablename__ = "api_keys"

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text, unique=True)
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    previous_secret_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_until: Mapped[Time | None]
    is_from_settings: Mapped[bool] = mapped_column(server_default="false")
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    # None: every collection of the workspace.
    collection_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    # What may be uploaded between two midnights UTC; None: as much as the settings say.
    documents_per_day: Mapped[int | None]
    bytes_per_day: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Time | None]
    revoked_at: Mapped[Time | None]
    last_used_at: Mapped[Time | None]


class Visit(Base):
    """Somebody who showed a key in a browser. secret_sha256: the secret that was shown; once it is no longer right, nor is this."""

    __tablename__ = "visits"
    __table_args__ = (Index("ix_visits_workspace_id_expires_at", "workspace_id", "expires_at"),)

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    token_sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Time]


class Reader(Base):
    """A role of PostgreSQL with which a tool reads the views of the schema `reading`, and what it sees there.

    What is not here is asked of PostgreSQL: its password, limits, and whether there is such a role at all.
    """

    __tablename__ = "readers"
    # It becomes part of statements as it is.
    __table_args__ = (CheckConstraint("role ~ '^drystone_reader_[a-z0-9]+$'", name="role"),)

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    role: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    # None: every collection of the workspace.
    collection_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Time | None]


class AuditEntry(Base):
    """One change, written in the change's own transaction. The application role may add and read, never alter."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_workspace_id_id", "workspace_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    at: Mapped[CreatedAt]
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject_kind: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[UUID | None] = mapped_column(index=True)
    request_id: Mapped[str | None] = mapped_column(Text)
    before_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    after_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")


class UploadUsage(Base):
    """What one actor uploaded on one day (UTC): counted in the upload's own transaction."""

    __tablename__ = "upload_usage"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    actor: Mapped[str] = mapped_column(Text, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    documents: Mapped[int] = mapped_column(server_default="0")
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class IdempotencyKey(Base):
    """The answer once given to a request, so that its repetition gets the same one.

    Without an answer yet, the request is in flight until locked_until; whoever comes later may take it over.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("workspace_id", "actor", "key"),)

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    actor: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    request_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    response_status: Mapped[int | None]
    response_headers: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    response_body: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[CreatedAt]
    locked_until: Mapped[Time | None]
    expires_at: Mapped[Time | None] = mapped_column(index=True)
