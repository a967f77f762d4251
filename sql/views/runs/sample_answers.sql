-- Every answer of a complete run beside its image: right or wrong, how sure, how far off. It is what one filters to find
-- images to look at.
--
-- Grain: One row per complete run and sample that the model answered.
--
-- run_id: the run
-- dataset_id: its dataset
-- sample_id: the sample
-- key: path of the image relative to the root of the dataset
-- factors: what is known of the image: corruption, pose, an attribute of a manifest, ...
-- label: the right class; null where the images have no labels
-- label_name: its name, for ImageNet its synset
-- prediction: the class that the model answered
-- prediction_name: its name
-- is_right: whether the prediction is the label; null where the images have no labels
-- confidence: probability of the prediction, 0 to 1; null where an import has none
-- label_probability: probability given to the right class, 0 to 1; null for imported predictions
-- loss: negative log-likelihood of the right class, in nats; null for imported predictions
-- margin: probability of the prediction minus that of the second class, 0 to 1; null for imported predictions
with
-- Joined, not looked up in the dataset's list: DuckDB would copy the list for every row.
class_names as (
    select dataset_id, unnest(range(len(classes))) as class, unnest(classes) as name
    from datasets
)

select
    outputs.run_id,
    runs.dataset_id,
    outputs.sample_id,
    samples.key,
    samples.factors,
    outputs.label,
    labels.name as label_name,
    outputs.prediction,
    predictions.name as prediction_name,
    outputs.prediction = outputs.label as is_right,
    outputs.confidence,
    outputs.label_probability,
    outputs.logsumexp - outputs.label_logit as loss,
    exp(outputs.top5_logit[1] - outputs.logsumexp) - exp(outputs.top5_logit[2] - outputs.logsumexp) as margin
from outputs
join runs using (run_id)
join run_summary using (run_id)
join samples
    on samples.dataset_id = runs.dataset_id
    and samples.sample_id = outputs.sample_id
left join class_names as labels
    on labels.dataset_id = runs.dataset_id
    and labels.class = outputs.label
left join class_names as predictions
    on predictions.dataset_id = runs.dataset_id
    and predictions.class = outputs.prediction
where outputs.prediction is not null
