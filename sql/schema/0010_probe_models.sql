-- Probes that are models: their heads, and how the outputs of a run became the classes of its dataset, which is no longer
-- a matter of the dataset alone.

alter table runs add column answer_space varchar;
comment on column runs.answer_space is 'how outputs became classes, where it is not as the dataset says: transfer for a backbone without a head, which has no answers; own-classes for a probe of a task';

create table probe_heads (
    model_id varchar, backbone_id varchar, task varchar, method varchar, chosen double,
    train_run_id varchar, val_run_id varchar, test_run_id varchar, train_samples integer[], val_samples integer[],
    center double[], scale double[], command varchar, created_at timestamptz
);
comment on table probe_heads is 'One row per probe that is a model: what it was fitted on. It is deleted when that changes.';
comment on column probe_heads.backbone_id is 'the model whose features it takes';
comment on column probe_heads.chosen is 'its hyperparameter: the inverse regularisation C, or the number of neighbours';
comment on column probe_heads.val_run_id is 'run of the validation split; null where part of the training split served';
comment on column probe_heads.train_samples is 'samples of the training split that it was fitted on';
comment on column probe_heads.val_samples is 'samples of the validation split that it was fitted on; empty without one';
comment on column probe_heads.center is 'subtracted from the features; null for nearest neighbours';
comment on column probe_heads.scale is 'by which the features are then divided; null for nearest neighbours';
comment on column probe_heads.command is 'the command that fits it again';

create table probe_weights (model_id varchar, class integer, weights double[], bias double);
comment on table probe_weights is 'The classifier of a linear probe: one row per class, for features that are centered and scaled.';
