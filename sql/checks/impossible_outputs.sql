-- Outputs that no classifier can give: probabilities outside 0 to 1, NaN or infinity, a log-sum-exp below the
-- largest logit, a class that the dataset does not have.
--
-- Repair: qubastore doctor --deep --repair removes the shard; then the same qubastore ingest again
with wrong as (
    select
        outputs.run_id,
        outputs.sample_id // runs.shard_size as shard,
        case
            when outputs.confidence is not null and not isfinite(outputs.confidence)
                or outputs.label_probability is not null and not isfinite(outputs.label_probability)
                or outputs.logsumexp is not null and not isfinite(outputs.logsumexp)
                then 'a number that is none'
            when outputs.confidence not between 0 and 1 + 1e-9 or outputs.label_probability not between 0 and 1 + 1e-9
                or outputs.sum_squared_probability not between 0 and 1 + 1e-9
                then 'a probability outside 0 to 1'
            when outputs.logsumexp < outputs.top5_logit[1] - 1e-4 * greatest(1, abs(outputs.top5_logit[1]))
                then 'a log-sum-exp below the largest logit'
            -- Where the argmax decides, -1 is the class of none.
            when outputs.prediction not between -1 and greatest(len(datasets.classes), 1) - 1
                and coalesce(runs.answer_space, datasets.label_space) not in ('transfer', 'unlabelled')
                then 'a class that the dataset does not have'
        end as fault
    from outputs
    join runs using (run_id)
    join datasets using (dataset_id)
)

select run_id as run, shard, count(*) || ' rows of shard ' || shard || ' have ' || fault as found
from wrong
where fault is not null
group by run_id, shard, fault
order by run, shard, found
