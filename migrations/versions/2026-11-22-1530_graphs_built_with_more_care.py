"""Have the graphs of vectors look at 200 candidates for each new vector instead of 64.

Locks: each graph for a moment; none is rebuilt. What is in them already stays as it was linked: REINDEX INDEX CONCURRENTLY
ix_vectors_N_embedding, which hinders nobody, links it anew.
Back: the downgrade sets 64 again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_graphs_with_more_care"
down_revision = "0011_space_between_passages"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _set(200)


def downgrade() -> None:
    _set(64)


def _set(candidates: int) -> None:
    graphs = op.get_bind().scalars(
        sa.text(
            "select index.relname from embedding_spaces as space join pg_class as index"
            " on index.oid = to_regclass('ix_vectors_' || space.id || '_embedding')"
        )
    )
    for graph in list(graphs):
        op.execute(f"alter index {graph} set (ef_construction = {candidates})")
