-- The QUBA ranking: sum(weight * sign * (value - mean) / std) / sum(weight) over the dimensions with a weight.
-- A model that lacks such a dimension is left out, or ranked on what it has with partial := true.
-- QUBA is relative to its normalisation: compare scores only within one ranking.
--
-- Grain: One row per ranked model and source, best first.
--
-- Parameters:
-- weights: map from dimension, alias or group to a factor that multiplies the default weight; map {} for the defaults
-- suite_name := 'quba': suite to rank in
-- source_name := 'auto': measured, published, a source by its name, several with a comma between them, all, or auto
--   (measured where a measured model can be ranked, else published, else attached)
-- normalize := 'auto': published (constants of the study), store (trimmed mean and std of what is ranked, published
--   sources apart: floor(0.1 n) values dropped at each end, population std), or auto (published for the suites
--   of study_suites, else store)
-- partial := false: true ranks models on the dimensions that they have
-- pool := 'rankable': table or view with the columns of rankable: what may be ranked
--
-- rank: place; models with equal scores share one
-- model: name of the model
-- source: measured, the published table, or the name of an attachment
-- quba: the score, in standard deviations
-- coverage: share of the total weight that the model has values for, 0 to 1
-- accuracy: top-1 accuracy, 0 to 1
-- adversarial_robustness: 0 to 1
-- corruption_robustness: 0 and up
-- ood_robustness: 0 and up
-- calibration_error: 0 to 1, down is better
-- class_balance: 0 to 1
-- object_focus: up to 1
-- shape_bias: 0 to 1
-- parameters: millions, down is better
--
-- Source: Hesse et al., arXiv 2503.17110
with
contributions as (
    from quba_contributions(
        weights,
        suite_name := suite_name,
        source_name := source_name,
        normalize := normalize,
        partial := partial,
        pool := pool
    )
),

scores as (
    select
        source,
        model,
        sum(weight * direction * standard_score order by dimension) / sum(weight order by dimension) as quba,
        any_value(coverage) as coverage
    from contributions
    group by source, model
),

dimension_columns as (
    pivot (select source, model, dimension, value from contributions)
    on dimension in (
        'accuracy', 'adversarial_robustness', 'corruption_robustness', 'ood_robustness', 'calibration_error',
        'class_balance', 'object_focus', 'shape_bias', 'parameters'
    )
    using max(value)
    group by source, model
)

select
    rank() over (order by scores.quba desc) as rank,
    scores.model,
    scores.source,
    scores.quba,
    scores.coverage,
    dimension_columns.* exclude (source, model)
from scores
join dimension_columns
    on dimension_columns.source = scores.source
    and dimension_columns.model = scores.model
order by scores.quba desc, scores.model, scores.source
