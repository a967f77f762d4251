-- Accuracy of every complete run over images that share a corruption and a severity: those of a dataset of corrupted
-- images, such as a cell of ImageNet-C, or any dataset's under a condition such as corrupt(fog,severity=3).
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
-- corruption: kind of corruption, as in fog
-- severity: 1 (mild) to 5
-- accuracy: share of samples whose prediction is the label, 0 to 1
--
-- Source: Hendrycks and Dietterich, arXiv 1903.12261
select
    accuracy.* exclude (accuracy),
    coalesce(nullif(regexp_extract(accuracy.condition, '^corrupt\((\w+),', 1), ''), datasets.factors['corruption'])
        as corruption,
    try_cast(
        coalesce(
            nullif(regexp_extract(accuracy.condition, '^corrupt\(.*severity=(\d)\)', 1), ''),
            datasets.factors['severity']
        ) as integer
    ) as severity,
    accuracy.accuracy
from accuracy
join runs using (run_id)
join datasets using (dataset_id)
where datasets.factors['corruption'] is not null
    or starts_with(accuracy.condition, 'corrupt(')
