-- Complete runs whose stored sums count a different number of samples than their shards.
--
-- Repair: qubastore doctor --repair recomputes the sums
with committed as (
    select run_id, sum(n_outputs)::bigint as n_outputs, sum(n_failed)::bigint as n_failed, count(*) as n_shards
    from shards
    group by run_id
)

select
    summary.run_id as run,
    'the sums count ' || summary.n_outputs || ' outputs and ' || summary.n_failed || ' failures, the shards '
    || coalesce(committed.n_outputs, 0) || ' and ' || coalesce(committed.n_failed, 0) as found
from run_summary as summary
left join committed using (run_id)
join runs using (run_id)
where
    summary.n_outputs is distinct from committed.n_outputs
    or summary.n_failed is distinct from committed.n_failed
    or committed.n_shards is distinct from runs.n_shards
order by run
