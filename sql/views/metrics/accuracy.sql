-- Top-1 accuracy of every complete run. A tie between classes counts for the lowest class.
--
-- Grain: One row per run.
--
-- run_id: the run
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- dataset: name of the dataset
-- condition: how the inputs were altered; clean means not at all
-- framing: how an image became the input: model (resized and cropped as the model asks) or whole
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; pillow for imported predictions
-- n_outputs: samples that the number is over
-- n_failed: samples left out because their image could not be decoded
-- subset: true where the dataset is only part of the official one
-- accuracy: share of samples whose prediction is the label, 0 to 1
select
    complete_runs.*,
    run_summary.n_correct / nullif(run_summary.n_outputs, 0) as accuracy
from complete_runs
join run_summary using (run_id)
where run_summary.n_correct is not null
