-- How a model classifies images that are resized by a factor, shifted under the crop, or given at another resolution,
-- compared with the same images unaltered. A factor of 1 and a shift of 0 are the clean run itself, except in a
-- variant, where they are runs of their own. Networks that cannot take a resolution are in the table unsupported.
--
-- Grain: One row per run under scale, shift or resolution, and per clean run that one of them is compared with.
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
-- transformation: scale, shift or resolution
-- amount: factor, pixels of the original image, or pixels of the input
-- direction: where the crop moves: longer (along the image's longer side), right, down or both; null but for shift
-- variant: how it was done otherwise than usual, as in order=crop-first,interpolation=bilinear; empty: as usual
-- accuracy: share of samples that are right, 0 to 1
-- true_class_probability: mean probability of the right class, 0 to 1
-- consistency: share of samples whose prediction is that of the clean run, over those that both have, 0 to 1
-- clean_accuracy: accuracy of the clean run, 0 to 1; null, as the next two and consistency, without one
-- clean_true_class_probability: mean probability of the right class in the clean run, 0 to 1
-- clean_run_id: the clean run of the same model, dataset, framing, precision and decoder
--
-- Source: Vishniakov et al., arXiv 2311.09215
with
altered as (
    select
        run.run_id,
        regexp_extract(run.condition, '^[a-z]+') as transformation,
        regexp_extract(run.condition, '\(([0-9.]+)', 1)::double as amount,
        if(
            starts_with(run.condition, 'shift'),
            coalesce(nullif(regexp_extract(run.condition, 'direction=([a-z]+)', 1), ''), 'longer'),
            null
        ) as direction,
        coalesce(
            list_aggregate(
                list_filter(
                    regexp_extract_all(run.condition, '[a-z]+=[a-z-]+'),
                    lambda setting: not starts_with(setting, 'direction')
                ),
                'string_agg', ','
            ),
            ''
        ) as variant,
        clean.run_id as clean_run_id
    from run_details as run
    left join run_details as clean
        on clean.model_id = run.model_id
        and clean.dataset_id = run.dataset_id
        and clean.framing = run.framing
        and clean.precision = run.precision
        and clean.decoder = run.decoder
        and clean.origin = run.origin
        and clean.condition = 'clean'
        and clean.complete
    where run.complete
        and run.label_space <> 'transfer'
        and regexp_matches(run.condition, '^(scale|shift|resolution)\(')
),

unaltered as (
    select distinct
        clean_run_id as run_id,
        transformation,
        if(transformation = 'scale', 1, 0)::double as amount,
        direction,
        variant,
        clean_run_id
    from altered
    where transformation in ('scale', 'shift')
        and variant = ''
        and clean_run_id is not null
),

compared as (
    from altered
    union all
    from unaltered
),

same_answers as (
    select
        pairs.run_id,
        count(*) filter (where one.prediction = other.prediction) / count(*) as consistency
    from (select distinct run_id, clean_run_id from compared) as pairs
    join outputs as one on one.run_id = pairs.run_id
    join outputs as other on other.run_id = pairs.clean_run_id and other.sample_id = one.sample_id
    group by pairs.run_id
)

select
    complete_runs.*,
    compared.transformation,
    compared.amount,
    compared.direction,
    compared.variant,
    run_summary.n_correct / nullif(run_summary.n_outputs, 0) as accuracy,
    probability.true_class_probability,
    same_answers.consistency,
    clean.n_correct / nullif(clean.n_outputs, 0) as clean_accuracy,
    clean_probability.true_class_probability as clean_true_class_probability,
    compared.clean_run_id
from compared
join complete_runs using (run_id)
join run_summary using (run_id)
left join true_class_probability as probability using (run_id)
left join same_answers using (run_id)
left join run_summary as clean on clean.run_id = compared.clean_run_id
left join true_class_probability as clean_probability on clean_probability.run_id = compared.clean_run_id
