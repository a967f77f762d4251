-- Replicates (qubastore/runs/replicates.py): figures of a run in each of many bootstrap resamples of its images, kept so
-- that intervals of rankings, reports and comparisons are computed once.

create table replicates (
    run_id varchar, metric varchar, metric_version integer, design integer, seed bigint, images varchar,
    n_samples integer, values double[]
);
comment on table replicates is 'Bootstrap replicates of published runs over images that are drawn one by one, under the standard design.';
comment on column replicates.metric is 'accuracy; ece, class_balance and ace of runs whose intervals need them';
comment on column replicates.design is 'version of the way in which resamples are drawn';
comment on column replicates.seed is 'seed of the draws';
comment on column replicates.images is 'the set of images, which datasets with the same file names share: hash of the names, and their number';
comment on column replicates.n_samples is 'number of these images that the run has outputs for';
comment on column replicates.values is 'the figure in resample 0, 1, ...; pairs of runs over the same set of images are paired';
