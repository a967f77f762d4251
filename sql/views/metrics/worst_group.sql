-- The group of images that a model gets wrong most often, for every factor of the images and with the classes.
--
-- Grain: One row per run, factor and grouping.
--
-- run_id: the run
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- dataset: name of the dataset
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; pillow for imported predictions
-- n_outputs: samples of the run
-- n_failed: samples left out because their image could not be decoded
-- subset: true where the dataset is only part of the official one
-- factor: what is known of the images, as in background
-- grouping: factor (a group is a value) or class and factor (a group is a class with a value)
-- n_groups: number of groups that have images
-- value: the value of the worst group; of equally bad ones, that with the most images, then by name
-- class_name: its class; null where classes are not part of the groups
-- n: its images
-- accuracy: share of them that are right, 0 to 1
-- low: lower end of the 95 % Wilson interval of that accuracy; it does not allow for having chosen the worst
-- high: upper end of that interval
-- mean_accuracy: mean of the accuracies of the groups, each counted once
-- best_accuracy: accuracy of the best group
-- gap: best_accuracy - accuracy
--
-- Source: Sagawa et al., arXiv 1911.08731; Wilson, JASA 1927
with
counted as (
    select run_id, factor, value, label, count(*) as n, count(*) filter (where is_right) as n_correct
    from factor_outputs
    group by run_id, factor, value, label
),

grouped as (
    select run_id, factor, 'class and factor' as grouping, value, label, n, n_correct / n as accuracy
    from counted
    union all
    select run_id, factor, 'factor', value, null, sum(n), sum(n_correct) / sum(n)
    from counted
    group by run_id, factor, value
),

ranked as (
    select
        *,
        count(*) over every_group as n_groups,
        list_avg(list_sort(list(accuracy) over every_group)) as mean_accuracy,
        max(accuracy) over every_group as best_accuracy,
        row_number() over (every_group order by accuracy, n desc, value, label) as place
    from grouped
    window every_group as (partition by run_id, factor, grouping)
),

bounds as (
    select
        *,
        1.959963984540054 as z,
        accuracy + z ** 2 / (2 * n) as center,
        z * sqrt(accuracy * (1 - accuracy) / n + (z / (2 * n)) ** 2) as half,
        1 + z ** 2 / n as scale
    from ranked
    where place = 1
)

select
    complete_runs.*,
    bounds.factor,
    bounds.grouping,
    bounds.n_groups,
    bounds.value,
    datasets.classes[bounds.label + 1] as class_name,
    bounds.n::bigint as n,
    bounds.accuracy,
    greatest((bounds.center - bounds.half) / bounds.scale, 0) as low,
    least((bounds.center + bounds.half) / bounds.scale, 1) as high,
    bounds.mean_accuracy,
    bounds.best_accuracy,
    bounds.best_accuracy - bounds.accuracy as gap
from bounds
join complete_runs using (run_id)
join runs using (run_id)
join datasets using (dataset_id)
