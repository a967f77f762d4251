-- The trials that were imported from model-vs-human's files, of people and of networks: the table human_trials, with
-- who answered.
--
-- Grain: One row per trial.
--
-- experiment: one of the 17 of model-vs-human, as in sketch
-- subject: the person, as in subject-01, or the network
-- observer: person or network: networks count in no mean over people
-- session: session of the experiment
-- trial: number of the trial in it
-- response_seconds: time to answer, seconds; null without an answer, and for networks
-- response: one of 16 categories, or na: no answer in time
-- category: the right one; for cue-conflict the class of the shape
-- condition: level of the experiment, as in c50; 0 where there is one
-- image: name of the image
-- image_id: the image's own part of its name
--
-- Source: Geirhos et al., Partial success in closing the gap between human and machine vision, arXiv 2106.07411
select
    experiment,
    subject,
    if(regexp_full_match(subject, 'subject-?[0-9a-zA-Z_]+'), 'person', 'network') as observer,
    session, trial, response_seconds, response, category, condition, image, image_id
from human_trials
