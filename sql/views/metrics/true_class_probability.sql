-- Mean probability that a run gives to the right class.
--
-- Grain: One row per run that has probabilities.
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
-- true_class_probability: mean over all samples of the softmax probability of the right class, 0 to 1
--
-- Source: Vishniakov et al., arXiv 2311.09215
with
summed as (
    select run_id, sum(n * mean_label_probability order by class) / sum(n) as true_class_probability
    from class_summary
    group by run_id
)

select
    complete_runs.*,
    summed.true_class_probability
from summed
join complete_runs using (run_id)
where summed.true_class_probability is not null
