-- Where each image is below the root of its dataset, so that it can be looked at: its key does not say in which file of a
-- dataset of tar files or tables it is.

alter table samples add column path varchar;
alter table samples add column place bigint;
comment on column samples.path is 'the file relative to the root of the dataset that the image is in; null if that is the key, and for datasets of releases before schema 12';
comment on column samples.place is 'where in that file: the row of a table, or the offset of the header of a member of a tar file; null for an image file';
