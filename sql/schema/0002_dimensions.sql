-- What all nine dimensions need: suites that users wrote apart from those that come with a release, what all images of a
-- dataset share, decisions between shape and texture, what a model costs, zero-shot heads, runs made without images.

alter table suites rename to own_suites;
delete from own_suites where suite = 'quba';
alter table own_suites add column label_space varchar;
comment on table own_suites is 'Suites of one''s own; the view suites adds those that come with the release.';

alter table datasets add column factors map(varchar, varchar);
comment on column datasets.factors is 'what all samples share: corruption and severity of a cell of a corruption set';

alter table models add column macs bigint;
alter table models add column activations bigint;
comment on column models.macs is 'multiply-accumulates of a forward pass of one image, in convolutions, matrix products and attention';
comment on column models.activations is 'numbers that those operations put out for one image; times 4 bytes in fp32';

create table cue_summary (run_id varchar, category integer, n bigint, n_shape bigint, n_texture bigint);
comment on table cue_summary is 'Per shape category of a cue-conflict run, over images whose shape and texture differ: decisions for each.';

create table heads (
    model_id varchar, class_names varchar[], templates varchar[], logit_scale double, logit_bias double,
    created_at timestamptz
);
comment on table heads is 'One row per zero-shot model: the texts that its classifier is made of, and how cosines become logits.';
comment on column heads.logit_scale is 'logit = logit_scale * cosine + logit_bias';

create table head_vectors (model_id varchar, class integer, values float[]);
comment on table head_vectors is 'The text vector of each class of a zero-shot model, of length 1, float32.';

create table derivations (run_id varchar, source_run_id varchar, kind varchar, parameters varchar, created_at timestamptz);
comment on table derivations is 'Runs computed from the kept features or logits of another run, without images.';
comment on column derivations.parameters is 'what it was made of: a hash of the source''s shards and when they were committed';
