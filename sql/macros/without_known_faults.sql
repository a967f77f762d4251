-- The rows of a pool, with null in place of every published figure that is known or likely to be wrong. A table made of
-- it can be the pool of the macros that rank. Differences of protocol stay.
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
faulty_columns as (
    select source, model, list(distinct if(dimension = 'parameters', 'parameters_m', dimension)) as columns
    from published_differences
    where kind = 'fault'
    group by source, model
)

-- Of every column: null where its name is among the faulty ones, else what it holds.
select if(list_contains(faulty_columns.columns, alias(columns(pool_rows.*))), null, columns(pool_rows.*))
from query_table(pool) as pool_rows
left join faulty_columns
    on faulty_columns.source = pool_rows.source
    and faulty_columns.model = pool_rows.model
