"""Create the catalogue: entities, modules, profiles, their versions, and the revisions that brought them about.

Versions, members, revisions and changes may be added and read by the application's role, never altered.

Locks: only tables it creates.
Back: the downgrade drops these tables with all they hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0017_catalogue"
down_revision = "0016_jobs_know_their_trace"
branch_labels = None
depends_on = None

_TABLES = (
    "catalogues",
    "catalogue_revisions",
    "catalogue_changes",
    "catalogue_edges",
    "entities",
    "entity_versions",
    "modules",
    "module_versions",
    "module_members",
    "profiles",
    "profile_versions",
)
_FOR_GOOD = (
    "catalogue_revisions",
    "catalogue_changes",
    "entity_versions",
    "module_versions",
    "module_members",
    "profile_versions",
)
_ENUMS = {
    "entity_type": ("category", "property", "subobject"),
    "catalogue_kind": ("entity", "module", "profile"),
    "catalogue_action": ("put", "delete", "restore"),
}


def upgrade() -> None:
    for name, values in _ENUMS.items():
        postgresql.ENUM(*values, name=name).create(op.get_bind())
    _create_revisions()
    _create_subjects("entities", _enum("entity_type", "type"))
    _create_versions(
        "entity_versions",
        "entity_id",
        "entities",
        sa.Column("aliases", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("parents", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("schema_definition", postgresql.JSONB(), server_default="{}", nullable=False),
    )
    _create_subjects("modules")
    _create_versions(
        "module_versions",
        "module_id",
        "modules",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("dependencies", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.UniqueConstraint("module_id", "version", name="uq_module_versions_module_id_version"),
    )
    _create_members()
    _create_subjects("profiles")
    _create_versions(
        "profile_versions",
        "profile_id",
        "profiles",
        sa.Column("modules", postgresql.JSONB(), server_default="{}", nullable=False),
    )
    app_role = context.config.attributes["app_role"]
    for table in _TABLES:
        rule = "(select reaches_everything()) or workspace_id = (select reach_workspace())"
        op.execute(f"alter table {table} enable row level security, force row level security")
        op.execute(f"create policy reach on {table} using ({rule})")
        op.execute(f"create policy owner on {table} to current_user using (true)")
    for table in _FOR_GOOD:
        op.execute(f'revoke update, delete on {table} from "{app_role}"')


def downgrade() -> None:
    for subject, versions in (
        ("entities", "entity_versions"),
        ("modules", "module_versions"),
        ("profiles", "profile_versions"),
    ):
        op.drop_constraint(f"fk_{subject}_current_id_{versions}", subject, type_="foreignkey")
    for table in (
        "profile_versions",
        "profiles",
        "module_members",
        "module_versions",
        "modules",
        "entity_versions",
        "entities",
        "catalogue_edges",
        "catalogue_changes",
        "catalogue_revisions",
        "catalogues",
    ):
        op.drop_table(table)
    for name in _ENUMS:
        postgresql.ENUM(name=name).drop(op.get_bind())


def _create_revisions() -> None:
    op.create_table(
        "catalogues",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default="0", nullable=False),
        _of_workspace("catalogues"),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_catalogues"),
    )
    op.create_table(
        "catalogue_revisions",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        _of_workspace("catalogue_revisions"),
        sa.PrimaryKeyConstraint("workspace_id", "revision", name="pk_catalogue_revisions"),
    )
    op.create_index("ix_catalogue_revisions_workspace_id_at", "catalogue_revisions", ["workspace_id", "at"])
    op.create_table(
        "catalogue_changes",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        _enum("catalogue_kind", "kind"),
        _enum("catalogue_action", "action"),
        sa.Column("version_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id", "revision"],
            ["catalogue_revisions.workspace_id", "catalogue_revisions.revision"],
            name="fk_catalogue_changes_workspace_id_revision_catalogue_revisions",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "revision", "subject_id", name="pk_catalogue_changes"),
    )
    op.create_index(
        "ix_catalogue_changes_kind_subject_id_revision",
        "catalogue_changes",
        ["workspace_id", "kind", "subject_id", "revision"],
    )
    op.create_table(
        "catalogue_edges",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Uuid(), nullable=False),
        _enum("catalogue_kind", "source_kind"),
        _enum("catalogue_kind", "target_kind"),
        _of_workspace("catalogue_edges"),
        sa.PrimaryKeyConstraint("source_id", "role", "target_id", name="pk_catalogue_edges"),
    )
    op.create_index("ix_catalogue_edges_target_id", "catalogue_edges", ["target_id"])


def _create_subjects(table: str, *columns: sa.Column[str]) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        *columns,
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("current_id", sa.Uuid(), nullable=True),
        sa.Column("revision", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        _of_workspace(table),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    )
    op.create_index(
        f"uq_{table}_workspace_id_key",
        table,
        ["workspace_id", "key"],
        unique=True,
        postgresql_where=sa.text("deleted_at is null"),
    )
    op.create_index(f"ix_{table}_workspace_id_key_id", table, ["workspace_id", "key", "id"])


def _create_versions(table: str, of: str, subjects: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(
        table,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column(of, sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        *columns,
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint([of], [f"{subjects}.id"], name=f"fk_{table}_{of}_{subjects}"),
        _of_workspace(table),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.UniqueConstraint(of, "number", name=f"uq_{table}_{of}_number"),
    )
    op.create_foreign_key(f"fk_{subjects}_current_id_{table}", subjects, table, ["current_id"], ["id"])


def _create_members() -> None:
    referred: Sequence[tuple[str, str]] = (
        ("module_version_id", "module_versions"),
        ("entity_id", "entities"),
        ("entity_version_id", "entity_versions"),
    )
    op.create_table(
        "module_members",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        *(sa.Column(column, sa.Uuid(), nullable=False) for column, _ in referred),
        *(
            sa.ForeignKeyConstraint([column], [f"{table}.id"], name=f"fk_module_members_{column}_{table}")
            for column, table in referred
        ),
        _of_workspace("module_members"),
        sa.PrimaryKeyConstraint("module_version_id", "entity_id", name="pk_module_members"),
    )
    op.create_index("ix_module_members_entity_id", "module_members", ["entity_id"])


def _enum(name: str, column: str) -> sa.Column[str]:
    return sa.Column(column, postgresql.ENUM(*_ENUMS[name], name=name, create_type=False), nullable=False)


def _of_workspace(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name=f"fk_{table}_workspace_id_workspaces")
