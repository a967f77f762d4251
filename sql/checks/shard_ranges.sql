-- Shards that do not cover the range of samples that belongs to their number.
--
-- Repair: qubastore rm run {run}, then the same qubastore ingest again
select
    shards.run_id as run,
    'shard ' || shards.shard || ' covers samples ' || shards.first_sample || ' to '
    || shards.first_sample + shards.n_samples - 1 || ', of which ' || shards.n_outputs || ' have outputs and '
    || shards.n_failed || ' failed' as found
from shards
join runs using (run_id)
join datasets using (dataset_id)
where
    shards.first_sample <> shards.shard * runs.shard_size
    or shards.n_samples <> least(runs.shard_size, datasets.n_samples - shards.first_sample)
    or shards.n_outputs + shards.n_failed <> shards.n_samples
order by run, shards.shard
