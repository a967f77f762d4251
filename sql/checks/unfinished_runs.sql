-- Runs that no ingest works on and that are not complete.
--
-- Mend: the same qubastore ingest again: it does what is missing; or qubastore rm run {run}, if it is not wanted
select
    run_id as run,
    n_done || ' of ' || n_samples || ' images of ' || model || ' on ' || dataset
    || if(condition = 'clean', '', ' under ' || condition) as found
from run_progress
where not complete and n_drivers = 0
order by run
