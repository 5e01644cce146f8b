"""Tables of the catalogue: entities, modules and profiles, their versions, the revisions that brought them about, and drafts.

What `versions`, `members`, `revisions` and `changes` hold is never altered: the application's role may only add and read.
"""

from __future__ import annotations

from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import BigInteger, Enum, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from drystone.core.orm import Base, CreatedAt, Id, Time

EntityType = Literal["category", "property", "subobject"]
Kind = Literal["entity", "module", "profile"]
Action = Literal["put", "delete", "restore"]
DraftStatus = Literal["open", "validated", "submitted", "approved", "rejected", "merged", "expired"]
ENTITY_TYPES: tuple[EntityType, ...] = get_args(EntityType)
KINDS: tuple[Kind, ...] = get_args(Kind)
ACTIONS: tuple[Action, ...] = get_args(Action)
DRAFT_STATUSES: tuple[DraftStatus, ...] = get_args(DraftStatus)
# What becomes expired with time; what was decided otherwise or merged stays so.
EXPIRING: tuple[DraftStatus, ...] = ("open", "validated", "submitted", "approved")

# The job that follows when entities are called something else: their mentions are looked for anew.
NAMES_CHANGED = "mentions.refresh"
# The job that follows when what is said of categories or profiles may fit other documents than before.
SCHEMAS_CHANGED = "documents.recheck"
# What each of them says it costs: it goes where large documents go, and keeps no small ones waiting.
REFRESH_COST = 1 << 30

_ENTITY_TYPE = Enum(*ENTITY_TYPES, name="entity_type")
_KIND = Enum(*KINDS, name="catalogue_kind")
_ACTION = Enum(*ACTIONS, name="catalogue_action")


def _by_key(table: str) -> tuple[Index, ...]:
    """A key belongs to one that is not deleted; those that once had it are found, too."""
    return (
        Index(
            f"uq_{table}_workspace_id_key",
            "workspace_id",
            "key",
            unique=True,
            postgresql_where=sql("deleted_at is null"),
        ),
        Index(f"ix_{table}_workspace_id_key_id", "workspace_id", "key", "id"),
    )


class Catalogue(Base):
    """A workspace's catalogue. Whoever changes it holds this row, so changes of one catalogue are serial."""

    __tablename__ = "catalogues"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    # Of the newest change; 0 before the first.
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    # Another one after each change of what entities are called; None: none ever was. Never used again, whatever is restored.
    names_id: Mapped[UUID | None]


class Revision(Base):
    """A changeset that was applied: when, by whom, why."""

    __tablename__ = "catalogue_revisions"
    __table_args__ = (Index("ix_catalogue_revisions_workspace_id_at", "workspace_id", "at"),)

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    # Later than that of the revision before: taken once the catalogue is held.
    at: Mapped[Time]
    actor: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text, server_default="")


class Change(Base):
    """What a revision did to one entity, module or profile.

    version_id: the version that is current from then on, None after a deletion. What was current at a revision is each
    subject's newest row up to it.
    """

    __tablename__ = "catalogue_changes"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "revision"], ["catalogue_revisions.workspace_id", "catalogue_revisions.revision"]
        ),
        Index("ix_catalogue_changes_kind_subject_id_revision", "workspace_id", "kind", "subject_id", "revision"),
    )

    workspace_id: Mapped[UUID] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    subject_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[Kind] = mapped_column(_KIND)
    action: Mapped[Action] = mapped_column(_ACTION)
    version_id: Mapped[UUID | None]


class Edge(Base):
    """That one refers to another, as its current version says: made of versions, so that who refers is looked up."""

    __tablename__ = "catalogue_edges"
    __table_args__ = (Index("ix_catalogue_edges_target_id", "target_id"),)

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    source_id: Mapped[UUID] = mapped_column(primary_key=True)
    # parent, required, optional; member, dependency; module.
    role: Mapped[str] = mapped_column(Text, primary_key=True)
    target_id: Mapped[UUID] = mapped_column(primary_key=True)
    source_kind: Mapped[Kind] = mapped_column(_KIND)
    target_kind: Mapped[Kind] = mapped_column(_KIND)


class _Subject:
    """What entities, modules and profiles have in common.

    key: for good. current_id: the newest version, also of one that is deleted. revision: counts changes of this row.
    """

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    key: Mapped[str] = mapped_column(Text(collation="C"))
    revision: Mapped[int] = mapped_column(server_default="1")
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    deleted_at: Mapped[Time | None]


class _Published:
    """What versions of them have in common. content_sha256: of all that its author wrote."""

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    number: Mapped[int]
    label: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, server_default="")
    content_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    published_at: Mapped[Time]
    published_by: Mapped[str] = mapped_column(Text)


class Entity(_Subject, Base):
    """A thing there is: a category of things, a property that they have, or a subobject within them. type: for good."""

    __tablename__ = "entities"
    __table_args__ = _by_key("entities")

    type: Mapped[EntityType] = mapped_column(_ENTITY_TYPE)
    current_id: Mapped[UUID | None] = mapped_column(ForeignKey("entity_versions.id", use_alter=True))


class EntityVersion(_Published, Base):
    """What was said of an entity from some revision on."""

    __tablename__ = "entity_versions"
    __table_args__ = (UniqueConstraint("entity_id", "number"),)

    entity_id: Mapped[UUID] = mapped_column(ForeignKey("entities.id"))
    # Language (BCP 47) -> other names in it.
    aliases: Mapped[dict[str, list[str]]] = mapped_column(JSONB, server_default="{}")
    # Keys of entities of the same type.
    parents: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    # JSON Schema 2020-12.
    schema_definition: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")


class Module(_Subject, Base):
    """Entities that are versioned together."""

    __tablename__ = "modules"
    __table_args__ = _by_key("modules")

    current_id: Mapped[UUID | None] = mapped_column(ForeignKey("module_versions.id", use_alter=True))


class ModuleVersion(_Published, Base):
    """A module as it was released under a semantic version; its `Member` rows say with which versions of entities."""

    __tablename__ = "module_versions"
    __table_args__ = (UniqueConstraint("module_id", "number"), UniqueConstraint("module_id", "version"))

    module_id: Mapped[UUID] = mapped_column(ForeignKey("modules.id"))
    version: Mapped[str] = mapped_column(Text)
    # Key of a module -> range of its versions.
    dependencies: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")


class Member(Base):
    """An entity of a module's version, pinned as it was then."""

    __tablename__ = "module_members"
    __table_args__ = (Index("ix_module_members_entity_id", "entity_id"),)

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    module_version_id: Mapped[UUID] = mapped_column(ForeignKey("module_versions.id"), primary_key=True)
    entity_id: Mapped[UUID] = mapped_column(ForeignKey("entities.id"), primary_key=True)
    entity_version_id: Mapped[UUID] = mapped_column(ForeignKey("entity_versions.id"))


class Profile(_Subject, Base):
    """Modules that are chosen for a purpose."""

    __tablename__ = "profiles"
    __table_args__ = _by_key("profiles")

    current_id: Mapped[UUID | None] = mapped_column(ForeignKey("profile_versions.id", use_alter=True))


class ProfileVersion(_Published, Base):
    """What was chosen from some revision on."""

    __tablename__ = "profile_versions"
    __table_args__ = (UniqueConstraint("profile_id", "number"),)

    profile_id: Mapped[UUID] = mapped_column(ForeignKey("profiles.id"))
    # Key of a module -> range of its versions.
    modules: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")


class Draft(Base):
    """Changes that somebody proposes, and the capability link by which whoever holds it may edit them.

    changes: a list of kind, key, action, content, base (the revision of the catalogue that it rests on) and revision (of the
    draft, when it was last edited). base_revision: what a new change rests on. revision: counts changes of this row.
    """

    __tablename__ = "drafts"
    __table_args__ = (
        Index("ix_drafts_workspace_id_id", "workspace_id", "id"),
        Index(
            "ix_drafts_expires_at", "expires_at", postgresql_where=sql(f"status in {EXPIRING} and deleted_at is null")
        ),
    )

    id: Mapped[Id]
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    status: Mapped[DraftStatus] = mapped_column(Enum(*DRAFT_STATUSES, name="draft_status"), server_default="open")
    title: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text, server_default="")
    # Modules follow their members by themselves, as in a changeset.
    bump_modules: Mapped[bool] = mapped_column(server_default="false")
    base_revision: Mapped[int] = mapped_column(BigInteger)
    changes: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    revision: Mapped[int] = mapped_column(server_default="1")
    # The link is `token_prefix.secret`; only the SHA-256 of the secret is kept.
    token_prefix: Mapped[str] = mapped_column(Text, unique=True)
    token_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    revoked_at: Mapped[Time | None]
    # Of the draft, and of its link.
    expires_at: Mapped[Time]
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    submitted_at: Mapped[Time | None]
    # Approved or rejected, and why.
    decided_at: Mapped[Time | None]
    decided_by: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    # The revision of the catalogue that it became.
    merged_revision: Mapped[int | None] = mapped_column(BigInteger)
    deleted_at: Mapped[Time | None]
