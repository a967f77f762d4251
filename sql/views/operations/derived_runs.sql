-- Runs that were made from kept outputs of others, without images. One whose source changed is unfinished until it is
-- made anew.
--
-- Grain: One row per derived run.
--
-- run_id: the run
-- model: name of its model
-- dataset: name of the dataset
-- condition: how the inputs were altered
-- kind: rescore, temperature or ensemble
-- sources: the runs that it came from
-- complete: true where it holds what its sources hold now
-- command: what makes it, and makes it anew
-- created_at: when it was made
with
made as (
    select
        run_id,
        any_value(kind) as kind,
        list(source_run_id order by source_run_id) as sources,
        any_value(command) as command,
        max(created_at) as created_at
    from derivations
    group by run_id
)

select
    run.run_id, run.model, run.dataset, run.condition, made.kind, made.sources, run.complete, made.command,
    made.created_at
from made
join run_details as run using (run_id)
