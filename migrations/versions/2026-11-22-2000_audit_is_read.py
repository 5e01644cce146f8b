"""Have the audit read by pages of a workspace, and by what was changed.

Locks: audit against writing while its two indexes are built: some seconds for each million rows.
Back: the downgrade puts the former index back.
"""

from __future__ import annotations

from alembic import op

revision = "0014_audit_is_read"
down_revision = "0013_key_rotation"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local statement_timeout = 0")  # of an index over all that is there
    op.create_index("ix_audit_workspace_id_id", "audit", ["workspace_id", "id"])
    op.create_index("ix_audit_subject_id", "audit", ["subject_id"])
    op.drop_index("ix_audit_workspace_id", table_name="audit")


def downgrade() -> None:
    op.create_index("ix_audit_workspace_id", "audit", ["workspace_id"])
    op.drop_index("ix_audit_subject_id", table_name="audit")
    op.drop_index("ix_audit_workspace_id_id", table_name="audit")
