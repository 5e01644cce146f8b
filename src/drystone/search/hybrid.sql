-- Hybrid search of one collection: BM25 over words, nearest vectors, and their fusion. One statement.
--
-- To try it in psql, set the variables first, for instance:
--   \set collection_id '''0199…'''  \set config '''english'''  \set query '''why do shells buckle'''
--   \set vectors vectors_1  \set vector '''[0.01, …]'''  \set visible true  \set exact true
--   \set use_lexical true  \set use_dense true  \set depth 100  \set pool 1000  \set top 10
--
-- BM25 with k1 = 1.2, b = 0.75 and the frequency of a term in the question (Robertson, Zaragoza 2009, section 3).
-- Candidates come from the terms that are rare enough to select anything; scores come from all terms.
-- How often a term stands in a chunk is read back from ts_rank: for one term of weight 1 found tf times it is
-- (1 + 1/4 + … + 1/tf²) / (π²/6), so 1 / (π²/6 · (1 - ts_rank)) - 0.5 rounds to tf exactly (up to the 255 positions a
-- tsvector holds). Four times faster than unnesting the vectors; a test compares the two.
-- Fusion: distribution-based (DBSF): each list scaled by mean ± 3 standard deviations, then added; absent counts as 0.

with question as materialized (
    select lexeme as term, coalesce(cardinality(positions), 1) as question_frequency
    from unnest(to_tsvector(cast(cast(:config as text) as regconfig), :query))
    where :use_lexical
),
pending as materialized (
    select chunk_count, word_count, terms, term_chunk_counts
    from statistic_changes
    where collection_id = :collection_id and config = :config and :use_lexical
),
totals as materialized (
    select cast(sum(chunk_count) as float8) as chunks,
           cast(sum(word_count) as float8) / greatest(sum(chunk_count), 1) as mean_length
    from (
        select chunk_count, word_count from collection_stats
        where collection_id = :collection_id and config = :config
        union all
        select chunk_count, word_count from pending
    ) as part
),
frequency as (
    select term, cast(sum(n) as float8) as chunks_with
    from (
        select term, chunk_count as n
        from term_stats
        where collection_id = :collection_id and config = :config and term = any (array(select term from question))
        union all
        select changed.term, changed.n
        from pending, unnest(pending.terms, pending.term_chunk_counts) as changed (term, n)
        where changed.term = any (array(select term from question))
    ) as part
    group by term
    having sum(n) > 0
),
weighted as materialized (
    select '''' || replace(replace(term, '\', '\\'), '''', '''''') || '''' as quoted,
           question_frequency * ln(1 + (chunks - chunks_with + 0.5) / (chunks_with + 0.5)) as weight,
           chunks_with <= 0.1 * chunks
               or row_number() over by_rarity = 1
               or sum(chunks_with) over by_rarity <= cast(:pool as bigint) as selects
    from question join frequency using (term), totals
    window by_rarity as (order by chunks_with, term)
),
selecting as materialized (
    select cast(string_agg(quoted, ' | ') as tsquery) as terms from weighted where selects
),
candidate as materialized (
    select chunk_id, length, terms
    from lexical
    where collection_id = :collection_id
      and lexical.terms @@ (select terms from selecting)
      and :visible
    order by ts_rank(lexical.terms, (select terms from selecting), 1) desc, chunk_id
    limit :pool
),
found as (
    select chunk_id, length, weight, cast(ts_rank('{1, 1, 1, 1}', candidate.terms, term) as float8) as rank
    from candidate, (select weight, cast(quoted as tsquery) as term from weighted offset 0) as each_term
),
lexical_hit as (
    select chunk_id,
           sum(weight * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / mean_length))) as score
    from (
        select chunk_id, length, weight, round(1 / (1.6449340668482264 * (1 - rank)) - 0.5) as tf
        from found
        where rank > 0
    ) as counted, totals
    group by chunk_id
    order by score desc, chunk_id
    limit :depth
),
scanned as materialized (
    select chunk_id, embedding
    from :vectors
    where :exact and :use_dense and collection_id = :collection_id and :visible
),
dense_hit as (
    select chunk_id, score
    from (
        select chunk_id, -(embedding <#> cast(:vector as halfvec)) as score
        from scanned
        order by score desc, chunk_id
        limit :depth
    ) as by_scan
    union all
    select chunk_id, -distance
    from (
        select chunk_id, embedding <#> cast(:vector as halfvec) as distance
        from :vectors
        where not :exact and :use_dense and collection_id = :collection_id and :visible
        order by embedding <#> cast(:vector as halfvec)
        limit :depth
    ) as by_graph
),
lexical_ranked as (
    select chunk_id, score,
           row_number() over (order by score desc, chunk_id) as rank,
           coalesce(0.5 + (score - avg(score) over ()) / nullif(6 * stddev_samp(score) over (), 0), 0.5) as scaled
    from lexical_hit
),
dense_ranked as (
    select chunk_id, score,
           row_number() over (order by score desc, chunk_id) as rank,
           coalesce(0.5 + (score - avg(score) over ()) / nullif(6 * stddev_samp(score) over (), 0), 0.5) as scaled
    from dense_hit
),
fused as (
    select chunk_id,
           case
               when :use_lexical and :use_dense then coalesce(l.scaled, 0) + coalesce(d.scaled, 0)
               else coalesce(l.score, d.score)
           end as score,
           l.score as lexical_score, l.rank as lexical_rank,
           d.score as dense_score, d.rank as dense_rank
    from lexical_ranked as l full join dense_ranked as d using (chunk_id)
    order by score desc, chunk_id
    limit :top
)
select fused.score, lexical_score, lexical_rank, dense_score, dense_rank,
       chunk.text, chunk.start_offset, chunk.end_offset, chunk.title_path, chunk.ordinal, chunk.page,
       -- The last character's page: so many start at or before it.
       case when chunk.page is not null
           then greatest(chunk.page, width_bucket(cast(chunk.end_offset - 1 as bigint), version.page_starts))
       end as page_end,
       document.id as document_id, document.external_id, document.attributes, version.name,
       coalesce(document.title, version.title, version.name) as title,
       version.id as version_id, version.number as version_number
from fused
join chunks as chunk on chunk.id = fused.chunk_id
join documents as document on document.id = chunk.document_id and document.deleted_at is null
join versions as version on version.id = chunk.version_id
order by fused.score desc, fused.chunk_id
