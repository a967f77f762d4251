-- Complete runs whose stored sums no longer match their rows.
--
-- Repair: qubastore doctor --deep --repair recomputes the sums
with summed as (
    select
        run_id,
        count(*) as n_outputs,
        count(*) filter (where prediction = label) as n_correct,
        count(*) filter (where list_contains(top5_class, label)) as n_top5_correct,
        sum(confidence) as sum_confidence
    from outputs
    group by run_id
),

classes as (
    select run_id, sum(n) as n, sum(n_correct) as n_correct from class_summary group by run_id
),

bins as (
    select run_id, sum(n) as n, sum(n_correct) as n_correct from bin_summary group by run_id
)

select
    summary.run_id as run,
    'the sums say ' || summary.n_correct || ' of ' || summary.n_outputs || ' right, the rows '
    || coalesce(summed.n_correct, 0) || ' of ' || coalesce(summed.n_outputs, 0)
    || if(classes.n_correct <> summary.n_correct, '; the classes ' || classes.n_correct, '')
    || if(bins.n_correct <> summary.n_correct, '; the bins ' || bins.n_correct, '') as found
from run_summary as summary
left join summed using (run_id)
left join classes using (run_id)
left join bins using (run_id)
where
    summary.n_outputs <> coalesce(summed.n_outputs, 0)
    or summary.n_correct <> summed.n_correct
    or summary.n_top5_correct <> summed.n_top5_correct
    or abs(summary.sum_confidence - summed.sum_confidence) > 1e-9 * greatest(summed.n_outputs, 1)
    or (
        summary.n_correct is not null
        and (classes.n_correct <> summary.n_correct or bins.n_correct <> summary.n_correct)
    )
order by run
