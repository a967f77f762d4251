-- Every answer of a complete run: right or wrong, how sure, how far off. Join samples for the images' keys and factors, and
-- class_names for the names of classes.
--
-- Grain: One row per complete run and sample that the model answered.
--
-- run_id: the run
-- dataset_id: its dataset
-- sample_id: the sample
-- label: the right class; null where the images have no labels
-- prediction: the class that the model answered
-- is_right: whether the prediction is the label; null where the images have no labels
-- confidence: probability of the prediction, 0 to 1; null where an import has none
-- label_probability: probability given to the right class, 0 to 1; null for imported predictions
-- loss: negative log-likelihood of the right class, in nats; null for imported predictions
-- margin: probability of the prediction minus that of the second class, 0 to 1; null for imported predictions
select
    outputs.run_id,
    runs.dataset_id,
    outputs.sample_id,
    outputs.label,
    outputs.prediction,
    outputs.prediction = outputs.label as is_right,
    outputs.confidence,
    outputs.label_probability,
    outputs.logsumexp - outputs.label_logit as loss,
    exp(outputs.top5_logit[1] - outputs.logsumexp) - exp(outputs.top5_logit[2] - outputs.logsumexp) as margin
from outputs
join runs using (run_id)
join run_summary using (run_id)
where outputs.prediction is not null
