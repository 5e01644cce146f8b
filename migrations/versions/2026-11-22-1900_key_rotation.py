"""Let a key have the secret before beside its present one for a while, and know which key's secret stands in the settings.

Locks: api_keys for a moment. The first key is the one of the settings: no other way to make a key was there.
Back: the downgrade drops the columns; secrets that were replaced are refused from then on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_key_rotation"
down_revision = "0012_graphs_with_more_care"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("previous_secret_sha256", sa.LargeBinary(), nullable=True))
    op.add_column("api_keys", sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("is_from_settings", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("update api_keys set is_from_settings = true where name = 'first key'")


def downgrade() -> None:
    op.drop_column("api_keys", "is_from_settings")
    op.drop_column("api_keys", "previous_until")
    op.drop_column("api_keys", "previous_secret_sha256")
