-- How a model decides where an image has the shape of one class and the texture of another. Images whose shape and
-- texture are of the same class are left out; decisions for a third class count for neither.
--
-- Grain: One row per run over such images.
--
-- run_id: the run
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- dataset: name of the dataset
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16
-- n_outputs: samples of the run
-- n_failed: samples left out because their image could not be decoded
-- subset: true where the dataset is only part of the official one
-- n: images whose shape and texture differ
-- shape_decisions: share of them whose prediction is the shape, 0 to 1
-- texture_decisions: share of them whose prediction is the texture, 0 to 1
-- shape_bias: shape decisions / (shape + texture decisions), 0 to 1; null without either
--
-- Source: Geirhos et al., arXiv 1811.12231
with
decisions as (
    select run_id, sum(n) as n, sum(n_shape) as n_shape, sum(n_texture) as n_texture
    from cue_summary
    group by run_id
)

select
    run.run_id, run.model, run.dataset, run.condition, run.framing, run.precision,
    run_summary.n_outputs, run_summary.n_failed, run.subset,
    decisions.n::bigint as n,
    decisions.n_shape / decisions.n as shape_decisions,
    decisions.n_texture / decisions.n as texture_decisions,
    decisions.n_shape / nullif(decisions.n_shape + decisions.n_texture, 0) as shape_bias
from decisions
join run_summary using (run_id)
join run_details as run using (run_id)
