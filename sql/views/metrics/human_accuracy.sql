-- How often people name the category of an image; no answer in time counts as wrong.
--
-- Grain: One row per experiment, condition and person.
--
-- experiment: one of the 17 of model-vs-human, as in sketch
-- condition: level of the experiment, as in c50
-- subject: the person
-- n: trials
-- n_unanswered: trials without an answer
-- accuracy: share of trials whose response is the category, 0 to 1
-- response_seconds: median time to answer, seconds
--
-- Source: Geirhos et al., Partial success in closing the gap between human and machine vision, arXiv 2106.07411
select
    experiment,
    condition,
    subject,
    count(*) as n,
    count(*) filter (where response = 'na') as n_unanswered,
    count(*) filter (where response = category) / count(*) as accuracy,
    median(response_seconds) as response_seconds
from observer_trials
where observer = 'person'
group by experiment, condition, subject
