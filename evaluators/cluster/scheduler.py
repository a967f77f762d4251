"""Distribute shards over evaluators and have the results committed.

One process commits. An evaluator or decode worker may die at any time: its shard is retried until `MAX_ATTEMPTS`.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping
from typing import Any

from qubastore.errors import QubastoreError, ResolutionError
from qubastore.evaluators.cluster.causes import cause_of
from qubastore.evaluators.cluster.commits import Commits
from qubastore.evaluators.cluster.jobs import Job, jobs_of, run_key
from qubastore.evaluators.cluster.nodes import POLL_SECONDS
from qubastore.evaluators.cluster.pool import EvaluatorPool, Worker
from qubastore.evaluators.cluster.preflight import token
from qubastore.evaluators.cluster.publisher import Publisher
from qubastore.evaluators.cluster.resources import Resources, in_flight_bytes
from qubastore.evaluators.ingest_report import IngestReport
from qubastore.evaluators.planning.plan import Plan, PlannedRun
from qubastore.evaluators.progress import Display, title
from qubastore.evaluators.worker.corrupted_files import Corrupted
from qubastore.evaluators.worker.images import SampleFile
from qubastore.evaluators.worker.messages import Settings
from qubastore.runs.records import note_unsupported
from qubastore.store import Store

DECODE_CHUNK = 32
"""Images per decode task."""


MAX_ATTEMPTS = 2
"""Attempts at a shard whose evaluators die, or whose decoded images are lost, before it is set aside."""


class Scheduler:
    """Gives shards to evaluators and commits results, one group of models at a time.

    A context manager, which stops the evaluators at the end.
    """

    def __init__(
        self,
        store: Store,
        planned: Plan,
        resources: Resources,
        batch_size: int | None,
        precision: str,
        strict: bool,
        display: Display,
        report: IngestReport,
        publisher: Publisher,
        driver: str | None = None,
    ) -> None:
        self._store, self._display, self._report, self._publisher = store, display, report, publisher
        settings = Settings(
            data_path=store.files.root,
            precision=precision,
            batch_size=batch_size,
            use_gpu=resources.gpus > 0,
            threads=1,
        )
        self._failed: set[str] = set()
        self._shown: set[str] = set()
        self._commits = Commits(store, planned, strict, driver, publisher, display, report, self._record_failure)
        self._group: list[PlannedRun] = []
        self._stack = contextlib.ExitStack()
        roots = {p.dataset.root or "" for p in planned.todo if p.dataset.samples and p.dataset.samples[0].data is None}
        self._pool = EvaluatorPool(store, resources, settings, roots - {""}, self._model_failed, display.log)

    def __enter__(self) -> Scheduler:
        with self._stack as stack:
            stack.callback(self._pool.shut_down)
            self._store.files.check()
            self._pool.check_nodes(stack.enter_context(token(self._store)))
            self._publisher.nodes = self._pool.usable_nodes
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            # What evaluators returned is kept even if the ingest ends with an error.
            self._commits.commit()
        finally:
            self._stack.close()

    def work_on(self, group: list[PlannedRun]) -> None:
        """Run every missing shard of a group through its models, and commit the results."""
        import ray

        from qubastore.evaluators.worker.actor import SHARDS

        self._group = group
        jobs = deque(jobs_of(group))
        busy: dict[Any, tuple[Worker, Job]] = {}
        pool = self._pool
        pool.assign(group, self._failed)
        idle = deque(worker for _ in range(self._depth(jobs)) for worker in pool.ready)
        while jobs or busy:
            pool.scale_up(len(jobs) + len(busy))
            while jobs and idle:
                job = jobs.popleft()
                request = job.request(self._failed)
                if not request.runs:
                    continue
                if (worker := self._take(job, idle, busy)) is None:
                    jobs.appendleft(job)
                    break
                self._show(job)
                evaluate = worker.actor.evaluate.options(concurrency_group=SHARDS)
                busy[evaluate.remote(request, self._decode(job, worker))] = (worker, job)
            if waiting := [*busy, *pool.starting]:
                done, _ = ray.wait(waiting, num_returns=1, timeout=min(POLL_SECONDS, self._commits.seconds_left))
            elif jobs:
                pool.wait_for_room()
                continue
            else:
                break
            for ref in done:
                if ref in pool.starting:
                    if (ready := pool.started(ref)) is not None:
                        idle.extend([ready] * self._depth(jobs))
                else:
                    self._finish(ref, busy, jobs, idle)
            self._commits.commit_if_due()
        self._commits.commit()

    def _take(self, job: Job, idle: deque[Worker], busy: Mapping[Any, tuple[Worker, Job]]) -> Worker | None:
        """An evaluator for a job; one that has nothing else to do for a job that may have killed one before."""
        if not job.alone:
            job.slots = 1
            return idle.popleft()
        taken = {id(worker) for worker, _ in busy.values()}
        worker = next((worker for worker in idle if id(worker) not in taken), None)
        if worker is not None:
            job.slots = _withdraw(worker, idle)
        return worker

    def _finish(self, ref: Any, busy: dict[Any, tuple[Worker, Job]], jobs: deque[Job], idle: deque[Worker]) -> None:
        """Commit the result of an evaluator, or retry its shard if it died."""
        import ray

        worker, job = busy.pop(ref)
        try:
            result = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, ray.exceptions.RayError):
                raise cause_of(error) from error
            # A decode worker was killed, or decoded images were lost with their node.
            idle.extend([worker] * job.slots)
            job.losses += 1
            self._retry(job, jobs, job.losses, f"decoded images were lost ({type(error.cause).__name__})")
        except ray.exceptions.RayError:
            self._died(worker, job, busy, jobs, idle)
        else:
            idle.extend([worker] * job.slots)
            models = {planned.run.run_id: planned.model.model_id for planned in job.runs}
            for shard in result.shards:
                self._pool.note_smaller_batch(models[shard.run_id], shard.device, job.condition, shard.batch_size)
            self._commits.add(job, result)

    def _died(
        self,
        worker: Worker,
        job: Job,
        busy: dict[Any, tuple[Worker, Job]],
        jobs: deque[Job],
        idle: deque[Worker],
    ) -> None:
        """Have the shards of a dead evaluator evaluated by others.

        Any of them may have killed it. Each is tried again alone, so that only one that kills alone is set aside.
        """
        import ray

        refs = [other for other, (owner, _) in busy.items() if owner is worker]
        # What it finished before its end is kept: errors come back through this method once nothing is held any more.
        done, _ = ray.wait(refs, num_returns=len(refs), timeout=0) if refs else ([], [])
        held = [job]
        for ref in refs:
            if ref in done and self._succeeded(ref):
                self._finish(ref, busy, jobs, idle)
            else:
                held.append(busy.pop(ref)[1])
        _withdraw(worker, idle)
        left = self._pool.mark_dead(worker)
        for each in sorted(held, key=lambda item: item.first, reverse=True):
            if left:
                jobs.appendleft(each)
                continue
            each.deaths = each.deaths + 1 if len(held) == 1 else max(each.deaths, 1)
            each.alone = True
            self._retry(each, jobs, each.deaths, "an evaluator died")

    def _succeeded(self, ref: Any) -> bool:
        import ray

        try:
            ray.get(ref)
        except ray.exceptions.RayError:
            return False
        return True

    def _model_failed(self, model_id: str, error: QubastoreError) -> None:
        for planned in self._group:
            if planned.model.model_id == model_id:
                self._record_failure(planned, error)

    def _show(self, job: Job) -> None:
        """Show the runs of a job, once each; models are loaded by now, so loading does not lower the speed shown."""
        for planned in job.runs:
            if run_key(planned) not in self._failed | self._shown:
                self._shown.add(run_key(planned))
                total = len(planned.dataset.samples)
                name = title(planned.model.title, planned.place)
                self._display.begin(planned.run.run_id, name, total, total - planned.n_images)

    def _depth(self, jobs: deque[Job]) -> int:
        """Shards per evaluator at a time: as many as the pool and memory allow, and no more than its share."""
        if not jobs:
            return 1
        fair = -(-len(jobs) // self._pool.n_places)
        shard = (jobs[0].end - jobs[0].first) * jobs[0].runs[0].image_bytes
        in_memory = int(in_flight_bytes() / (shard * max(1, len(self._pool.ready))))
        return max(1, min(fair, self._pool.shards_at_a_time, in_memory))

    def _decode(self, job: Job, worker: Worker) -> list[Any]:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from qubastore.evaluators.worker.images import decode

        root = job.dataset.root
        files = [
            SampleFile(
                index,
                sample.key,
                f"{root}/{sample.path or sample.key}" if sample.data is None else None,
                sample.data,
                sample.row,
                job.dataset.image_size,
            )
            for index, sample in enumerate(job.dataset.samples[job.first : job.end], start=job.first)
        ]
        # On the evaluator's node: decoded images are large, and other nodes may not have access to the images.
        same_node = NodeAffinitySchedulingStrategy(worker.place.node_id, soft=not worker.place.decodes)
        task = ray.remote(decode).options(num_cpus=1, max_retries=3, scheduling_strategy=same_node)
        preprocessing, condition = job.runs[0].preprocessing, job.condition
        corrupted = Corrupted(condition, job.runs[0].run.framing) if condition.corruption else None
        chunks = [files[first : first + DECODE_CHUNK] for first in range(0, len(files), DECODE_CHUNK)]
        return [task.remote(chunk, preprocessing, condition.shift, job.decoder, corrupted) for chunk in chunks]

    def _retry(self, job: Job, jobs: deque[Job], times: int, what: str) -> None:
        images = f"images {job.first} to {job.end - 1} of {job.dataset.name}"
        if times < MAX_ATTEMPTS:
            self._display.log(f"{what} at {images}; retrying")
            jobs.appendleft(job)
            return
        self._display.log(f"{what} {times} times at {images}: set aside")
        self._report.set_aside.append((job.dataset.name, job.first, job.end))

    def _record_failure(self, planned: PlannedRun, error: QubastoreError) -> None:
        if run_key(planned) not in self._failed:
            self._failed.add(run_key(planned))
            if isinstance(error, ResolutionError):
                # A property of the network, not a failure: recorded, so that it is not tried again.
                self._store.write(
                    lambda c: note_unsupported(c, planned.model.model_id, planned.run.condition, str(error))
                )
                self._report.unsupported.append((planned.model.title, planned.place))
                self._display.log(f"{error}: recorded, and skipped from now on")
                return
            self._report.errors.append((planned.model.title, planned.place, error))
            self._display.log(f"{planned.model.title} on {planned.place}: failed\n{error}")


def _withdraw(worker: Worker, idle: deque[Worker]) -> int:
    """Take an evaluator out of the idle ones; return how many places it had."""
    places = idle.count(worker)
    for _ in range(places):
        idle.remove(worker)
    return places
