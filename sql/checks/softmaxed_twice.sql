-- Models declared to return logits whose outputs are probabilities already: their log-sum-exp lies between ln K and
-- ln(K - 1 + e), and no output outside 0 to 1, so that softmax was applied twice and every confidence is near 1/K.
--
-- Repair: qubastore rm run {run}, then ingest the model with ,output_type=probabilities
with extremes as (
    select
        outputs.run_id,
        count(*) as n,
        min(list_min(outputs.top5_logit)) as smallest,
        max(outputs.top5_logit[1]) as largest,
        min(outputs.logsumexp) as smallest_logsumexp,
        max(outputs.logsumexp) as largest_logsumexp
    from outputs
    group by outputs.run_id
)

select
    extremes.run_id as run,
    'outputs of ' || models.name || ' lie between ' || round(extremes.smallest, 4) || ' and '
    || round(extremes.largest, 4) || ', as probabilities do' as found
from extremes
join runs using (run_id)
join models using (model_id)
where
    models.output_type = 'logits'
    and models.num_classes > 2
    and extremes.n >= 8
    and extremes.smallest >= 0
    and extremes.largest <= 1
    and extremes.smallest_logsumexp >= ln(models.num_classes) - 1e-6
    and extremes.largest_logsumexp <= ln(models.num_classes - 1 + exp(1)) + 1e-6
order by run
