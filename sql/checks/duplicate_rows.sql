-- Rows that exist twice, though their key must be unique.
--
-- Repair: restore the store from a copy, or qubastore copy it to a new one, which copies each row once
with counted as (
    select null as run, 'model ' || model_id as what, count(*) as n from models group by model_id
    union all
    select null, 'dataset ' || dataset_id, count(*) from datasets group by dataset_id
    union all
    select run_id, 'run ' || run_id, count(*) from runs group by run_id
    union all
    select run_id, 'shard ' || shard || ' of run ' || run_id, count(*) from shards group by run_id, shard
    union all
    select run_id, 'summary of run ' || run_id, count(*) from run_summary group by run_id
)

select run, what || ' is there ' || n || ' times' as found
from counted
where n > 1
order by found
