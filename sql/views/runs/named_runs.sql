-- Every run with the names of its model and dataset. It reads no summaries: run_details adds whether a run is complete,
-- complete_runs how many samples it is over.
--
-- Grain: One row per run.
--
-- run_id: the run
-- model_id: its model
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- dataset_id: its dataset
-- dataset: name of the dataset
-- label_space: how the model's outputs became the dataset's classes; transfer means that they are no answers
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; pillow for imported predictions
-- origin: measured (ingest) or imported (predictions made elsewhere)
-- n_samples: samples of the dataset
-- subset: true where the dataset is only part of the official one
-- created_at: when the run was first planned
with
official_sizes as (
    select dataset, list(n_samples) as sizes
    from suites
    where n_samples is not null
    group by dataset
)

select
    runs.run_id,
    runs.model_id,
    model_names.model,
    runs.dataset_id,
    datasets.name as dataset,
    coalesce(runs.answer_space, datasets.label_space) as label_space,
    runs.condition,
    runs.framing,
    runs.precision,
    runs.decoder,
    runs.origin,
    datasets.n_samples,
    coalesce(not list_contains(official_sizes.sizes, datasets.n_samples), false) as subset,
    runs.created_at
from runs
join model_names using (model_id)
join datasets using (dataset_id)
left join official_sizes on official_sizes.dataset = datasets.name
