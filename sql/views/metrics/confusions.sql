-- Which classes are taken for which: how often a model answers one class for the images of another.
--
-- Grain: One row per complete run, right class and answer that occur together; right answers are those of equal classes.
--
-- run_id: the run
-- label: the right class
-- label_name: its name, for ImageNet its synset
-- prediction: the class that the model answered
-- prediction_name: its name
-- n: images of the class that were answered so
-- share: the same as a share of the images of the class that were answered, 0 to 1
-- confidence: mean probability of these answers, 0 to 1; null where an import has none
with
counted as (
    select
        run_id, dataset_id, label, prediction,
        count(*) as n,
        avg(confidence order by sample_id) as confidence
    from sample_answers
    where label is not null
    group by all
)

select
    counted.run_id,
    counted.label,
    labels.name as label_name,
    counted.prediction,
    predictions.name as prediction_name,
    counted.n,
    counted.n / sum(counted.n) over (partition by counted.run_id, counted.label) as share,
    counted.confidence
from counted
left join class_names as labels
    on labels.dataset_id = counted.dataset_id
    and labels.class = counted.label
left join class_names as predictions
    on predictions.dataset_id = counted.dataset_id
    and predictions.class = counted.prediction
