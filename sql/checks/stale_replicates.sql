-- Bootstrap replicates that do not belong to their run's summary: the run has none, or one of other samples, or their
-- mean is not that of the run's accuracy.
--
-- Repair: qubastore doctor --deep --repair removes them with the sums, which are recomputed; they are, when wanted again
with kept as (
    select
        replicates.run_id,
        replicates.metric,
        replicates.n_samples,
        len(replicates.values) as n,
        -- A resample in which no sample of the run was drawn has no accuracy.
        list_avg(list_filter(replicates.values, x -> not isnan(x))) as mean,
        summary.n_outputs,
        summary.n_correct / nullif(summary.n_outputs, 0) as accuracy,
        count(*) over (partition by replicates.run_id, replicates.metric) as times
    from replicates
    left join run_summary as summary using (run_id)
),

judged as (
    select
        *,
        case
            when n_outputs is null then 'the run has no summary'
            when times > 1 then 'they are there ' || times || ' times'
            when n <> 1000 then 'there are ' || n || ' of 1000'
            when n_samples <> n_outputs then 'they are of ' || n_samples || ' samples, the run has ' || n_outputs
            -- The mean of n shares of about as many draws is within ten standard errors.
            when
                metric = 'accuracy'
                and abs(mean - accuracy) > 1e-9 + 10 * sqrt(greatest(accuracy * (1 - accuracy), 0) / n_samples / n)
                then 'their mean is ' || round(mean, 4) || ', the accuracy ' || round(accuracy, 4)
        end as fault
    from kept
)

select
    run_id as run,
    'replicates of ' || string_agg(distinct metric, ', ' order by metric) || ': ' || min(fault) as found
from judged
where fault is not null
group by run_id
order by run_id
