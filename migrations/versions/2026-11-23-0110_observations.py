"""Create series and what was observed of them: raw rows and hours, in partitions by month.

Partitions belong to the owner. The application has them made, dropped and detached through functions of the owner, which
hold each to the rule of its parent and take from everybody else the right to read it past that.

Locks: only tables it creates.
Back: the downgrade drops these tables with all they hold, and months that were detached.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0018_observations"
down_revision = "0017_catalogue"
branch_labels = None
depends_on = None

_RULE = "(select reaches_everything()) or workspace_id = (select reach_workspace())"
_FUNCTIONS = (
    "make_observation_month(date)",
    "end_observation_months(date, boolean)",
    "observation_months()",
)

_MAKE_MONTH = """
create function make_observation_month(its_month date) returns boolean
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
declare
    parent text;
    made text;
    holder text;
begin
    if its_month <> date_trunc('month', its_month) then
        raise exception 'a month begins with its first day, not with %', its_month using errcode = 'invalid_parameter_value';
    end if;
    if its_month < date '1900-01-01' or its_month > now() + interval '10 years' then
        raise exception '% is not within 1900 and ten years from now', its_month using errcode = 'invalid_parameter_value';
    end if;
    if to_regclass('observations_' || to_char(its_month, 'YYYY_MM')) is not null then
        return false;
    end if;
    -- One at a time, and whoever waited sees what the one before has made: no advisory lock would show that.
    lock table observations in share update exclusive mode;
    if to_regclass('observations_' || to_char(its_month, 'YYYY_MM')) is not null then
        return false;
    end if;
    -- Attached when it is complete: whoever reads or writes other months meanwhile does not wait.
    foreach parent in array array['observations', 'observation_hours'] loop
        made := parent || '_' || to_char(its_month, 'YYYY_MM');
        execute format('create table %I (like %I including all)', made, parent);
        execute format('alter table %I enable row level security, force row level security', made);
        execute format('create policy reach on %I using ((select reaches_everything()) or workspace_id = (select reach_workspace()))', made);
        execute format('create policy owner on %I to current_user using (true)', made);
        for holder in
            select distinct case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end
            from pg_class, aclexplode(relacl) where oid = to_regclass(made) and grantee <> relowner
        loop
            execute format('revoke all on %I from %s', made, holder);
        end loop;
        execute format(
            'alter table %I attach partition %I for values from (%L) to (%L)', parent, made,
            to_char(its_month, 'YYYY-MM-DD') || ' 00:00:00+00',
            to_char(its_month + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00'
        );
    end loop;
    return true;
end
$$
"""

_MONTHS = """
create function observation_months() returns table (month date, raw_bytes bigint, hour_bytes bigint)
language sql stable security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
    select to_date(substr(raw.relname, 14), 'YYYY_MM'), pg_total_relation_size(raw.oid),
           pg_total_relation_size(to_regclass('observation_hours_' || substr(raw.relname, 14)))
    from pg_inherits join pg_class raw on raw.oid = inhrelid
    where inhparent = cast('observations' as regclass)
    order by 1
$$
"""

_END_MONTHS = """
create function end_observation_months(its_first date, is_detached boolean) returns setof date
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC' as $$
declare
    month date;
    parent text;
    ended text;
begin
    if its_first > date_trunc('month', now()) then
        raise exception 'the present month and later ones stay, and so does %', its_first using errcode = 'invalid_parameter_value';
    end if;
    if not exists (select from observation_months() known where known.month < its_first) then
        return;
    end if;
    -- In the order in which everybody else comes to them.
    lock table observations, observation_hours in access exclusive mode;
    for month in select known.month from observation_months() known where known.month < its_first loop
        foreach parent in array array['observations', 'observation_hours'] loop
            ended := parent || '_' || to_char(month, 'YYYY_MM');
            if is_detached then
                execute format('alter table %I detach partition %I', parent, ended);
                execute format('alter table %I rename to %I', ended, 'detached_' || ended || '_' || to_char(clock_timestamp(), 'YYYYMMDDHH24MISS'));
            else
                execute format('drop table %I', ended);
            end if;
        end loop;
        return next month;
    end loop;
end
$$
"""

_DROP_DETACHED = """
do $$
declare gone text;
begin
    for gone in select relname from pg_class where relnamespace = cast('public' as regnamespace)
                and relkind = 'r' and relname like 'detached\\_observation%' loop
        execute format('drop table %I', gone);
    end loop;
end
$$
"""


def upgrade() -> None:
    _create_tables()
    app_role = context.config.attributes["app_role"]
    for table in ("series", "observations", "observation_hours"):
        op.execute(f"alter table {table} enable row level security, force row level security")
        op.execute(f"create policy reach on {table} using ({_RULE})")
        op.execute(f"create policy owner on {table} to current_user using (true)")
    for function in (_MAKE_MONTH, _MONTHS, _END_MONTHS):
        op.get_bind().exec_driver_sql(function)  # a statement of SQLAlchemy would take its colons for parameters
    for name in _FUNCTIONS:
        op.execute(f"revoke execute on function {name} from public")
        op.execute(f'grant execute on function {name} to "{app_role}"')


def downgrade() -> None:
    for name in _FUNCTIONS:
        op.execute(f"drop function {name}")
    op.get_bind().exec_driver_sql(_DROP_DETACHED)
    for table in ("observation_hours", "observations", "series"):
        op.drop_table(table)


def _create_tables() -> None:
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("entity_id", sa.Uuid(), nullable=False),
        sa.Column("metric", sa.Text(collation="C"), nullable=False),
        sa.Column("source", sa.Text(collation="C"), nullable=False),
        sa.Column("unit", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_series_workspace_id_workspaces"),
        sa.ForeignKeyConstraint(["entity_id"], ["entities.id"], name="fk_series_entity_id_entities"),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.UniqueConstraint(
            "workspace_id", "entity_id", "metric", "source", name="uq_series_workspace_id_entity_id_metric_source"
        ),
    )
    op.create_index("ix_series_workspace_id_metric", "series", ["workspace_id", "metric"])
    # No foreign key to series: it would be asked for each row. Whoever adds rows holds the row of their series.
    op.create_table(
        "observations",
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("attributes", postgresql.JSONB(), nullable=True),
        sa.Column("evidence_version_id", sa.Uuid(), nullable=True),
        sa.Column("evidence_start", sa.Integer(), nullable=True),
        sa.Column("evidence_end", sa.Integer(), nullable=True),
        sa.Column("evidence_sha256", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("series_id", "observed_at", name="pk_observations"),
        postgresql_partition_by="range (observed_at)",
    )
    op.create_table(
        "observation_hours",
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("sum", sa.Double(), nullable=False),
        sa.Column("min", sa.Double(), nullable=False),
        sa.Column("max", sa.Double(), nullable=False),
        sa.Column("first", sa.Double(), nullable=False),
        sa.Column("last", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("series_id", "hour", name="pk_observation_hours"),
        postgresql_partition_by="range (hour)",
    )
