-- The names of the classes of every dataset, to join with labels and predictions. Looking them up in datasets.classes
-- copies the whole list for every row.
--
-- Grain: One row per dataset and class.
--
-- dataset_id: the dataset
-- class: the class, as labels and predictions are numbered, from 0
-- name: its name, for ImageNet its synset
select
    dataset_id,
    unnest(range(len(classes)))::integer as class,
    unnest(classes) as name
from datasets
