-- What every dimension contributes to a model's QUBA score: weight * direction * (value - mean) / std / sum of weights.
-- The contributions of a model sum up to its score; a dimension without weight contributes 0.
--
-- Grain: One row per ranked model, source and dimension that it has a value for.
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
-- model: name of the model
-- source: measured, the published table, or the name of an attachment
-- dimension: one of the nine
-- value: its value, in the dimension's unit
-- direction: 1 where up is better, -1 where down is
-- weight: default weight times the factors that mean the dimension
-- mean: what the value is compared with
-- std: what a step of 1 is
-- standard_score: (value - mean) / std; 0 where the ranked models have no spread
-- contribution: its part of the score, in standard deviations
-- coverage: share of the total weight that the model has values for, 0 to 1
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

constants as (
    select
        normalize = 'published'
        or (normalize = 'auto' and suite_name in (select suite from study_suites)) as are_published
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
        wide.origin,
        -- Published figures come from other protocols; what measured stores have in one suite was measured alike.
        if(wide.origin = 'published', wide.source, 'measured') as yardstick,
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
    select pooled.source, pooled.origin, pooled.yardstick, pooled.model, pooled.value, weighted_dimensions.*
    from pooled
    join weighted_dimensions on weighted_dimensions.dimension = pooled.dimension
    where pooled.value is not null
),

coverages as (
    select
        candidates.source,
        any_value(candidates.origin) as origin,
        any_value(candidates.yardstick) as yardstick,
        candidates.model,
        sum(candidates.weight) / (select sum(weighted_dimensions.weight) from weighted_dimensions) as coverage,
        count(*) filter (where candidates.weight > 0)
            = (select count(*) from weighted_dimensions where weighted_dimensions.weight > 0) as is_whole
    from candidates
    group by candidates.source, candidates.model
),

unknown_sources as (
    select requested_sources.name
    from (select unnest(string_split(source_name, ',')) as name) as requested_sources
    where requested_sources.name not in ('auto', 'all', 'measured', 'published', 'attached')
        and requested_sources.name not in (select wide.source from query_table(pool) as wide)
),

checked_coverages as (
    select coverages.*
    from coverages
    where case
            when (select sum(weighted_dimensions.weight) from weighted_dimensions) = 0 then error('all weights are zero')
            when normalize = 'published' and suite_name not in (select suite from study_suites)
                then error('the published constants belong to the suite quba')
            when (select count(*) from unknown_sources) > 0
                then error('unknown source: ' || (select min(unknown_sources.name) from unknown_sources))
            else true
        end
),

ranked_models as (
    select
        coverages.source,
        coverages.model,
        coverages.coverage,
        count(*) over (partition by coverages.yardstick) as n_models
    from checked_coverages as coverages
    where (coverages.is_whole or (partial and coverages.coverage > 0))
        and case source_name
            when 'all' then true
            when 'auto' then coverages.origin = (
                select arg_min(can.origin, list_position(['measured', 'published', 'attached'], can.origin))
                from coverages as can
                where can.is_whole or (partial and can.coverage > 0)
            )
            else list_has_any(string_split(source_name, ','), [coverages.origin, coverages.source])
        end
),

ranked_values as (
    select
        candidates.*,
        ranked_models.n_models,
        row_number() over (partition by candidates.yardstick, candidates.dimension order by candidates.value) as position,
        count(*) over (partition by candidates.yardstick, candidates.dimension) as n
    from candidates
    join ranked_models
        on ranked_models.source = candidates.source
        and ranked_models.model = candidates.model
),

trimmed as (
    select
        ranked_values.yardstick,
        ranked_values.dimension,
        avg(ranked_values.value order by ranked_values.position) as mean,
        stddev_pop(ranked_values.value order by ranked_values.position) as std
    from ranked_values
    where ranked_values.position > ranked_values.n // 10
        and ranked_values.position <= ranked_values.n - ranked_values.n // 10
    group by ranked_values.yardstick, ranked_values.dimension
),

scales as (
    select
        trimmed.yardstick,
        trimmed.dimension,
        case
            when constants.are_published then weighted_dimensions.published_mean
            when normalize not in ('store', 'auto') then error('unknown normalisation: ' || normalize)
            when (select min(ranked_models.n_models) from ranked_models) < 2
                then error('cannot normalise over one model: rank at least two, or normalise with published constants')
            else trimmed.mean
        end as mean,
        if(constants.are_published, weighted_dimensions.published_std, trimmed.std) as std
    from trimmed
    join weighted_dimensions using (dimension)
    cross join constants
),

normalised as (
    select
        ranked_values.*,
        scales.mean,
        scales.std,
        if(scales.std > 0, (ranked_values.value - scales.mean) / scales.std, 0) as standard_score
    from ranked_values
    join scales
        on scales.yardstick = ranked_values.yardstick
        and scales.dimension = ranked_values.dimension
)

select
    normalised.model,
    normalised.source,
    normalised.dimension,
    normalised.value,
    normalised.direction,
    normalised.weight,
    normalised.mean,
    normalised.std,
    normalised.standard_score,
    normalised.weight * normalised.direction * normalised.standard_score
        / sum(normalised.weight order by normalised.dimension) over (partition by normalised.source, normalised.model)
        as contribution,
    ranked_models.coverage
from normalised
join ranked_models
    on ranked_models.source = normalised.source
    and ranked_models.model = normalised.model
