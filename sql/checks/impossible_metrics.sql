-- Stored metrics outside the range of their unit.
--
-- Repair: qubastore doctor --repair recomputes the sums of the run; if the fault remains, qubastore rm run {run} and
-- ingest it again
select
    stored.run_id as run,
    stored.metric || ' is ' || stored.value || ', outside its range: ' || metrics.unit as found
from run_metrics as stored
join metrics using (metric)
where
    not isfinite(stored.value)
    or stored.value < 0
    -- Units are written as in "0 to 1" and "nats, 0 and up".
    or stored.value > try_cast(regexp_extract(metrics.unit, ' to ([0-9.]+)', 1) as double) + 1e-9
order by run, stored.metric
