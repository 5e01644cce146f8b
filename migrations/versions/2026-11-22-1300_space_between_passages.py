"""Keep the white space before each passage, so that neighbouring passages can be quoted as one.

Locks: chunks for a moment; no row is written. Passages of before have none until their document is read anew: they are
joined only where they touch or overlap.
Back: the downgrade drops the column.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011_space_between_passages"
down_revision = "0010_reembeddings"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chunks", sa.Column("space_before", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("chunks", "space_before")
