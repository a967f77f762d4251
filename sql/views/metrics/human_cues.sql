-- Decisions of people, and of networks whose decisions were imported, on images with the shape of one class and the
-- texture of another: counts.
--
-- Grain: One row per experiment, observer and category of the shape.
--
-- experiment: cue-conflict
-- subject: the person or network
-- observer: person or network
-- category: class of the shape
-- n_trials: trials with that shape
-- n_unanswered: trials among them without an answer
-- n: trials whose texture is of another class
-- n_shape: decisions for the shape among these
-- n_texture: decisions for the texture among these
--
-- Source: Geirhos et al., arXiv 1811.12231
with
trials as (
    select
        *,
        regexp_extract(image_id, '-([a-z]+)[0-9]+', 1) as texture
    from observer_trials
    where experiment = 'cue-conflict'
)

select
    experiment, subject, observer, category,
    count(*) as n_trials,
    count(*) filter (where response = 'na') as n_unanswered,
    count(*) filter (where category <> texture) as n,
    count(*) filter (where category <> texture and response = category) as n_shape,
    count(*) filter (where category <> texture and response = texture) as n_texture
from trials
group by experiment, subject, observer, category
