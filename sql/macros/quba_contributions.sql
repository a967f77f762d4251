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
-- mean: the value at which the standard score is 0
-- std: the difference in value that is a standard score of 1
-- standard_score: (value - mean) / std; 0 where the ranked models have no spread
-- contribution: its part of the score, in standard deviations
-- coverage: share of the total weight that the model has values for, 0 to 1
--
-- Source: Hesse et al., arXiv 2503.17110
with
-- First the weights: the requested factors, checked, times the default weights of the dimensions that they name.
requested_factors as (
    select unnest(map_keys(weights))::varchar as name, unnest(map_values(weights))::double as factor
),

checked_factors as (
    select
        name,
        case
            when name not in (select dimension_names.name from dimension_names)
                then error('unknown dimension in weights: ' || name)
            when (factor >= 0 and factor < 'infinity'::double) is not true
                then error('weight of ' || name || ' is not a number from 0 up')
            else factor
        end as factor
    from requested_factors
),

weighted_dimensions as (
    select
        dimensions.dimension,
        any_value(if(dimensions.better = 'up', 1, -1)) as direction,
        any_value(dimensions.published_mean) as published_mean,
        any_value(dimensions.published_std) as published_std,
        any_value(dimensions.default_weight) * coalesce(product(checked_factors.factor), 1) as weight
    from dimensions
    join dimension_names using (dimension)
    left join checked_factors on checked_factors.name = dimension_names.name
    group by dimensions.dimension
),

total_weight as (
    select sum(weight) as weight, count(*) filter (where weight > 0) as n_dimensions
    from weighted_dimensions
),

-- Then the values of the pool in long form: one row per model and dimension that it has a value for.
pool_rows as (
    select
        suite, model, source, origin,
        accuracy, adversarial_robustness, corruption_robustness, ood_robustness, calibration_error, class_balance,
        object_focus, shape_bias, parameters_m as parameters
    from query_table(pool)
),

pool_values as (
    unpivot (from pool_rows where suite = suite_name)
    on columns(* exclude (suite, model, source, origin))
    into name dimension value value
),

candidate_values as (
    select
        pool_values.source,
        pool_values.origin,
        -- Published figures come from other protocols; what measured stores have in one suite was measured alike.
        if(pool_values.origin = 'published', pool_values.source, 'measured') as normalisation_group,
        pool_values.model,
        pool_values.value,
        weighted_dimensions.*
    from pool_values
    join weighted_dimensions using (dimension)
),

-- Which models are ranked: those of the sources that were asked for that have every dimension with a weight.
model_coverages as (
    select
        candidate_values.source,
        any_value(candidate_values.origin) as origin,
        any_value(candidate_values.normalisation_group) as normalisation_group,
        candidate_values.model,
        sum(candidate_values.weight) / any_value(total_weight.weight) as coverage,
        count(*) filter (where candidate_values.weight > 0) = any_value(total_weight.n_dimensions) as has_all_dimensions
    from candidate_values
    cross join total_weight
    group by candidate_values.source, candidate_values.model
),

requested_sources as (
    select unnest(string_split(source_name, ',')) as source
),

unknown_sources as (
    select source
    from requested_sources
    where source not in ('auto', 'all', 'measured', 'published', 'attached')
        and source not in (select pool_rows.source from pool_rows)
),

checked_coverages as (
    select *
    from model_coverages
    where case
            when (select weight from total_weight) = 0 then error('all weights are zero')
            when normalize = 'published' and suite_name not in (select suite from study_suites)
                then error('the published constants belong to the suite quba')
            when (select count(*) from unknown_sources) > 0
                then error('unknown source: ' || (select min(source) from unknown_sources))
            else true
        end
),

rankable_models as (
    from checked_coverages
    where has_all_dimensions or (partial and coverage > 0)
),

ranked_models as (
    select *, count(*) over (partition by normalisation_group) as n_models
    from rankable_models
    where case source_name
            when 'all' then true
            when 'auto' then origin = (
                select arg_min(origin, list_position(['measured', 'published', 'attached'], origin))
                from rankable_models
            )
            else list_has_any(string_split(source_name, ','), [origin, source])
        end
),

ranked_values as (
    select
        candidate_values.*,
        ranked_models.coverage,
        row_number() over within_group as position,
        count(*) over (partition by candidate_values.normalisation_group, candidate_values.dimension) as n_values
    from candidate_values
    join ranked_models
        on ranked_models.source = candidate_values.source
        and ranked_models.model = candidate_values.model
    window within_group as (
        partition by candidate_values.normalisation_group, candidate_values.dimension
        order by candidate_values.value
    )
),

-- Then what a value is compared with: a mean and a spread per dimension and normalisation group.
trimmed_values as (
    from ranked_values
    where position > n_values // 10
        and position <= n_values - n_values // 10
),

trimmed_moments as (
    select
        normalisation_group,
        dimension,
        avg(value order by position) as mean,
        stddev_pop(value order by position) as std
    from trimmed_values
    group by normalisation_group, dimension
),

constants as (
    select
        normalize = 'published'
        or (normalize = 'auto' and suite_name in (select suite from study_suites)) as are_published
),

scales as (
    select
        trimmed_moments.normalisation_group,
        trimmed_moments.dimension,
        case
            when constants.are_published then weighted_dimensions.published_mean
            when normalize not in ('store', 'auto') then error('unknown normalisation: ' || normalize)
            when (select min(n_models) from ranked_models) < 2
                then error('cannot normalise over one model: rank at least two, or normalise with published constants')
            else trimmed_moments.mean
        end as mean,
        if(constants.are_published, weighted_dimensions.published_std, trimmed_moments.std) as std
    from trimmed_moments
    join weighted_dimensions using (dimension)
    cross join constants
),

standardised_values as (
    select
        ranked_values.*,
        scales.mean,
        scales.std,
        if(scales.std > 0, (ranked_values.value - scales.mean) / scales.std, 0) as standard_score
    from ranked_values
    join scales
        on scales.normalisation_group = ranked_values.normalisation_group
        and scales.dimension = ranked_values.dimension
)

select
    model,
    source,
    dimension,
    value,
    direction,
    weight,
    mean,
    std,
    standard_score,
    weight * direction * standard_score / sum(weight order by dimension) over (partition by source, model)
        as contribution,
    coverage
from standardised_values
