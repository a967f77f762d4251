-- Every complete run by name, with how many samples it is over: the columns that every metric of a run begins with.
--
-- Grain: One row per complete run.
--
-- run_id: the run
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- dataset: name of the dataset
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; pillow for imported predictions
-- n_outputs: samples that the model answered
-- n_failed: samples left out because their image could not be decoded
-- subset: true where the dataset is only part of the official one
select
    named_runs.run_id,
    named_runs.model,
    named_runs.dataset,
    named_runs.condition,
    named_runs.framing,
    named_runs.precision,
    named_runs.decoder,
    run_summary.n_outputs,
    run_summary.n_failed,
    named_runs.subset
from run_summary
join named_runs using (run_id)
