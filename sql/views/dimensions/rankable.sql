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
published as (
    select
        'quba' as suite,
        published_results.model,
        published_results.source,
        any_value(published_models.label) as label,
        any_value(published_models.architecture) as architecture,
        any_value(published_models.pretraining) as pretraining,
        any_value(published_models.paradigm) as paradigm,
        max(value) filter (where dimension = 'accuracy') as accuracy,
        max(value) filter (where dimension = 'adversarial_robustness') as adversarial_robustness,
        max(value) filter (where dimension = 'corruption_robustness') as corruption_robustness,
        max(value) filter (where dimension = 'ood_robustness') as ood_robustness,
        max(value) filter (where dimension = 'calibration_error') as calibration_error,
        max(value) filter (where dimension = 'class_balance') as class_balance,
        max(value) filter (where dimension = 'object_focus') as object_focus,
        max(value) filter (where dimension = 'shape_bias') as shape_bias,
        max(value) filter (where dimension = 'parameters') as parameters_m
    from published_results
    left join published_models
        on published_models.source = published_results.source
        and published_models.model = published_results.model
    group by published_results.model, published_results.source
)

select
    suite, model, source, 'published' as origin, label, architecture, pretraining, paradigm, accuracy, adversarial_robustness,
    corruption_robustness, ood_robustness, calibration_error, class_balance, object_focus, shape_bias, parameters_m,
    null::double as macs_g, null::double as activations_m
from published
union all
select
    measured.suite, measured.model, 'measured', 'measured', studied.label, studied.architecture, studied.pretraining,
    studied.paradigm, measured.accuracy, measured.adversarial_robustness, measured.corruption_robustness,
    measured.ood_robustness, measured.calibration_error, measured.class_balance, measured.object_focus,
    measured.shape_bias, measured.parameters_m, measured.macs_g, measured.activations_m
from measured_dimensions as measured
left join studied_models as stored
    on stored.stored_as = measured.model and stored.study = 'hesse2025'
left join published_models as studied
    on studied.model = stored.model and studied.source = 'hesse2025'
union all
select
    attached.suite, attached.model, attached.source, 'attached', studied.label,
    coalesce(attached.architecture, studied.architecture), coalesce(attached.pretraining, studied.pretraining),
    coalesce(attached.paradigm, studied.paradigm), attached.accuracy, attached.adversarial_robustness,
    attached.corruption_robustness, attached.ood_robustness, attached.calibration_error, attached.class_balance,
    attached.object_focus, attached.shape_bias, attached.parameters_m, attached.macs_g, attached.activations_m
from attached_dimensions as attached
left join studied_models as stored
    on stored.stored_as = attached.model and stored.study = 'hesse2025'
left join published_models as studied
    on studied.model = stored.model and studied.source = 'hesse2025'
