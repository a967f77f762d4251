-- How a model or a person decides where an image has the shape of one class and the texture of another. Images whose
-- shape and texture are of the same class are left out; decisions for a third class count for neither.
--
-- Grain: One row per run over such images, per person or imported network in the experiment cue-conflict, and one for
-- all people.
--
-- run_id: the run
-- model: name of the model, person or imported network
-- dataset: name of the dataset
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code; null without a run
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; null without a run
-- n_outputs: samples of the run, or trials of an observer
-- n_failed: samples left out because their image could not be decoded; for people, trials without an answer
-- subset: true where the dataset is only part of the official one
-- observer: model, person, network (decisions that model-vs-human's code wrote, imported), or people: the mean over the
--   persons of an experiment
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
),

observers as (
    select
        experiment, subject, observer,
        sum(n_trials)::bigint as n_trials,
        sum(n_unanswered)::bigint as n_unanswered,
        sum(n)::bigint as n,
        sum(n_shape)::bigint as n_shape,
        sum(n_texture)::bigint as n_texture
    from human_cues
    group by experiment, subject, observer
),

observer_bias as (
    select
        *,
        n_shape / nullif(n, 0) as shape_decisions,
        n_texture / nullif(n, 0) as texture_decisions,
        n_shape / nullif(n_shape + n_texture, 0) as shape_bias
    from observers
)

select
    complete_runs.*,
    'model' as observer,
    decisions.n::bigint as n,
    decisions.n_shape / decisions.n as shape_decisions,
    decisions.n_texture / decisions.n as texture_decisions,
    decisions.n_shape / nullif(decisions.n_shape + decisions.n_texture, 0) as shape_bias
from decisions
join complete_runs using (run_id)
union all
select
    null, subject, experiment, 'clean', null, null, null, n_trials, n_unanswered, false, observer,
    n, shape_decisions, texture_decisions, shape_bias
from observer_bias
union all
select
    null, 'people', any_value(experiment), 'clean', null, null, null, sum(n_trials), sum(n_unanswered), false, 'people',
    sum(n)::bigint,
    avg(shape_decisions order by subject),
    avg(texture_decisions order by subject),
    avg(shape_bias order by subject)
from observer_bias
where observer = 'person'
having count(*) > 0
