-- Everything that can be ranked, one column per dimension: what `rank --where` filters.
--
-- Grain: One row per suite, model and source.
--
-- suite: name of the suite
-- model: name of the model
-- source: measured, the published table, as in hesse2025, or the name of an attachment
-- origin: measured, published or attached: what kind of source that is
-- label: the label in the published table; null, as the next three, for measured models that are not the study's
-- architecture: cnn, transformer, ...
-- pretraining: data set of the pretraining
-- paradigm: supervised, self-supervised, ...
-- accuracy: top-1 accuracy, 0 to 1
-- adversarial_robustness: 0 to 1
-- corruption_robustness: 0 and up
-- ood_robustness: 0 and up
-- calibration_error: 0 to 1, down is better
-- class_balance: 0 to 1
-- object_focus: up to 1
-- shape_bias: 0 to 1
-- parameters_m: millions of parameters, down is better
-- macs_g: billions of multiply-accumulates for one image; null for published models
-- activations_m: millions of activations for one image; null for published models
--
-- Source: Hesse et al., arXiv 2503.17110
with
-- The published table has one row per figure; what is measured and attached comes with a column per dimension.
published as (
    pivot published_results
    on dimension in (
        'accuracy', 'adversarial_robustness', 'corruption_robustness', 'ood_robustness', 'calibration_error',
        'class_balance', 'object_focus', 'shape_bias', 'parameters' as parameters_m
    )
    using max(value)
    group by model, source
),

all_models as (
    select 'quba' as suite, 'published' as origin, *
    from published
    union all by name
    select 'measured' as origin, 'measured' as source, * exclude (model_id, ood_robustness_matched)
    from measured_dimensions
    union all by name
    select 'attached' as origin, *
    from attached_dimensions
),

-- Which row of the published models describes a model; null where the study does not have it.
described as (
    select
        all_models.*,
        if(all_models.origin = 'published', all_models.source, studied_models.study) as study,
        if(all_models.origin = 'published', all_models.model, studied_models.model) as name_in_study
    from all_models
    left join studied_models
        on studied_models.stored_as = all_models.model
        and studied_models.study = 'hesse2025'
        and all_models.origin <> 'published'
)

select
    described.suite,
    described.model,
    described.source,
    described.origin,
    published_models.label,
    coalesce(described.architecture, published_models.architecture) as architecture,
    coalesce(described.pretraining, published_models.pretraining) as pretraining,
    coalesce(described.paradigm, published_models.paradigm) as paradigm,
    described.* exclude (
        suite, model, source, origin, architecture, pretraining, paradigm, study, name_in_study
    )
from described
left join published_models
    on published_models.source = described.study
    and published_models.model = described.name_in_study
