-- What work on many machines needs: batch sizes that were found, who is at work, and what the files of a shard hold.

create table batch_sizes (
    model_id varchar, device varchar, precision varchar, work varchar, batch_size integer, found_at timestamptz
);
comment on table batch_sizes is 'The largest batch of each model that fits a device, found once.';
comment on column batch_sizes.work is 'forward, gradients (attacks), or a condition with inputs of another size';

create table drivers (
    driver_id varchar, host varchar, process_id bigint, address varchar, run_ids varchar[], n_images bigint,
    started_at timestamptz
);
comment on table drivers is 'One row per ingest: who does which runs. It is there while the ingest lasts, and stays if the ingest is killed.';
comment on column drivers.n_images is 'images that are to go through models, counted once per model';
comment on column drivers.address is 'the Ray cluster that does the work; null for one of its own';

alter table shards add column driver_id varchar;
alter table shards add column checksums map(varchar, varchar);
comment on column shards.driver_id is 'the ingest that committed the shard; null for what was imported or derived';
comment on column shards.checksums is 'kind of output -> hash of its Parquet file, BLAKE2b of 128 bits';
