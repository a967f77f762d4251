-- Attacked or corrupted images that a model gets right more often than the clean ones, in the same label space: a hint
-- that the clean run is wrong, or that the two runs are of different weights.
--
-- Repair: look at both: qubastore sql "from relative_accuracy where run_id = '{run}'"; then qubastore rm run
select
    relative.run_id as run,
    'relative accuracy ' || round(relative.relative_accuracy, 3) || ' of ' || relative.model || ' on '
    || relative.dataset || ' under ' || relative.condition as found
from relative_accuracy as relative
where
    relative.relative_accuracy > 1.02
    and (relative.role = 'corrupted' or relative.condition like 'fgsm%' or relative.condition like 'pgd%')
order by run
