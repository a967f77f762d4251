-- Kept features whose width differs from the input of the model's classifier: for example every token of an image
-- instead of one vector. Releases that took the last linear layer for the classifier could store them.
--
-- Repair: qubastore rm run {run}, then ingest again with --keep outputs,logits,features
with widths as (
    select run_id, min(len(values)) as narrowest, max(len(values)) as widest
    from features
    group by run_id
)

select
    run_id as run,
    'features of ' || models.name || ' have '
    || if(narrowest = widest, widest::varchar, narrowest || ' to ' || widest) || ' numbers an image, and '
    || coalesce(models.feature_width::varchar, 'no width') || ' is recorded of its classifier' as found
from widths
join runs using (run_id)
join models using (model_id)
where narrowest <> widest or widest is distinct from models.feature_width
order by run
