"""Give documents a date, by which their mentions are counted: that of `published_at`, else the day they were made.

Locks: documents are written anew, and wait meanwhile: some seconds for a million.
A metric that somebody called `mentions` is `sent_mentions` from now on: the name is that of what is counted.
Back: the downgrade drops the column; the metric keeps its new name.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022_documents_have_a_date"
down_revision = "0021_documents_under_schemas"
branch_labels = None
depends_on = None

# The day that published_at begins with. What is written like one and is none, such as the 31st of June, falls into the next
# month. Names nothing of this schema: a dump is restored without a path to it.
_DOCUMENT_DATE = """
create function document_date(attributes jsonb, created_at timestamptz) returns date language sql immutable parallel safe
as $$
    select coalesce(
        case when day is null then null when extract(month from day) = substr(said, 6, 2)::int then day end,
        (created_at at time zone 'UTC')::date
    )
    from (
        select said, case when said ~ '^(?!0000)\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])(?!\\d)'
            then make_date(substr(said, 1, 4)::int, substr(said, 6, 2)::int, 1) + (substr(said, 9, 2)::int - 1)
        end as day
        from (
            select case when jsonb_typeof(attributes -> 'published_at') = 'string' then attributes ->> 'published_at' end
        ) as given (said)
    ) as read
$$
"""
_RENAME = """
update series set metric = 'sent_mentions'
where metric = 'mentions'
  and not exists (
      select from series as other
      where (other.workspace_id, other.entity_id, other.metric, other.source)
          = (series.workspace_id, series.entity_id, 'sent_mentions', series.source)
  )
"""


def upgrade() -> None:
    op.execute("set local statement_timeout = 0")  # of writing all there is anew
    op.execute(_DOCUMENT_DATE)
    op.add_column(
        "documents",
        sa.Column(
            "dated_on", sa.Date(), sa.Computed("document_date(attributes, created_at)", persisted=True), nullable=False
        ),
    )
    op.execute(_RENAME)


def downgrade() -> None:
    op.drop_column("documents", "dated_on")
    op.execute("drop function document_date(jsonb, timestamptz)")
