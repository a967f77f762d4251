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
dimension_columns as (
    pivot quality_dimensions
    on dimension in (
        'accuracy', 'adversarial_robustness', 'corruption_robustness', 'ood_robustness', 'calibration_error',
        'class_balance', 'object_focus', 'shape_bias', 'parameters' as parameters_m
    )
    using max(value)
    group by suite, model, source
),

-- Models are listed apart from their figures: one that has none yet is a row too.
listed_models as (
    select distinct 'quba' as suite, model, source, 'published' as origin
    from published_results
    union all by name
    select suite, model, 'measured' as source, 'measured' as origin, macs_g, activations_m
    from measured_dimensions
    union all by name
    select suite, model, source, 'attached' as origin, architecture, pretraining, paradigm, macs_g, activations_m
    from attached_dimensions
),

-- Under which name and in which table a model is published; null where no study has it.
listed_and_published as (
    select
        listed_models.*,
        if(listed_models.origin = 'published', listed_models.model, studied_models.model) as published_model,
        if(listed_models.origin = 'published', listed_models.source, studied_models.study) as published_source
    from listed_models
    left join studied_models
        on studied_models.stored_as = listed_models.model
        and studied_models.study = 'hesse2025'
        and listed_models.origin <> 'published'
)

select
    listed.suite,
    listed.model,
    listed.source,
    listed.origin,
    published_models.label,
    coalesce(listed.architecture, published_models.architecture) as architecture,
    coalesce(listed.pretraining, published_models.pretraining) as pretraining,
    coalesce(listed.paradigm, published_models.paradigm) as paradigm,
    dimension_columns.* exclude (suite, model, source),
    listed.macs_g,
    listed.activations_m
from listed_and_published as listed
left join published_models
    on published_models.source = listed.published_source
    and published_models.model = listed.published_model
left join dimension_columns
    on dimension_columns.suite = listed.suite
    and dimension_columns.model = listed.model
    and dimension_columns.source = listed.source
