-- The first schema. DuckLake has no keys and no constraints: what is unique is kept so by the transactions that write
-- (qubastore/runs/records.py, qubastore/runs/commit.py). Comments on columns say what a reader of the data needs.

create table store_info (key varchar, value varchar);
comment on table store_info is 'Facts about the store itself: schema_version, views_hash.';

create table models (
    model_id varchar, name varchar, loader varchar, architecture varchar, weights_hash varchar,
    preprocessing varchar, input_height integer, input_width integer, num_classes integer,
    parameters bigint, feature_width integer, output_type varchar, created_at timestamptz
);
comment on table models is 'One row per model: architecture + weights + preprocessing + head.';
comment on column models.model_id is 'hash of loader, architecture, weights, preprocessing and head';
comment on column models.name is 'loader:name, as in timm:resnet50.a1_in1k';
comment on column models.architecture is 'JSON: what, besides the weights, decides the function that the model computes';
comment on column models.preprocessing is 'JSON: how an image becomes the input';
comment on column models.parameters is 'number of parameters; null where the weights were never seen (imported predictions)';
comment on column models.feature_width is 'length of the vector that enters the classifier';

create table model_revisions (revision varchar, model_id varchar);
comment on table model_revisions is 'Checkpoint revision -> model, so that planning loads no weights.';

create table datasets (
    dataset_id varchar, name varchar, n_samples bigint, label_space varchar, classes varchar[], root varchar,
    created_at timestamptz
);
comment on table datasets is 'One row per dataset: an ordered list of samples. A subset is a dataset of its own.';
comment on column datasets.dataset_id is 'hash of the name and the ordered (key, byte size) of all samples';
comment on column datasets.classes is 'class names by label';

create table samples (dataset_id varchar, sample_id integer, key varchar, bytes bigint, factors map(varchar, varchar));
alter table samples set partitioned by (dataset_id);
comment on table samples is 'One row per sample of a dataset.';
comment on column samples.key is 'path relative to the root of the dataset, /-separated';

create table sample_contents (dataset_id varchar, sample_id integer, content_hash varchar);
comment on table sample_contents is 'Content hash of each sample, recorded when it was first decoded.';

create table label_sets (dataset_id varchar, label_set varchar, sample_id integer, labels integer[]);
alter table label_sets set partitioned by (dataset_id);
comment on table label_sets is 'The right answers: one or several classes per sample and label set.';

create table runs (
    run_id varchar, model_id varchar, dataset_id varchar, framing varchar, condition varchar, precision varchar,
    output_schema integer, origin varchar, shard_size integer, n_shards integer,
    versions map(varchar, varchar), created_at timestamptz
);
comment on table runs is 'One row per run: model x dataset x framing x condition x precision.';
comment on column runs.origin is 'measured (ingest) or imported (predictions made elsewhere)';

create table shards (
    run_id varchar, shard integer, first_sample integer, n_samples integer, n_outputs integer, n_failed integer,
    kept varchar[], batch_size integer, device varchar, seconds double, committed_at timestamptz
);
comment on table shards is 'One row per committed shard (a range of samples of a run): there whole, or not at all.';
comment on column shards.kept is 'what was kept: outputs, logits, features';
comment on column shards.seconds is 'seconds of the forward passes of this run over the shard';

create table outputs (
    run_id varchar, sample_id integer, label integer, prediction integer, confidence double, label_probability double,
    label_logit float, logsumexp double, sum_squared_probability double, top5_class integer[], top5_logit float[]
);
alter table outputs set partitioned by (run_id);
comment on table outputs is 'One narrow row per sample of a run, computed in float64 before any rounding.';
comment on column outputs.label is 'right class in the label set of the dataset';
comment on column outputs.prediction is 'class of the largest logit; the lowest class on a tie';
comment on column outputs.confidence is 'softmax probability of the prediction, 0 to 1';
comment on column outputs.label_probability is 'softmax probability of the label, 0 to 1';
comment on column outputs.label_logit is 'logit of the label: with logsumexp, its log-probability without underflow';
comment on column outputs.logsumexp is 'natural log of the summed exponentials of the logits';
comment on column outputs.sum_squared_probability is 'sum over the classes of the squared probability';
comment on column outputs.top5_class is 'classes of the five largest logits, largest first';

create table logits (run_id varchar, sample_id integer, values float[]);
alter table logits set partitioned by (run_id);
comment on table logits is 'One vector per sample of a run, rounded to 16 (fp32), 11 (fp16) or 8 (bf16) significant bits.';

create table features (run_id varchar, sample_id integer, values float[]);
alter table features set partitioned by (run_id);
comment on table features is 'The vector that enters the classifier, one per sample of a run, rounded like logits.';

create table failures (run_id varchar, sample_id integer, key varchar, error varchar);
comment on table failures is 'Images that could not be decoded.';

create table run_summary (
    run_id varchar, n_outputs bigint, n_failed bigint, n_correct bigint, n_top5_correct bigint,
    sum_confidence double, sum_negative_log_likelihood double, sum_brier_score double, computed_at timestamptz
);
comment on table run_summary is 'Counts and sums of a complete run. A run without a row here is not complete.';

create table class_summary (
    run_id varchar, class integer, n bigint, n_correct bigint, mean_label_probability double, std_label_probability double
);
comment on table class_summary is 'Per class that has samples: counts, mean and population std of the true class probability.';

create table bin_summary (run_id varchar, bin integer, n bigint, n_correct bigint, sum_confidence double);
comment on table bin_summary is 'Per confidence bin 1..15, (lo, hi], that has samples: counts and summed confidence.';

create table run_metrics (run_id varchar, metric varchar, metric_version integer, value double);
comment on table run_metrics is 'Every scalar metric of a complete run, stored when it was completed.';

create table suites (
    suite varchar, role varchar, dataset varchar, condition varchar, framing varchar, n_samples bigint
);
comment on table suites is 'Which dataset and condition plays which role, with the full number of samples.';

create table published_models (
    source varchar, model varchar, label varchar, architecture varchar, pretraining varchar, paradigm varchar,
    paper varchar, loader varchar, loader_id varchar
);
comment on table published_models is 'Models of published tables. Join on model: labels repeat.';

create table published_results (source varchar, model varchar, dimension varchar, value double);
comment on table published_results is 'Published quality dimensions; hesse2025 is the QUBA study (arXiv 2503.17110), whose known faults docs/published.md lists.';
