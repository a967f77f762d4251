-- Which run answers for a model in each role of a suite. Only runs with the decoder of the suite count. Where
-- several could answer, the fp32 run over images does, else the only fp32 run; where that leaves several, none does.
--
-- Grain: One row per suite, role, dataset, condition and model that has at least one full run for it.
--
-- suite: name of the suite
-- role: what the run is for, as in clean
-- dataset: name of the dataset
-- condition: how the inputs were altered
-- framing: how an image became the input
-- decoder: what decoded and resized the images: that of the suite
-- label_space: how the model's outputs became the dataset's classes
-- model_id: the model
-- model: its name
-- run_id: the run that answers; null where several could and none is the default
-- n_candidates: full runs that could answer
with
full_runs as (
    select
        suites.suite,
        suites.role,
        suites.dataset,
        suites.condition,
        suites.framing,
        suites.decoder,
        run.label_space,
        run.model_id,
        run.model,
        run.run_id,
        run.precision = 'fp32' as is_fp32,
        run.precision = 'fp32' and run.origin <> 'derived' as is_default
    from suites
    join run_details as run
        on run.dataset = suites.dataset
        and run.condition = suites.condition
        and run.framing = suites.framing
        and run.decoder = suites.decoder
        and run.n_samples = coalesce(suites.n_samples, run.n_samples)
        and coalesce(suites.label_space, '') in ('', run.label_space)
    where run.complete
        -- A run without answers, of a backbone without a head, serves only to be probed.
        and (run.label_space <> 'transfer' or suites.role = 'transfer')
        and run.label_space <> 'unlabelled'
)

select
    suite,
    role,
    dataset,
    condition,
    framing,
    decoder,
    any_value(label_space) as label_space,
    model_id,
    model,
    case
        when count(*) = 1 then any_value(run_id)
        when count(*) filter (where is_default) = 1 then any_value(run_id) filter (where is_default)
        -- All runs of a probe may be derived.
        when count(*) filter (where is_fp32) = 1 then any_value(run_id) filter (where is_fp32)
    end as run_id,
    count(*) as n_candidates
from full_runs
group by suite, role, dataset, condition, framing, decoder, model_id, model
