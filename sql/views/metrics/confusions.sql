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
        run_id, label, label_name, prediction, prediction_name,
        count(*) as n,
        avg(confidence order by sample_id) as confidence
    from sample_answers
    where label is not null
    group by all
)

select
    run_id, label, label_name, prediction, prediction_name, n,
    n / sum(n) over (partition by run_id, label) as share,
    confidence
from counted
