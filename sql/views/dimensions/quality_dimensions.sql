-- The QUBA quality dimensions: measured ones from full runs in the roles of a suite, published ones as printed
-- (docs/published.md lists their known faults), attached ones as other stores and tables have them. If you mix sources,
-- say so.
--
-- Grain: One row per suite, model, source and dimension that has a value.
--
-- suite: name of the suite
-- model: name of the model
-- source: measured, the published table, as in hesse2025, or the name of an attachment
-- dimension: one of the nine; the view dimensions says what each means
-- value: its value, in the dimension's unit
--
-- Source: Hesse et al., arXiv 2503.17110
with
side_by_side as (
    select
        * exclude (model_id, ood_robustness_matched, macs_g, activations_m) rename (parameters_m as parameters),
        'measured' as source
    from measured_dimensions
    union all by name
    select * exclude (architecture, pretraining, paradigm, macs_g, activations_m) rename (parameters_m as parameters)
    from attached_dimensions
),

-- Every column that is not a key is a dimension.
one_below_another as (
    unpivot side_by_side
    on columns(* exclude (suite, model, source))
    into name dimension value value
)

select suite, model, source, dimension, value from one_below_another
union all
select 'quba' as suite, model, source, dimension, value from published_results
