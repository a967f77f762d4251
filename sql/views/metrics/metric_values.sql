-- Every scalar metric that has a value: of every complete run, as stored when the run was completed, and of every suite
-- and model, from several runs. The view metrics says what each means.
--
-- Grain: One row per run and metric, and one row per suite, model and metric over several runs.
--
-- run_id: the run; null, as the columns of a run after it, for a metric over several runs
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- dataset: name of the dataset
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; pillow for imported predictions
-- n_outputs: samples that the number is over
-- n_failed: samples left out because their image could not be decoded
-- subset: true where the dataset is only part of the official one
-- suite: the suite of a metric over several runs; null for a metric of one run
-- metric: name of the metric
-- value: its value, in the unit that the view metrics gives
with
over_suites as (
    unpivot (
        select
            suite, model, adversarial_robustness, corruption_robustness, ood_robustness, ood_robustness_matched,
            object_focus
        from measured_dimensions
    )
    on columns(* exclude (suite, model))
    into name metric value value
)

select
    complete_runs.*,
    null as suite,
    run_metrics.metric,
    run_metrics.value
from run_metrics
join complete_runs using (run_id)
where run_metrics.value is not null
union all by name
select model, suite, metric, value from over_suites
