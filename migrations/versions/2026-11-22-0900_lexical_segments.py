"""Keep the words of passages as postings in segments, in the place of text-search vectors and counts of terms.

Locks: only tables it creates or drops. Every passage that is there is analysed anew, so the time grows with them.
Back: the downgrade makes the vectors and counts again from the passages.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from drystone.index.analysis import ANALYSER_VERSION, LANGUAGES, analyse

revision = "0007_lexical_segments"
down_revision = "0006_ingestion"
branch_labels = None
depends_on = None

_AT_ONCE = 500
# Which chunks can be found by their words, one row each: for checks, and for whoever wants to know.
_VIEW = """
create view lexical_chunks with (security_invoker) as
with held as (
    select collection_id, unnest(chunk_ids) as chunk_id from lexical_segments
    union all
    select collection_id, unnest(chunk_ids) from lexical_additions
), removed as (
    select collection_id, unnest(chunk_ids) as chunk_id from lexical_removals
)
select collection_id, chunk_id from held
where not exists (select 1 from removed where (removed.collection_id, removed.chunk_id) = (held.collection_id, held.chunk_id))
"""
_KNOWN_LANGUAGES = """
update collections set language = case language when 'auto' then 'english' else 'simple' end
where not exists (select 1 from pg_ts_config where cfgname = language)
"""


def upgrade() -> None:
    op.create_table(
        "lexical_additions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("analyser", sa.SmallInteger(), nullable=False),
        sa.Column("languages", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("chunk_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("lengths", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("terms", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("counts", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("ordinals", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("frequencies", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lexical_additions"),
    )
    op.create_table(
        "lexical_segments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("analyser", sa.SmallInteger(), nullable=False),
        sa.Column("languages", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("chunk_count", sa.Integer(), nullable=False),
        sa.Column("chunk_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("lengths", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lexical_segments"),
    )
    op.create_table(
        "lexical_postings",
        sa.Column("segment_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("term", sa.Text(collation="C"), nullable=False),
        sa.Column("ordinals", sa.LargeBinary(), nullable=False),
        sa.Column("frequencies", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["segment_id"],
            ["lexical_segments.id"],
            name="fk_lexical_postings_segment_id_lexical_segments",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("segment_id", "term", name="pk_lexical_postings"),
    )
    # Numbers in no order hardly shrink, and unpacking them would cost more than reading them.
    op.execute(
        "alter table lexical_postings alter ordinals set storage external, alter frequencies set storage external"
    )
    op.create_table(
        "lexical_removals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("chunk_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lexical_removals"),
    )
    for table in ("lexical_additions", "lexical_segments", "lexical_removals"):
        op.create_index(f"ix_{table}_collection_id", table, ["collection_id"], unique=False)
    op.execute(_VIEW)
    _analyse_what_is_there()
    for table in ("statistic_changes", "collection_stats", "term_stats", "lexical"):
        op.drop_table(table)


def _analyse_what_is_there() -> None:
    connection = op.get_bind()
    last = 0
    while True:
        rows = connection.execute(
            sa.text("""
            select c.id, c.collection_id, c.title_path, c.text, k.language
            from chunks c join collections k on k.id = c.collection_id join lexical l on l.chunk_id = c.id
            where c.id > :last order by c.id limit :limit
            """),
            {"last": last, "limit": _AT_ONCE},
        ).all()
        if not rows:
            return
        last = rows[-1].id
        for collection_id in dict.fromkeys(row.collection_id for row in rows):
            _add(connection, [row for row in rows if row.collection_id == collection_id])


def _add(connection: sa.Connection, rows: list[sa.Row[Any]]) -> None:
    language = rows[0].language if rows[0].language in LANGUAGES else "simple"
    lists: dict[str, list[tuple[int, int]]] = {}
    lengths = []
    for ordinal, row in enumerate(rows):
        found = analyse(row.text, language, titles=row.title_path)
        lengths.append(found.length)
        for term, frequency in found.counts.items():
            lists.setdefault(term, []).append((ordinal, min(frequency, 65_535)))
    connection.execute(
        sa.text("""
        insert into lexical_additions
            (collection_id, analyser, languages, chunk_ids, lengths, terms, counts, ordinals, frequencies)
        values (:collection_id, :analyser, array[:language], :chunk_ids, :lengths, :terms, :counts, :ordinals, :frequencies)
        """),
        {
            "collection_id": rows[0].collection_id,
            "analyser": ANALYSER_VERSION,
            "language": language,
            "chunk_ids": [row.id for row in rows],
            "lengths": lengths,
            "terms": list(lists),
            "counts": [len(each) for each in lists.values()],
            "ordinals": [ordinal for each in lists.values() for ordinal, _ in each],
            "frequencies": [frequency for each in lists.values() for _, frequency in each],
        },
    )


def downgrade() -> None:
    op.execute("drop view lexical_chunks")
    op.execute(_KNOWN_LANGUAGES)
    op.create_table(
        "lexical",
        sa.Column("chunk_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("terms", postgresql.TSVECTOR(), nullable=False),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunks.id"], name="fk_lexical_chunk_id_chunks", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("chunk_id", name="pk_lexical"),
    )
    op.create_index("ix_lexical_document_id", "lexical", ["document_id"], unique=False)
    op.create_index(
        "ix_lexical_terms",
        "lexical",
        ["terms"],
        unique=False,
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 1024},
    )
    for table, columns in _statistics().items():
        op.create_table(table, *columns)
    op.create_index("ix_statistic_changes_collection_id", "statistic_changes", ["collection_id"], unique=False)
    op.execute(_FILL_LEXICAL)
    op.execute(_FILL_TERMS)
    op.execute(_FILL_TOTALS)
    for table in ("lexical_removals", "lexical_postings", "lexical_segments", "lexical_additions"):
        op.drop_table(table)


def _statistics() -> dict[str, tuple[sa.schema.SchemaItem, ...]]:
    return {
        "term_stats": (
            sa.Column("collection_id", sa.Uuid(), nullable=False),
            sa.Column("config", sa.Text(), nullable=False),
            sa.Column("term", sa.Text(), nullable=False),
            sa.Column("chunk_count", sa.Integer(), nullable=False),
            sa.PrimaryKeyConstraint("collection_id", "config", "term", name="pk_term_stats"),
        ),
        "collection_stats": (
            sa.Column("collection_id", sa.Uuid(), nullable=False),
            sa.Column("config", sa.Text(), nullable=False),
            sa.Column("chunk_count", sa.BigInteger(), nullable=False),
            sa.Column("word_count", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("collection_id", "config", name="pk_collection_stats"),
        ),
        "statistic_changes": (
            sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
            sa.Column("collection_id", sa.Uuid(), nullable=False),
            sa.Column("config", sa.Text(), nullable=False),
            sa.Column("chunk_count", sa.Integer(), nullable=False),
            sa.Column("word_count", sa.BigInteger(), nullable=False),
            sa.Column("terms", postgresql.ARRAY(sa.Text()), nullable=False),
            sa.Column("term_chunk_counts", postgresql.ARRAY(sa.BigInteger()), nullable=False),
            sa.PrimaryKeyConstraint("id", name="pk_statistic_changes"),
        ),
    }


_FILL_LEXICAL = """
insert into lexical (chunk_id, collection_id, document_id, length, terms)
select id, collection_id, document_id,
       (select coalesce(sum(coalesce(cardinality(positions), 1)), 0) from unnest(terms)), terms
from (
    select c.id, c.collection_id, c.document_id,
           to_tsvector(cast(k.language as regconfig), concat_ws(E'\\n', array_to_string(c.title_path, E'\\n'), c.text)) as terms
    from chunks c join collections k on k.id = c.collection_id
) as analysed
"""
_FILL_TERMS = """
insert into term_stats (collection_id, config, term, chunk_count)
select l.collection_id, k.language, lexeme, count(*)
from lexical l join collections k on k.id = l.collection_id, unnest(l.terms)
group by l.collection_id, k.language, lexeme
"""
_FILL_TOTALS = """
insert into collection_stats (collection_id, config, chunk_count, word_count)
select l.collection_id, k.language, count(*), sum(length)
from lexical l join collections k on k.id = l.collection_id group by l.collection_id, k.language
"""
