-- The quality dimensions of every measured model, from full runs in the roles of a suite. A dimension is null unless
-- every run that it needs is there: there is no mean over a part of them. qubastore show dimensions --model NAME lists
-- what is missing. Relative means divided by the same model's clean accuracy; where that is 0, relative figures are
-- null. A geometric mean with a zero in it is zero.
--
-- Grain: One row per suite and model with at least one full run in it.
--
-- suite: name of the suite
-- model_id: the model
-- model: its name
-- accuracy: top-1 accuracy, role clean, 0 to 1
-- adversarial_robustness: geometric mean of relative accuracy over the role adversarial, 0 and up
-- corruption_robustness: mean relative accuracy over the role corrupted, 0 and up
-- ood_robustness: geometric mean of relative accuracy over the role shifted, 0 and up
-- ood_robustness_matched: the same, relative to clean accuracy in each set's own label space; null without kept logits
-- calibration_error: geometric mean of ECE and ACE, role clean, 0 to 1, down is better
-- class_balance: evenness over the classes, role clean, 0 to 1
-- object_focus: 1 - (accuracy in role same_background - in random_background) / clean accuracy, up to 1
-- shape_bias: shape decisions / (shape + texture decisions), role cue_conflict, 0 to 1
-- parameters_m: millions of parameters, down is better
-- macs_g: billions of multiply-accumulates for one image
-- activations_m: millions of numbers that convolutions, matrix products and attention put out for one image
--
-- Source: Hesse et al., arXiv 2503.17110
with
needed as (
    select
        suite,
        count(*) filter (where role = 'adversarial') as n_adversarial,
        count(*) filter (where role = 'corrupted') as n_corrupted,
        count(*) filter (where role = 'shifted') as n_shifted
    from suites
    group by suite
),

answers as materialized (
    select dimension_runs.*, run_metrics.metric, run_metrics.value
    from dimension_runs
    left join run_metrics
        on run_metrics.run_id = dimension_runs.run_id
        and (run_metrics.metric in ('calibration_error', 'class_balance', 'shape_bias')
            or run_metrics.metric like 'accuracy%')
),

single as (
    select
        suite,
        model_id,
        any_value(model) as model,
        max(value) filter (where role = 'clean' and metric = 'accuracy') as accuracy,
        max(value) filter (where role = 'clean' and metric = 'calibration_error') as calibration_error,
        max(value) filter (where role = 'clean' and metric = 'class_balance') as class_balance,
        max(value) filter (where role = 'cue_conflict' and metric = 'shape_bias') as shape_bias,
        max(value) filter (where role = 'same_background' and metric = 'accuracy') as same_background,
        max(value) filter (where role = 'random_background' and metric = 'accuracy') as random_background
    from answers
    group by suite, model_id
),

clean_by_space as (
    select suite, model_id, metric, value as clean_accuracy
    from answers
    where role = 'clean' and metric like 'accuracy%'
),

shares as (
    select
        answers.suite,
        answers.model_id,
        answers.role,
        answers.dataset || ' ' || answers.condition as place,
        answers.value / nullif(single.accuracy, 0) as relative,
        answers.value / nullif(clean_by_space.clean_accuracy, 0) as matched
    from answers
    join single using (suite, model_id)
    left join clean_by_space
        on clean_by_space.suite = answers.suite
        and clean_by_space.model_id = answers.model_id
        and clean_by_space.metric = if(
            answers.label_space in ('imagenet-1k', 'own-classes'),
            'accuracy',
            'accuracy_in_' || replace(answers.label_space, '-', '_')
        )
    where answers.metric = 'accuracy'
),

means as (
    select
        suite,
        model_id,
        role,
        count(relative) as n,
        count(matched) as n_matched,
        avg(relative order by place) as mean,
        if(min(relative) = 0, 0, exp(avg(ln(nullif(relative, 0)) order by place))) as geometric_mean,
        if(min(matched) = 0, 0, exp(avg(ln(nullif(matched, 0)) order by place))) as geometric_mean_matched
    from shares
    group by suite, model_id, role
)

select
    single.suite,
    single.model_id,
    single.model,
    single.accuracy,
    if(adversarial.n = needed.n_adversarial, adversarial.geometric_mean, null) as adversarial_robustness,
    if(corrupted.n = needed.n_corrupted, corrupted.mean, null) as corruption_robustness,
    if(shifted.n = needed.n_shifted, shifted.geometric_mean, null) as ood_robustness,
    if(shifted.n_matched = needed.n_shifted, shifted.geometric_mean_matched, null) as ood_robustness_matched,
    single.calibration_error,
    single.class_balance,
    1 - (single.same_background - single.random_background) / nullif(single.accuracy, 0) as object_focus,
    single.shape_bias,
    models.parameters / 1e6 as parameters_m,
    models.macs / 1e9 as macs_g,
    models.activations / 1e6 as activations_m
from single
join needed using (suite)
join models using (model_id)
left join means as adversarial
    on adversarial.suite = single.suite and adversarial.model_id = single.model_id and adversarial.role = 'adversarial'
left join means as corrupted
    on corrupted.suite = single.suite and corrupted.model_id = single.model_id and corrupted.role = 'corrupted'
left join means as shifted
    on shifted.suite = single.suite and shifted.model_id = single.model_id and shifted.role = 'shifted'
