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

scored as (
    select
        contributions.source,
        contributions.model,
        sum(contributions.weight * contributions.direction * contributions.standard_score order by contributions.dimension)
            / sum(contributions.weight order by contributions.dimension) as quba,
        any_value(contributions.coverage) as coverage,
        max(contributions.value) filter (where contributions.dimension = 'accuracy') as accuracy,
        max(contributions.value) filter (where contributions.dimension = 'adversarial_robustness')
            as adversarial_robustness,
        max(contributions.value) filter (where contributions.dimension = 'corruption_robustness')
            as corruption_robustness,
        max(contributions.value) filter (where contributions.dimension = 'ood_robustness') as ood_robustness,
        max(contributions.value) filter (where contributions.dimension = 'calibration_error') as calibration_error,
        max(contributions.value) filter (where contributions.dimension = 'class_balance') as class_balance,
        max(contributions.value) filter (where contributions.dimension = 'object_focus') as object_focus,
        max(contributions.value) filter (where contributions.dimension = 'shape_bias') as shape_bias,
        max(contributions.value) filter (where contributions.dimension = 'parameters') as parameters
    from contributions
    group by contributions.source, contributions.model
)

select
    rank() over (order by scored.quba desc) as rank,
    scored.model,
    scored.source,
    scored.quba,
    scored.coverage,
    scored.* exclude (source, model, quba, coverage)
from scored
order by scored.quba desc, scored.model, scored.source
