-- How evenly a model serves the classes: the geometric mean of two terms that are 1 where all classes fare alike.
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
-- class_accuracy_std: sample standard deviation of the accuracy over the classes, 0 to 1; null with one class
-- class_probability_std: mean over classes of the population std of the true class's probability, 0 to 0.5
-- class_balance: sqrt((1 - class_accuracy_std) * (1 - class_probability_std)), 0 to 1, up is better
--
-- Source: Hesse et al., arXiv 2503.17110
with
spread as (
    select
        run_id,
        stddev_samp(accuracy) as class_accuracy_std,
        avg(std_label_probability) as class_probability_std
    from class_accuracy
    group by run_id
)

select
    complete_runs.*,
    spread.class_accuracy_std,
    spread.class_probability_std,
    sqrt((1 - spread.class_accuracy_std) * (1 - spread.class_probability_std)) as class_balance
from spread
join complete_runs using (run_id)
