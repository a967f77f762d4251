-- Accuracy and confidence in the truth, class by class, over the samples of that class.
--
-- Grain: One row per run and class that has samples.
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
-- class: label of the class
-- class_name: its name, for ImageNet its synset
-- n: samples of the class
-- accuracy: share of them that are right, 0 to 1
-- mean_label_probability: mean probability given to the right class, 0 to 1; null for imported predictions
-- std_label_probability: population standard deviation of that probability, 0 to 0.5
--
-- Source: Hesse et al., arXiv 2503.17110
select
    complete_runs.*,
    class_summary.class,
    datasets.classes[class_summary.class + 1] as class_name,
    class_summary.n,
    class_summary.n_correct / class_summary.n as accuracy,
    class_summary.mean_label_probability,
    class_summary.std_label_probability
from class_summary
join complete_runs using (run_id)
join runs using (run_id)
join datasets using (dataset_id)
