-- Runs that were computed from kept outputs of other runs, without images. If a source changes, the derived run is
-- unfinished until it is computed again.
--
-- Grain: One row per derived run.
--
-- run_id: the run
-- model: name of its model
-- dataset: name of the dataset
-- condition: how the inputs were altered
-- kind: rescore, temperature, ensemble or probe
-- sources: the runs that it was computed from
-- complete: true if it is up to date with its sources
-- command: the command that computes it (again)
-- created_at: when it was created
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
where run.origin = 'derived'
