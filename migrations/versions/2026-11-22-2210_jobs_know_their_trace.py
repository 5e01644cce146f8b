"""Jobs carry the trace of the request that made them, so that the worker goes on with it.

Locks: jobs for a moment; a column without a default rewrites nothing.
Back: the downgrade drops the column; traces then end with the request.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016_jobs_know_their_trace"
down_revision = "0015_row_level_security"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.Text()))


def downgrade() -> None:
    op.drop_column("jobs", "traceparent")
