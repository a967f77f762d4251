-- What the second study (Vishniakov et al., arXiv 2311.09215) asks of kept outputs: annotations of images, answers of
-- people, networks that cannot take another input size, temperatures, probes of features.

create table annotations (
    scheme varchar, file_name varchar, class integer, factors varchar[], metaclass varchar, is_prototype boolean
);
comment on table annotations is 'What sets an image apart, by the name of its file: ImageNet-X (Idrissi et al., arXiv 2211.01866).';
comment on column annotations.scheme is 'imagenet-x/top (one factor an image) or imagenet-x/multi';
comment on column annotations.class is 'right class, 0 to 999';
comment on column annotations.is_prototype is 'one of the images that others were compared with; left out of factors';

create table human_trials (
    experiment varchar, subject varchar, session integer, trial integer, response_seconds double, response varchar,
    category varchar, condition varchar, image varchar, image_id varchar
);
comment on table human_trials is 'Answers of people, one row per trial, as model-vs-human records them (Geirhos et al., NeurIPS 2021).';
comment on column human_trials.response is 'one of 16 categories, or na: no answer in time';
comment on column human_trials.condition is 'level of the experiment, as in c50; 0 where there is one';
comment on column human_trials.image_id is 'the image''s own part of the file name, without number, subject and condition';

create table unsupported (model_id varchar, condition varchar, reason varchar, noted_at timestamptz);
comment on table unsupported is 'Conditions that a network cannot be run under: inputs of another size, for a fixed one.';

create table temperatures (
    model_id varchar, fold integer, temperature double, n_fitted bigint, nll_before double, nll_after double
);
comment on table temperatures is 'One row per fold of a calibrated model: what its logits are divided by, and how well that fits.';
comment on column temperatures.fold is '-1: one temperature for all samples; else that of the samples of this fold, fitted on the others';
comment on column temperatures.nll_before is 'mean negative log-likelihood of the samples fitted on, nats, at temperature 1';
comment on column temperatures.nll_after is 'the same at this temperature';

create table probes (
    probe_id varchar, model_id varchar, task varchar, method varchar, train_run_id varchar, val_run_id varchar,
    test_run_id varchar, n_train bigint, n_val bigint, n_test bigint, n_classes integer, chosen double,
    train_accuracy double, val_accuracy double, test_accuracy double, candidates map(double, double),
    versions map(varchar, varchar), created_at timestamptz
);
comment on table probes is 'One row per classifier fitted on kept features and tested on others.';
comment on column probes.probe_id is 'hash of method, runs and their shards: what it was fitted on';
comment on column probes.val_run_id is 'run of the validation split; null where a fifth of the training split served';
comment on column probes.chosen is 'what validation chose: the inverse regularisation C, or the number of neighbours';
comment on column probes.candidates is 'what was tried -> accuracy on the validation split';

alter table derivations add column command varchar;
comment on column derivations.command is 'what to type to make the run anew';
