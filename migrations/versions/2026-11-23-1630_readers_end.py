"""A reader that has expired sees nothing, within a transaction of before as well: by the clock, not by when that began.

Locks: the function, for a moment. Back: the downgrade puts the function of before in its place.
"""

from __future__ import annotations

from alembic import op

revision = "0027_readers_end"
down_revision = "0026_callers_spaces"
branch_labels = None
depends_on = None

_FUNCTION = """
create or replace function reader_workspace() returns uuid
language sql stable parallel safe security definer set search_path = public, pg_temp as
$$ select workspace_id from readers where role = session_user and (expires_at is null or expires_at > {now}()) $$
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(_FUNCTION.format(now="clock_timestamp"))


def downgrade() -> None:
    op.get_bind().exec_driver_sql(_FUNCTION.format(now="now"))
