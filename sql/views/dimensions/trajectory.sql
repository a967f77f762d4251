-- The measured quality dimensions over a training: those of each of its checkpoints, ingested with name=TRAINING,step=N.
--
-- Grain: One row per suite, training, step and dimension that has a value.
--
-- suite: name of the suite
-- training: name of the training
-- step: how far the training was, in its own unit
-- model_id: the checkpoint
-- model: its name
-- dimension: one of the nine; the view dimensions says what each means
-- value: its value, in the dimension's unit
select
    quality_dimensions.suite,
    checkpoints.training,
    checkpoints.step,
    checkpoints.model_id,
    quality_dimensions.model,
    quality_dimensions.dimension,
    quality_dimensions.value
from checkpoints
join model_names using (model_id)
join quality_dimensions on quality_dimensions.model = model_names.model and quality_dimensions.source = 'measured'
