-- What tells networks apart that weights and descriptions do not (qubastore/models/fingerprints.py). Models recorded before have
-- no row here until they are loaded again.

create table fingerprints (
    model_id varchar, precision varchar, version integer, values double[], packages map(varchar, varchar),
    computed_at timestamptz
);
comment on table fingerprints is 'One row per model whose network was run here: its answers to four fixed images.';
comment on column fingerprints.precision is 'float64, or float32 where the network cannot be run in double precision';
comment on column fingerprints.version is 'which images';
comment on column fingerprints.values is 'logits, image by image; image and text vectors of zero-shot models';
comment on column fingerprints.packages is 'package -> version that computed them';
