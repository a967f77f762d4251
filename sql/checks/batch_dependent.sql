-- Models whose outputs for the same image under the same condition differ, as those of networks in train mode do, whose
-- outputs depend on the rest of the batch. Images with the same bytes are compared, within a run and between runs.
--
-- Repair: qubastore rm run {run}, then ingest the model in eval mode
with answers as (
    select
        runs.run_id, runs.model_id, datasets.label_space, runs.framing, runs.condition, runs.precision,
        runs.decoder, contents.content_hash, outputs.logsumexp
    from outputs
    join runs using (run_id)
    join datasets using (dataset_id)
    join sample_contents as contents
        on contents.dataset_id = runs.dataset_id and contents.sample_id = outputs.sample_id
    where outputs.logsumexp is not null and runs.origin = 'measured' and runs.condition not like 'pgd%'
        and runs.condition not like 'fgsm%'
),

spreads as (
    select
        model_id, precision, content_hash, min(run_id) as run_id,
        max(logsumexp) - min(logsumexp) as spread,
        max(abs(logsumexp)) as size
    from answers
    group by model_id, label_space, framing, condition, precision, decoder, content_hash
    having count(*) > 1
)

select
    run_id as run,
    count(*) || ' images have several answers of ' || any_value(models.name) || ', up to ' || round(max(spread), 4)
    || ' apart in log-sum-exp' as found
from spreads
join models using (model_id)
-- Half precision rounds to 8 or 11 bits, and other batch sizes round differently.
where spread > if(starts_with(precision, 'fp32'), 1e-3, 0.05) * greatest(1, size)
group by run_id
order by run
