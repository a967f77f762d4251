-- Shards whose number of rows differs from the number that was committed. Rows of shards whose run is not published yet
-- are in staged files.
--
-- Repair: qubastore doctor --deep --repair removes the shard; then the same qubastore ingest again
with rows_of as (
    select run_id, sample_id, 'outputs' as kind from outputs
    union all
    select run_id, sample_id, 'logits' from logits
    union all
    select run_id, sample_id, 'features' from features
),

staged as (
    select distinct run_id, shard from staged_files
),

counted as (
    select rows_of.run_id, rows_of.kind, rows_of.sample_id // runs.shard_size as shard, count(*) as n
    from rows_of
    join runs using (run_id)
    group by all
),

expected as (
    select run_id, shard, unnest(kept) as kind, n_outputs as n from shards
)

select
    coalesce(expected.run_id, counted.run_id) as run,
    coalesce(expected.shard, counted.shard) as shard,
    coalesce(counted.n, 0) || ' rows of ' || coalesce(expected.kind, counted.kind) || ' in shard '
    || coalesce(expected.shard, counted.shard) || ', where ' || coalesce(expected.n, 0) || ' were committed' as found
from expected
full join counted using (run_id, shard, kind)
where
    coalesce(expected.n, 0) <> coalesce(counted.n, 0)
    and (coalesce(expected.run_id, counted.run_id), coalesce(expected.shard, counted.shard)) not in (from staged)
order by run, shard
