-- Accuracy by what is known of the images: pose, background, size or texture of a PUG object, corruption, ...
--
-- Grain: One row per run, factor and value.
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
-- factor: what is known, as in camera_yaw
-- value: its value, as text
-- n: samples with that value
-- accuracy: share of them that are right, 0 to 1
-- label_probability: mean probability given to the right class, 0 to 1; null for imported predictions
--
-- Source: PUG: Bordes et al., arXiv 2308.03977
with
answers as (
    select
        outputs.run_id,
        unnest(map_entries(samples.factors)) as known,
        outputs.prediction = outputs.label as is_right,
        outputs.label_probability
    from outputs
    join runs using (run_id)
    join samples
        on samples.dataset_id = runs.dataset_id
        and samples.sample_id = outputs.sample_id
    where outputs.prediction is not null
),

counted as (
    select
        run_id,
        known.key as factor,
        known.value as value,
        count(*) as n,
        count(*) filter (where is_right) as n_correct,
        avg(label_probability order by label_probability) as label_probability
    from answers
    group by run_id, known.key, known.value
)

select
    complete_runs.*,
    counted.factor,
    counted.value,
    counted.n,
    counted.n_correct / counted.n as accuracy,
    counted.label_probability
from counted
join complete_runs using (run_id)
