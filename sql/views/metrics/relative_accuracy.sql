-- Accuracy in every role of a suite, and as a share of the same model's clean accuracy.
--
-- Grain: One row per suite, role, dataset, condition and model whose run is complete.
--
-- suite: name of the suite
-- role: what the run is for, as in corrupted
-- dataset: name of the dataset
-- condition: how the inputs were altered
-- framing: how an image became the input
-- model: name of the model
-- run_id: the run
-- accuracy: top-1 accuracy in the dataset's label space, 0 to 1
-- clean_accuracy: top-1 accuracy of the run in the role clean, 0 to 1; null where it is missing
-- relative_accuracy: accuracy / clean_accuracy, 0 and up; null where clean accuracy is 0 or missing
-- matched_clean_accuracy: clean accuracy in this dataset's label space, 0 to 1; null without kept clean logits
-- matched_accuracy: accuracy / clean accuracy in this dataset's label space, 0 and up; null without kept clean logits
--
-- Source: Hesse et al., arXiv 2503.17110
with
answers as materialized (
    select dimension_runs.*, run_metrics.metric, run_metrics.value
    from dimension_runs
    join run_metrics using (run_id)
    where run_metrics.metric like 'accuracy%'
),

clean as (
    select suite, model_id, metric, value
    from answers
    where role = 'clean'
)

select
    answers.suite,
    answers.role,
    answers.dataset,
    answers.condition,
    answers.framing,
    answers.model,
    answers.run_id,
    answers.value as accuracy,
    clean.value as clean_accuracy,
    answers.value / nullif(clean.value, 0) as relative_accuracy,
    matched.value as matched_clean_accuracy,
    answers.value / nullif(matched.value, 0) as matched_accuracy
from answers
left join clean
    on clean.suite = answers.suite
    and clean.model_id = answers.model_id
    and clean.metric = 'accuracy'
left join clean as matched
    on matched.suite = answers.suite
    and matched.model_id = answers.model_id
    and matched.metric = if(
        answers.label_space in ('imagenet-1k', 'own-classes'),
        'accuracy',
        'accuracy_in_' || replace(answers.label_space, '-', '_')
    )
where answers.metric = 'accuracy'
