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
counted as (
    select
        run_id,
        factor,
        value,
        count(*) as n,
        count(*) filter (where is_right) as n_correct,
        avg(label_probability order by label_probability) as label_probability
    from factor_outputs
    group by run_id, factor, value
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
