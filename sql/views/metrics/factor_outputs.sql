-- What is known of the image of every output: pose, background, an attribute of a manifest, corruption, ...
--
-- Grain: One row per run, sample and factor.
--
-- run_id: the run
-- sample_id: the sample; outputs of images that could not be decoded have no rows
-- factor: what is known, as in camera_yaw
-- value: its value, as text
-- label: the right class
-- is_right: whether the prediction is the label
-- label_probability: probability given to the right class, 0 to 1; null for imported predictions
--
-- Source: PUG: Bordes et al., arXiv 2308.03977
select
    known_outputs.run_id,
    known_outputs.sample_id,
    known_outputs.known.key as factor,
    known_outputs.known.value as value,
    known_outputs.label,
    known_outputs.is_right,
    known_outputs.label_probability
from
    (
        select
            outputs.run_id,
            outputs.sample_id,
            unnest(map_entries(samples.factors)) as known,
            outputs.label,
            outputs.prediction = outputs.label as is_right,
            outputs.label_probability
        from outputs
        join runs using (run_id)
        join samples
            on samples.dataset_id = runs.dataset_id
            and samples.sample_id = outputs.sample_id
        where outputs.prediction is not null
            and outputs.label is not null
    ) as known_outputs
