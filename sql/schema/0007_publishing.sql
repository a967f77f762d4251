-- Publishing runs (qubastore/runs/publish.py): shards are work in progress, whose files are staged until the run is
-- published as a whole, with one file per table.

create table staged_files (run_id varchar, shard integer, kind varchar, file varchar);
comment on table staged_files is 'Files of committed shards whose run is not published yet. Their checksums are in shards.';
comment on column staged_files.kind is 'outputs, logits or features';
comment on column staged_files.file is 'path below the store''s data path';

create table run_files (run_id varchar, kind varchar, part integer, file varchar, n_rows bigint, checksum varchar);
comment on table run_files is 'The Parquet files of published runs. Runs of earlier releases have a file per shard, until qubastore compact.';
comment on column run_files.kind is 'outputs, logits or features: the table that the file belongs to';
comment on column run_files.part is '0, 1, ... in the order of the samples: a run has a second file above 256 MB';
comment on column run_files.file is 'path below the store''s data path';
comment on column run_files.checksum is 'hash of the file, BLAKE2b of 128 bits';
