-- Incomplete runs that no ingest is working on.
--
-- Repair: the same qubastore ingest again, which runs what is missing; or qubastore rm run {run}, if it is not wanted
select
    run_id as run,
    n_done || ' of ' || n_samples || ' images of ' || model || ' on ' || dataset
    || if(condition = 'clean', '', ' under ' || condition)
    || if(decoder = 'pillow', '', ', decoded by ' || decoder) as found
from run_progress
where not complete and n_drivers = 0
order by run
