-- What may be ranked, with every published figure that is known or likely to be wrong null: pool := of the macros that rank
-- takes a table made of it. Differences of protocol stay.
--
-- Grain: One row per row of the pool.
--
-- Parameters:
-- pool := 'rankable': table or view with the columns of rankable
--
-- suite: as in rankable, and so are the other columns
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
