-- How far the runs are that ingests work on, or that are not complete; speeds are of the last five minutes.
--
-- Grain: One row per run that is worked on or not complete.
--
-- run_id: the run
-- model: name of its model
-- dataset: name of the dataset
-- condition: how the inputs were altered
-- framing: how an image became the input
-- precision: fp32, bf16 or fp16, with -compiled after it where torch.compile made the code
-- decoder: what decoded and resized the images: pillow, torchvision or nvjpeg; pillow for imported predictions
-- n_samples: images of the dataset
-- n_done: images that went through the model and are committed
-- n_failed: images among them that could not be decoded
-- n_drivers: ingests that work on the run; 0 where none does
-- images_per_second: images committed per second of the last five minutes, by all of them
-- seconds_left: seconds that the rest takes at that speed; null while nothing moves
-- last_commit_at: when its last shard was committed
-- complete: true once every shard is committed and the run is summed up
with
worked_on as (
    select run_id, count(*) as n_drivers, min(started_at) as started_at
    from (select unnest(run_ids) as run_id, started_at from drivers)
    group by run_id
),

committed as (
    select
        shards.run_id,
        sum(shards.n_samples)::bigint as n_done,
        sum(shards.n_failed)::bigint as n_failed,
        max(shards.committed_at) as last_commit_at,
        sum(shards.n_samples) filter (
            where shards.committed_at > greatest(worked_on.started_at, now() - interval 5 minutes)
        ) as n_recent
    from shards
    left join worked_on using (run_id)
    group by shards.run_id
),

speeds as (
    select
        worked_on.run_id,
        committed.n_recent
        / greatest(1, date_diff('second', greatest(worked_on.started_at, now() - interval 5 minutes), now())) as speed
    from worked_on
    join committed using (run_id)
)

select
    run.run_id,
    run.model,
    run.dataset,
    run.condition,
    run.framing,
    run.precision,
    run.decoder,
    run.n_samples,
    coalesce(committed.n_done, 0) as n_done,
    coalesce(committed.n_failed, 0) as n_failed,
    coalesce(worked_on.n_drivers, 0) as n_drivers,
    speeds.speed as images_per_second,
    (run.n_samples - coalesce(committed.n_done, 0)) / nullif(speeds.speed, 0) as seconds_left,
    committed.last_commit_at,
    run.complete
from run_details as run
left join worked_on using (run_id)
left join committed using (run_id)
left join speeds using (run_id)
where worked_on.run_id is not null or not run.complete
