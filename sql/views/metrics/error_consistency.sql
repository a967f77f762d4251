-- Whether two of the models and people err on the same images, beyond what their accuracies alone make likely: Cohen's
-- kappa of being right. 1 means always the same, 0 as by chance, below 0 less than by chance.
--
-- Grain: One row per dataset, framing, condition, precision, decoder, level and unordered pair with images in common.
--
-- dataset: name of the dataset, or of the experiment
-- condition: how the inputs of the models were altered; clean for people
-- framing: how an image became the models' input; null between people
-- precision: of the models; null between people
-- decoder: of the models' images; null between people
-- level: level of the experiment, as in c50, where people or networks are in the pair; else null
-- model_a: a model, an imported network or a person
-- observer_a: model, network (its decisions were imported) or person
-- model_b: the other; in the order of their names, models before networks before people
-- observer_b: model, network or person
-- n: images that both answered
-- accuracy_a: share of them that a gets right, 0 to 1
-- accuracy_b: share of them that b gets right, 0 to 1
-- observed_consistency: share of them that both get right or both get wrong, 0 to 1
-- expected_consistency: that share if they erred independently of each other, 0 to 1
-- error_consistency: (observed - expected) / (1 - expected), up to 1; 1 where observed is 1
--
-- Source: Geirhos, Meding and Wichmann, Beyond accuracy: quantifying trial-by-trial behaviour, arXiv 2006.16736
with
shares as (
    select
        *,
        (both_right + only_a) / n as accuracy_a,
        (both_right + only_b) / n as accuracy_b,
        (both_right + both_wrong) / n as observed_consistency
    from agreement
),

expected as (
    select *, accuracy_a * accuracy_b + (1 - accuracy_a) * (1 - accuracy_b) as expected_consistency
    from shares
)

select
    dataset, condition, framing, precision, decoder, level, model_a, observer_a, model_b, observer_b, n,
    accuracy_a, accuracy_b, observed_consistency, expected_consistency,
    if(
        only_a + only_b = 0,
        1,
        (observed_consistency - expected_consistency) / (1 - expected_consistency)
    )::double as error_consistency
from expected
