-- Under which names a model of a study is stored once it is measured: the one place that knows them.
--
-- Grain: One row per study, model and name in a store.
--
-- study: hesse2025 (the published table has it) or vishniakov2023
-- model: its name in the study
-- stored_as: its name when it is measured
-- preprocessing: own: that of the weights; study: the study's, where that is another
select study, model, stored_as, 'own' as preprocessing
from zoo
where stored_as <> ''
union all
select study, model, stored_as_reference, 'study'
from zoo
where stored_as_reference not in ('', stored_as)
