-- Under which names a model of a study is stored once it is measured: the one place that knows them.
--
-- Grain: One row per study, model and name in a store.
--
-- study: hesse2025 (the published table has it) or vishniakov2023
-- model: its name in the study
-- stored_as: its name when it is measured
-- preprocessing: own: that of the weights; the view published_differences says for which models the study used another
select study, model, stored_as, 'own' as preprocessing
from zoo
where stored_as <> ''
