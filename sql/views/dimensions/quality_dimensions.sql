-- The QUBA quality dimensions: measured ones from full runs in the roles of a suite, published ones as they were
-- printed (docs/published.md names their known faults), attached ones as other stores and tables have them. Never mix
-- them without saying so.
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
measured as (
    unpivot (
        select
            suite, model, accuracy, adversarial_robustness, corruption_robustness, ood_robustness, calibration_error,
            class_balance, object_focus, shape_bias, parameters_m as parameters
        from measured_dimensions
    )
    on columns(* exclude (suite, model))
    into name dimension value value
),

attached as (
    unpivot (
        select
            suite, model, source, accuracy, adversarial_robustness, corruption_robustness, ood_robustness,
            calibration_error, class_balance, object_focus, shape_bias, parameters_m as parameters
        from attached_dimensions
    )
    on columns(* exclude (suite, model, source))
    into name dimension value value
)

select suite, model, 'measured' as source, dimension, value from measured
union all
select 'quba' as suite, model, source, dimension, value from published_results
union all
select suite, model, source, dimension, value from attached
