-- What a model costs: size, work for one image, and speed as measured while it was ingested.
--
-- Grain: One row per model.
--
-- model_id: the model
-- model: its name
-- input_height: height of its input, pixels
-- input_width: width of its input, pixels
-- parameters_m: millions of parameters
-- macs_g: billions of multiply-accumulates in convolutions, matrix products and attention, for one image
-- activations_m: millions of numbers that those operations put out, for one image
-- activation_mb: the same as fp32 memory, millions of bytes
-- device: device of its fastest clean runs, as in cpu
-- precision: their precision
-- images_per_second: images / seconds of forward passes, over those runs
with
speeds as (
    select
        runs.model_id,
        shards.device,
        runs.precision,
        sum(shards.n_outputs) / nullif(sum(shards.seconds), 0) as images_per_second
    from shards
    join runs using (run_id)
    where runs.condition = 'clean'
    group by runs.model_id, shards.device, runs.precision
),

fastest as (
    select
        model_id,
        max(images_per_second) as images_per_second,
        arg_max(device, images_per_second) as device,
        arg_max(precision, images_per_second) as precision
    from speeds
    group by model_id
)

select
    models.model_id,
    model_names.model,
    models.input_height,
    models.input_width,
    models.parameters / 1e6 as parameters_m,
    models.macs / 1e9 as macs_g,
    models.activations / 1e6 as activations_m,
    4 * models.activations / 1e6 as activation_mb,
    fastest.device,
    fastest.precision,
    fastest.images_per_second
from models
join model_names using (model_id)
left join fastest using (model_id)
