-- What may be ranked, with every published figure that is known or likely to be wrong null: pool := of the macros that rank
-- takes a table made of it. Differences of protocol stay.
--
-- Grain: One row per row of the pool.
--
-- Parameters:
-- pool := 'rankable': table or view with the columns of rankable
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
with
faults as (
    select source, model, list(distinct dimension) as dimensions
    from published_differences
    where kind = 'fault'
    group by source, model
)

select
    wide.* replace (
        if(list_contains(faults.dimensions, 'accuracy'), null, wide.accuracy) as accuracy,
        if(list_contains(faults.dimensions, 'adversarial_robustness'), null, wide.adversarial_robustness)
            as adversarial_robustness,
        if(list_contains(faults.dimensions, 'corruption_robustness'), null, wide.corruption_robustness)
            as corruption_robustness,
        if(list_contains(faults.dimensions, 'ood_robustness'), null, wide.ood_robustness) as ood_robustness,
        if(list_contains(faults.dimensions, 'calibration_error'), null, wide.calibration_error) as calibration_error,
        if(list_contains(faults.dimensions, 'class_balance'), null, wide.class_balance) as class_balance,
        if(list_contains(faults.dimensions, 'object_focus'), null, wide.object_focus) as object_focus,
        if(list_contains(faults.dimensions, 'shape_bias'), null, wide.shape_bias) as shape_bias,
        if(list_contains(faults.dimensions, 'parameters'), null, wide.parameters_m) as parameters_m
    )
from query_table(pool) as wide
left join faults
    on faults.source = wide.source
    and faults.model = wide.model
