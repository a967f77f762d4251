-- Top-1 accuracy under other labels than those that the dataset came with: a prediction is right where it is one of the
-- labels, and images without any are left out. ReaL's labels come with every official validation image.
--
-- Grain: One row per run and label set.
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
-- label_set: whose labels, as in real
-- n: samples that have labels there
-- accuracy: share of them whose prediction is one of the labels, 0 to 1
--
-- Source: ReaL: Beyer et al., Are we done with ImageNet?, arXiv 2006.07159
with
answers as (
    select
        outputs.run_id,
        label_sets.label_set,
        list_contains(label_sets.labels, outputs.prediction) as is_right
    from outputs
    join runs using (run_id)
    join label_sets
        on label_sets.dataset_id = runs.dataset_id
        and label_sets.sample_id = outputs.sample_id
    where label_sets.label_set <> 'dataset'
        and len(label_sets.labels) > 0
        and outputs.prediction is not null
),

counted as (
    select run_id, label_set, count(*) as n, count(*) filter (where is_right) as n_correct
    from answers
    group by run_id, label_set
)

select
    complete_runs.*,
    counted.label_set,
    counted.n,
    counted.n_correct / counted.n as accuracy
from counted
join complete_runs using (run_id)
