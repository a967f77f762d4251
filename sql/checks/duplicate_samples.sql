-- Samples that a run has more than once.
--
-- Repair: qubastore doctor --deep --repair removes the shard; then the same qubastore ingest again
with doubled as (
    select outputs.run_id, outputs.sample_id, outputs.sample_id // any_value(runs.shard_size) as shard, count(*) as n
    from outputs
    join runs using (run_id)
    group by outputs.run_id, outputs.sample_id
    having count(*) > 1
)

select
    run_id as run, shard,
    count(*) || ' samples of shard ' || shard || ' are there more than once, such as ' || min(sample_id) as found
from doubled
group by run_id, shard
order by run, shard
