-- The QUBA quality dimensions: measured ones from full runs in the roles of a suite, published ones as they were
-- printed (docs/published.md names their known faults). Never mix the two without saying so.
--
-- Grain: One row per suite, model, source and dimension that has a value.
--
-- suite: name of the suite
-- model: name of the model
-- source: measured, or the published table, as in hesse2025
-- dimension: one of the nine; the view dimensions says what each means
-- value: its value, in the dimension's unit
--
-- Source: Hesse et al., arXiv 2503.17110
with
answers as (
    from dimension_runs
),

measured as (
    select answers.suite, answers.model, dimensions.dimension, run_metrics.value
    from answers
    join dimensions using (role)
    join run_metrics using (run_id, metric)
),

sizes as (
    select distinct answers.suite, answers.model, 'parameters' as dimension, models.parameters / 1e6 as value
    from answers
    join models using (model_id)
)

select suite, model, 'measured' as source, dimension, value from measured where value is not null
union all
select suite, model, 'measured' as source, dimension, value from sizes where value is not null
union all
select 'quba' as suite, model, source, dimension, value from published_results
