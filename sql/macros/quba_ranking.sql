-- The QUBA ranking: sum(weight * sign * (value - mean) / std) / sum(weight) over the dimensions with a weight.
-- A model that lacks such a dimension is left out, or ranked on what it has with partial := true.
-- QUBA is relative to its normalisation: compare scores only within one ranking.
--
-- Grain: One row per ranked model and source, best first.
--
-- Parameters:
-- weights: map from dimension, alias or group to a factor that multiplies the default weight; map {} for the defaults
-- suite_name := 'quba': suite to rank in
-- source_name := 'auto': measured, published, all, or auto (measured where a measured model can be ranked, else published)
-- normalize := 'auto': published (constants of the study), store (trimmed mean and std of what is ranked, within a
--   source: floor(0.1 n) values dropped at each end, population std), or auto (published for quba, else store)
-- partial := false: true ranks models on the dimensions that they have
-- pool := 'rankable': table or view with the columns of rankable: what may be ranked
--
-- rank: place; models with equal scores share one
-- model: name of the model
-- source: measured, or the published table
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
requested as (
    select unnest(map_keys(weights))::varchar as name, unnest(map_values(weights))::double as factor
),

factors as (
    select
        requested.name,
        case
            when not exists (from dimension_names where dimension_names.name = requested.name)
                then error('unknown dimension in weights: ' || requested.name)
            when (requested.factor >= 0 and requested.factor < 'infinity'::double) is not true
                then error('weight of ' || requested.name || ' is not a number from 0 up')
            else requested.factor
        end as factor
    from requested
),

weighted_dimensions as (
    select
        dimensions.dimension,
        any_value(if(dimensions.better = 'up', 1, -1)) as direction,
        any_value(dimensions.published_mean) as published_mean,
        any_value(dimensions.published_std) as published_std,
        any_value(dimensions.default_weight) * coalesce(product(factors.factor), 1) as weight
    from dimensions
    join dimension_names using (dimension)
    left join factors on factors.name = dimension_names.name
    group by dimensions.dimension
),

pooled as (
    select
        wide.source,
        wide.model,
        unnest([
            {'dimension': 'accuracy', 'value': wide.accuracy},
            {'dimension': 'adversarial_robustness', 'value': wide.adversarial_robustness},
            {'dimension': 'corruption_robustness', 'value': wide.corruption_robustness},
            {'dimension': 'ood_robustness', 'value': wide.ood_robustness},
            {'dimension': 'calibration_error', 'value': wide.calibration_error},
            {'dimension': 'class_balance', 'value': wide.class_balance},
            {'dimension': 'object_focus', 'value': wide.object_focus},
            {'dimension': 'shape_bias', 'value': wide.shape_bias},
            {'dimension': 'parameters', 'value': wide.parameters_m}
        ], recursive := true)
    from query_table(pool) as wide
    where wide.suite = suite_name
),

candidates as (
    select pooled.source, pooled.model, pooled.value, weighted_dimensions.*
    from pooled
    join weighted_dimensions on weighted_dimensions.dimension = pooled.dimension
    where pooled.value is not null
),

coverages as (
    select
        candidates.source,
        candidates.model,
        sum(candidates.weight) / (select sum(weighted_dimensions.weight) from weighted_dimensions) as coverage,
        count(*) filter (where candidates.weight > 0)
            = (select count(*) from weighted_dimensions where weighted_dimensions.weight > 0) as is_whole
    from candidates
    group by candidates.source, candidates.model
),

checked_coverages as (
    select coverages.*
    from coverages
    where case
            when (select sum(weighted_dimensions.weight) from weighted_dimensions) = 0 then error('all weights are zero')
            when normalize = 'published' and suite_name <> 'quba'
                then error('the published constants belong to the suite quba')
            else true
        end
),

ranked_models as (
    select
        coverages.source,
        coverages.model,
        coverages.coverage,
        count(*) over (partition by coverages.source) as n_models
    from checked_coverages as coverages
    where (coverages.is_whole or (partial and coverages.coverage > 0))
        and case source_name
            when 'all' then true
            when 'measured' then coverages.source = 'measured'
            when 'published' then coverages.source <> 'measured'
            when 'auto' then (coverages.source = 'measured') = (
                select count(*) > 0
                from coverages as measured
                where measured.source = 'measured' and (measured.is_whole or (partial and measured.coverage > 0))
            )
            else error('unknown source: ' || source_name)
        end
),

ranked_values as (
    select
        candidates.*,
        ranked_models.n_models,
        row_number() over (partition by candidates.source, candidates.dimension order by candidates.value) as position,
        count(*) over (partition by candidates.source, candidates.dimension) as n
    from candidates
    join ranked_models
        on ranked_models.source = candidates.source
        and ranked_models.model = candidates.model
),

trimmed as (
    select
        ranked_values.source,
        ranked_values.dimension,
        avg(ranked_values.value order by ranked_values.position) as mean,
        stddev_pop(ranked_values.value order by ranked_values.position) as std
    from ranked_values
    where ranked_values.position > ranked_values.n // 10
        and ranked_values.position <= ranked_values.n - ranked_values.n // 10
    group by ranked_values.source, ranked_values.dimension
),

normalised as (
    select
        ranked_values.*,
        case
            when normalize = 'published' or (normalize = 'auto' and suite_name = 'quba')
                then (ranked_values.value - ranked_values.published_mean) / ranked_values.published_std
            when normalize not in ('store', 'auto') then error('unknown normalisation: ' || normalize)
            when ranked_values.n_models < 2
                then error('cannot normalise over one model: rank at least two, or normalise with published constants')
            when trimmed.std > 0 then (ranked_values.value - trimmed.mean) / trimmed.std
            else 0
        end as standard_score
    from ranked_values
    join trimmed
        on trimmed.source = ranked_values.source
        and trimmed.dimension = ranked_values.dimension
),

scored as (
    select
        normalised.source,
        normalised.model,
        sum(normalised.weight * normalised.direction * normalised.standard_score order by normalised.dimension)
            / sum(normalised.weight order by normalised.dimension) as quba,
        max(normalised.value) filter (where normalised.dimension = 'accuracy') as accuracy,
        max(normalised.value) filter (where normalised.dimension = 'adversarial_robustness') as adversarial_robustness,
        max(normalised.value) filter (where normalised.dimension = 'corruption_robustness') as corruption_robustness,
        max(normalised.value) filter (where normalised.dimension = 'ood_robustness') as ood_robustness,
        max(normalised.value) filter (where normalised.dimension = 'calibration_error') as calibration_error,
        max(normalised.value) filter (where normalised.dimension = 'class_balance') as class_balance,
        max(normalised.value) filter (where normalised.dimension = 'object_focus') as object_focus,
        max(normalised.value) filter (where normalised.dimension = 'shape_bias') as shape_bias,
        max(normalised.value) filter (where normalised.dimension = 'parameters') as parameters
    from normalised
    group by normalised.source, normalised.model
)

select
    rank() over (order by scored.quba desc) as rank,
    scored.model,
    scored.source,
    scored.quba,
    ranked_models.coverage,
    scored.* exclude (source, model, quba)
from scored
join ranked_models
    on ranked_models.source = scored.source
    and ranked_models.model = scored.model
order by scored.quba desc, scored.model
