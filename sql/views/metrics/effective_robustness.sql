-- Accuracy above what clean accuracy predicts. The prediction is a line through all models of the store with both
-- accuracies, on logit axes: clean accuracy in the same label space to accuracy on the other set. Derived runs
-- (calibrated copies, ensembles) are predicted like any other, but the line does not count them.
--
-- Grain: One row per suite, role but clean, dataset, condition and model with both accuracies strictly between 0 and 1.
--
-- suite: name of the suite
-- role: what the run is for, as in robustness
-- dataset: name of the dataset
-- condition: how the inputs were altered
-- framing: how an image became the input
-- model: name of the model
-- run_id: the run
-- accuracy: top-1 accuracy in the dataset's label space, 0 to 1
-- clean_accuracy: accuracy of the clean run in the same label space, 0 to 1
-- predicted_accuracy: what the line says, 0 to 1; null with fewer than three models, or where they do not differ
-- effective_robustness: accuracy - predicted_accuracy, -1 to 1
-- n_models: models that the line goes through
--
-- Source: Taori et al., Measuring robustness to natural distribution shifts, arXiv 2007.00644
with
points as (
    select
        *,
        ln(matched_clean_accuracy / (1 - matched_clean_accuracy)) as clean_logit,
        ln(accuracy / (1 - accuracy)) as logit
    from relative_accuracy
    where role <> 'clean'
        and accuracy > 0 and accuracy < 1
        and matched_clean_accuracy > 0 and matched_clean_accuracy < 1
),

lines as (
    select
        points.suite, points.role, points.dataset, points.condition, points.framing,
        count(*) as n_models,
        regr_slope(logit, clean_logit order by points.run_id) as slope,
        regr_intercept(logit, clean_logit order by points.run_id) as intercept
    from points
    join runs using (run_id)
    where runs.origin <> 'derived'
    group by points.suite, points.role, points.dataset, points.condition, points.framing
),

predictions as (
    select
        points.*,
        lines.n_models,
        if(
            lines.n_models >= 3 and isfinite(lines.slope),
            1 / (1 + exp(-(lines.intercept + lines.slope * points.clean_logit))),
            null
        ) as predicted_accuracy
    from points
    join lines using (suite, role, dataset, condition, framing)
)

select
    suite, role, dataset, condition, framing, model, run_id,
    accuracy,
    matched_clean_accuracy as clean_accuracy,
    predicted_accuracy,
    accuracy - predicted_accuracy as effective_robustness,
    n_models
from predictions
