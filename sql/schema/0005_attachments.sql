-- What else a store is asked with: other stores and tables, read where they are (qubastore/attachments/attach.py).

create table attachments (
    name varchar, kind varchar, location varchar, suite varchar, ranked_table varchar, columns map(varchar, varchar),
    attached_at timestamptz
);
comment on table attachments is 'Other stores, exports of stores, and folders of tables, that are asked beside this store.';
comment on column attachments.name is 'schema name, and name of the source in rankings';
comment on column attachments.kind is 'store, export (qubastore export), or tables (Parquet or CSV files of any origin)';
comment on column attachments.location is 'folder, file or URL; absolute';
comment on column attachments.suite is 'tables: the suite that their figures belong to, where they do not say';
comment on column attachments.ranked_table is 'tables: the one whose rows are ranked; null where none is';
comment on column attachments.columns is 'tables: column of rankable -> SQL expression over the ranked table';
