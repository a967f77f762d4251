-- What each model is called in every table, and whether its identity holds.
--
-- Grain: One row per model.
--
-- model_id: the model
-- model: loader:name; names that several models share end in @ and the start of the model's id
-- name: loader:name alone
-- identity: unverified for python: models of releases that knew them by the text of their file, which does not say all
--   that decides their outputs; else empty
select
    model_id,
    if(count(*) over (partition by name) > 1, name || '@' || left(model_id, 6), name) as model,
    name,
    if(loader = 'python' and contains(architecture, '"source":'), 'unverified', '') as identity
from models
