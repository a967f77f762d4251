-- Every run with the names of its model and dataset, and whether all of it is there.
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
-- complete: true once every shard is committed and the run is summed up
-- subset: true where the dataset is only part of the official one
-- created_at: when the run was first planned
select
    named_runs.* exclude (subset, created_at),
    run_summary.run_id is not null as complete,
    named_runs.subset,
    named_runs.created_at
from named_runs
left join run_summary using (run_id)
