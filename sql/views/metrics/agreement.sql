-- Pairs of models and people, image by image: how often both are right, one alone, or none. Two models are compared on
-- the same dataset, framing, condition, precision and decoder; people and models on the images of the experiment that
-- has the dataset's name, level by level.
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
-- run_a: run of model_a; null without one
-- run_b: run of model_b; null without one
-- n: images that both answered
-- both_right: images that both get right; null, as the next three, where the images have no labels
-- only_a: images that only a gets right
-- only_b: images that only b gets right
-- both_wrong: images that both get wrong
-- same_answer: images for which both give the same answer, right or wrong
with
model_answers as (
    select
        run.run_id, run.model, run.dataset_id, run.dataset, run.framing, run.condition, run.precision,
        run.decoder,
        outputs.sample_id,
        outputs.prediction,
        outputs.prediction = outputs.label as is_right
    from outputs
    join run_details as run using (run_id)
    where run.complete
        and outputs.prediction is not null
),

-- model-vs-human names an image differently for a network and in the log of a person; only the last part is the same.
seen as (
    select
        answers.*,
        datasets.classes[answers.prediction + 1] as response,
        regexp_extract(samples.key, '(?:^|[_/])(n0[^_/]*_[^_/]+|[^_/]+)$', 1) as image_id,
        coalesce(nullif(regexp_extract(samples.key, '/[0-9]+_[^_]+_dnn_([^_]+)_', 1), ''), '0') as level
    from model_answers as answers
    join datasets using (dataset_id)
    join samples
        on samples.dataset_id = answers.dataset_id
        and samples.sample_id = answers.sample_id
    where answers.dataset in (select experiment from observer_trials)
),

-- People, and networks whose decisions were imported.
observers as (
    select
        experiment as dataset, condition as level, subject, observer, image_id, response,
        response = category as is_right
    from observer_trials
),

between_models as (
    select
        a.dataset, a.condition, a.framing, a.precision, a.decoder,
        null::varchar as level,
        a.model as model_a, 'model' as observer_a, b.model as model_b, 'model' as observer_b,
        a.run_id as run_a, b.run_id as run_b,
        a.is_right as right_a, b.is_right as right_b,
        a.prediction = b.prediction as is_same
    from model_answers as a
    join model_answers as b
        on b.dataset_id = a.dataset_id
        and b.framing = a.framing
        and b.condition = a.condition
        and b.precision = a.precision
        and b.decoder = a.decoder
        and b.sample_id = a.sample_id
        and (b.model, b.run_id) > (a.model, a.run_id)
),

with_observers as (
    select
        a.dataset, a.condition, a.framing, a.precision, a.decoder,
        a.level,
        a.model, 'model', b.subject, b.observer,
        a.run_id, null::varchar,
        a.is_right, b.is_right,
        a.response = b.response
    from seen as a
    join observers as b
        on b.dataset = a.dataset
        and b.level = a.level
        and b.image_id = a.image_id
),

between_observers as (
    select
        a.dataset, 'clean', null::varchar, null::varchar, null::varchar,
        a.level,
        a.subject, a.observer, b.subject, b.observer,
        null::varchar, null::varchar,
        a.is_right, b.is_right,
        a.response = b.response
    from observers as a
    join observers as b
        on b.dataset = a.dataset
        and b.level = a.level
        and b.image_id = a.image_id
        and (b.observer, b.subject) > (a.observer, a.subject)
),

pairs as (
    from between_models
    union all
    from with_observers
    union all
    from between_observers
)

select
    dataset, condition, framing, precision, decoder, level, model_a, observer_a, model_b, observer_b, run_a, run_b,
    count(*) as n,
    sum((right_a and right_b)::bigint)::bigint as both_right,
    sum((right_a and not right_b)::bigint)::bigint as only_a,
    sum((right_b and not right_a)::bigint)::bigint as only_b,
    sum((not right_a and not right_b)::bigint)::bigint as both_wrong,
    count(*) filter (where is_same) as same_answer
from pairs
group by all
