"""Spreading shards over evaluators and committing what comes back.

One process commits. An evaluator or decode worker may die at any time: its shard is given to another, twice at most.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from qubastore.commit import check_contents, commit_shards, known_contents
from qubastore.conditions import Condition
from qubastore.datasets import Dataset
from qubastore.errors import DatasetError, IngestError, QubastoreError, ResolutionError
from qubastore.evaluators.actor import cpu_environment
from qubastore.evaluators.attacks import sample_seed
from qubastore.evaluators.batch_size import remember_sizes, remembered_sizes, work_of
from qubastore.evaluators.cluster import Resources
from qubastore.evaluators.heads import read_head, store_head
from qubastore.evaluators.images import SampleFile, image_bytes
from qubastore.evaluators.messages import Settings, ShardRequest, ShardResult
from qubastore.evaluators.plan import Plan, PlannedRun
from qubastore.evaluators.progress import Display, title
from qubastore.labels import label_space
from qubastore.outputs import label_matrix
from qubastore.registry import forget_unsupported, note_unsupported
from qubastore.store import Store

DECODE_CHUNK = 32
"""Images that one decode task takes."""
MAX_ATTEMPTS = 2
"""Times that a shard may kill its evaluator before it is set aside."""
SHOWN_FAILURES = 3
"""Images per shard that are named on the screen when they cannot be decoded; the table `failures` has all."""
IN_FLIGHT_BYTES = 400 << 20
"""Decoded images on their way, at most: well within Ray's object store."""


@dataclass
class IngestReport:
    """What an ingest did.

    Attributes:
        images: Images that went through models and were committed, counted once per model.
        skipped: Shards that were there before.
        completed: Ids of runs that became complete.
        failures: Images that could not be decoded, counted once per run.
        set_aside: Shards that killed two evaluators: (dataset, first sample, one past the last).
        errors: Why runs could not go on: (model, dataset, error).
        unsupported: Models that cannot take inputs of another size: (model, place); a fact that is noted, no error.
        missing: Datasets of the suite that were not found, or could not be read: (name, error).
        seconds: Wall time.
        plan: What was planned.
    """

    plan: Plan
    images: int = 0
    skipped: int = 0
    completed: list[str] = field(default_factory=list)
    failures: int = 0
    set_aside: list[tuple[str, int, int]] = field(default_factory=list)
    errors: list[tuple[str, str, QubastoreError]] = field(default_factory=list)
    unsupported: list[tuple[str, str]] = field(default_factory=list)
    missing: list[tuple[str, QubastoreError]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class _Job:
    """A shard of a dataset for the runs of a group that lack it."""

    dataset: Dataset
    runs: list[PlannedRun]
    condition: Condition
    shard: int
    first: int
    end: int
    attempts: int = 0
    given: int = 0

    def request(self, dead: set[str]) -> ShardRequest:
        labels = label_matrix([sample.labels for sample in self.dataset.samples[self.first : self.end]])
        alive = [p for p in self.runs if _key(p) not in dead]
        space = label_space(self.dataset.label_space)
        return ShardRequest(
            shard=self.shard,
            first_sample=self.first,
            n_samples=self.end - self.first,
            labels=labels,
            runs={p.model.model_id: p.run.run_id for p in alive},
            classes=0 if space.rule == "none" else space.n_outputs or len(self.dataset.classes),
            label_space=space.name,
            keep={p.model.model_id: p.keep for p in alive},
            condition=self.condition,
            seeds=self._seeds(),
        )

    def _seeds(self) -> tuple[int, ...]:
        if self.condition.parameters.get("start") != "random":
            return ()
        text = str(self.condition)
        return tuple(sample_seed(sample.key, text) for sample in self.dataset.samples[self.first : self.end])


def _key(planned: PlannedRun) -> str:
    return planned.run.run_id


class Scheduler:
    """Feeds evaluators and commits; one group of models at a time."""

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
    ) -> None:
        self._store, self._plan, self._resources = store, planned, resources
        self._strict, self._display, self._report = strict, display, report
        self._settings = Settings(
            data_path=str(store.data_path),
            precision=precision,
            batch_size=batch_size,
            use_gpu=resources.gpus > 0,
            threads=1 if resources.gpus else resources.cpus,
        )
        self._dead: set[str] = set()
        self._begun: set[str] = set()
        self._contents: dict[str, dict[int, str]] = {}
        self._given = itertools.count()
        self._evaluators: list[Any] = []
        self._loaded: dict[str, QubastoreError | None] = {}
        self._sizes: dict[tuple[str, str, str], int] = {}

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        self._dismiss()

    def work_on(self, group: list[PlannedRun]) -> None:
        """Put every missing shard of a group through its models."""
        import ray

        for dataset in {p.dataset.dataset_id: p.dataset for p in group}.values():
            self._contents.setdefault(dataset.dataset_id, known_contents(self._store, dataset.dataset_id))
        jobs = deque(_jobs(group))
        busy: dict[Any, tuple[Any, _Job]] = {}
        evaluators = self._staff(group, len(jobs))
        try:
            idle = deque(evaluators * self._depth(jobs[0], len(evaluators)))
            while jobs or busy:
                while jobs and idle:
                    job = jobs.popleft()
                    request = job.request(self._dead)
                    if request.runs:
                        actor = idle.popleft()
                        job.given = next(self._given)
                        self._begin(job)
                        busy[actor.evaluate.remote(request, self._decode(job, group))] = (actor, job)
                if not busy:
                    continue
                done, _ = ray.wait(list(busy), num_returns=1)
                actor, job = busy.pop(done[0])
                try:
                    result = ray.get(done[0])
                except ray.exceptions.RayActorError:
                    # Every shard that the dead one held goes back; the one it was at, given first, is suspected.
                    held = [job, *(busy.pop(ref)[1] for ref in [r for r, (other, _) in busy.items() if other is actor])]
                    job, *waiting = sorted(held, key=lambda item: item.given)
                    jobs.extendleft(reversed(waiting))
                    evaluators.remove(actor)
                    idle = deque(other for other in idle if other is not actor)
                    self._retry(job, jobs)
                    if jobs:
                        evaluators.append(fresh := self._evaluator(group))
                        self._size(fresh, group)
                        idle.extend([fresh] * self._depth(jobs[0], len(evaluators)))
                    continue
                except ray.exceptions.RayTaskError as error:
                    raise _cause(error) from error
                idle.append(actor)
                self._commit(job, result)
        except BaseException:
            self._dismiss()
            raise

    def _staff(self, group: list[PlannedRun], n_jobs: int) -> list[Any]:
        """Evaluators that hold the group's models: those of the group before, where they do, else new ones."""
        models = {planned.model.model_id for planned in group}
        if set(self._loaded) != models:
            self._dismiss()
        for planned in group:
            if (error := self._loaded.get(planned.model.model_id)) is not None:
                self._give_up(planned, error)
        for _ in range(min(self._resources.gpus or 1, n_jobs) - len(self._evaluators)):
            self._evaluators.append(self._evaluator(group))
        for actor in self._evaluators:
            self._size(actor, group)
        return self._evaluators

    def _size(self, actor: Any, group: list[PlannedRun]) -> None:
        """Have an evaluator settle the batch sizes that a group's work asks for; what it finds is remembered."""
        import ray

        conditions: dict[str, dict[str, Condition]] = {}
        for planned in group:
            if _key(planned) not in self._dead:
                conditions.setdefault(planned.model.model_id, {})[work_of(planned.condition)] = planned.condition
        device = ray.get(actor.device.remote()) if self._settings.batch_size is None else ""
        for model_id, asked in conditions.items():
            known = {}
            if self._settings.batch_size is None:
                known = remembered_sizes(self._store, model_id, device, self._settings.precision)
                self._sizes.update({(model_id, device, work): size for work, size in known.items()})
            found = ray.get(actor.size.remote(model_id, list(asked.values()), known))
            if found:
                self._remember(model_id, device, found)

    def _remember(self, model_id: str, device: str, sizes: Mapping[str, int]) -> None:
        self._store.write(lambda c: remember_sizes(c, model_id, device, self._settings.precision, sizes.items()))
        self._sizes.update({(model_id, device, work): size for work, size in sizes.items()})

    def _dismiss(self) -> None:
        """Stop all evaluators: the next group has other models, or the work is over."""
        import ray

        for actor in self._evaluators:
            ray.kill(actor)
        self._evaluators = []
        self._loaded = {}

    def _begin(self, job: _Job) -> None:
        """Show the runs of a job, once: models are loaded by now, so that the speed shown is that of the work."""
        for planned in job.runs:
            if _key(planned) not in self._dead | self._begun:
                self._begun.add(_key(planned))
                total = len(planned.dataset.samples)
                name = title(planned.model.model.name, planned.place)
                self._display.begin(planned.run.run_id, name, total, total - planned.n_images)

    def _evaluator(self, group: list[PlannedRun]) -> Any:
        """Start an evaluator and load the group's models; a model that fails is out, the others go on."""
        import ray

        from qubastore.evaluators.actor import Evaluator

        options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0}
        if self._settings.use_gpu:
            options["num_gpus"] = 1
        else:
            options["runtime_env"] = {"env_vars": cpu_environment()}
        actor: Any = ray.remote(Evaluator).options(**options).remote(self._settings)
        loads = {}
        for p in {p.model.model_id: p for p in group}.values():
            head = read_head(self._store, p.model.model_id) if p.model.model.loader == "open_clip" else None
            loads[p.model.model_id] = (p, actor.load.remote(p.model.model_id, p.model.source, head))
        for model_id, (planned, load) in loads.items():
            self._loaded[model_id] = None
            try:
                made = ray.get(load)
                if made is not None:
                    store_head(self._store, model_id, made)
            except ray.exceptions.RayTaskError as error:
                self._loaded[model_id] = cause = _cause(error)
                for other in group:
                    if other.model.model_id == model_id:
                        self._give_up(other, cause)
            except ray.exceptions.RayActorError as error:
                known = _creation_error(error)
                raise known or IngestError(
                    f"an evaluator died while it loaded {planned.model.model.name}",
                    found=str(error).splitlines()[0],
                    hint="is there memory enough? free -h",
                ) from error
        return actor

    def _depth(self, job: _Job, evaluators: int) -> int:
        """Shards that an evaluator has at once: one to work on and one being decoded, if memory allows."""
        shard = (job.end - job.first) * image_bytes(job.runs[0].preprocessing)
        return 2 if 2 * shard * evaluators <= IN_FLIGHT_BYTES else 1

    def _decode(self, job: _Job, group: list[PlannedRun]) -> list[Any]:
        import ray

        from qubastore.evaluators.images import decode

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
        task = ray.remote(decode).options(num_cpus=1, max_retries=3)
        preprocessing, shift = group[0].preprocessing, group[0].condition.shift
        chunks = [files[first : first + DECODE_CHUNK] for first in range(0, len(files), DECODE_CHUNK)]
        return [task.remote(chunk, preprocessing, shift) for chunk in chunks]

    def _retry(self, job: _Job, jobs: deque[_Job]) -> None:
        job.attempts += 1
        images = f"images {job.first} to {job.end - 1} of {job.dataset.name}"
        if job.attempts < MAX_ATTEMPTS:
            self._display.say(f"an evaluator died at {images}; trying them again")
            jobs.appendleft(job)
            return
        self._display.say(f"{images} killed {job.attempts} evaluators: set aside")
        self._report.set_aside.append((job.dataset.name, job.first, job.end))

    def _commit(self, job: _Job, result: ShardResult) -> None:
        identity = job.dataset.dataset_id
        known = self._contents[identity]
        keys = {index: job.dataset.samples[index].key for index in result.contents}
        new = {sample: value for sample, value in result.contents.items() if sample not in known}
        runs = {planned.run.run_id: planned.run for planned in job.runs}
        try:
            check_contents(known, result.contents, keys)
            self._check_strict(result)
        except BaseException:
            for shard in result.shards:
                shard.drop_files()
            raise
        won = commit_shards(
            self._store,
            result.shards,
            dataset_id=identity,
            contents=new,
            replace=self._plan.replace,
            runs=runs,
        )
        for shard, is_won in zip(result.shards, won, strict=True):
            if is_won:
                self._report.images += shard.n_samples
                self._report.failures += len(shard.failures)
            self._display.advance(shard.run_id, shard.n_samples, len(shard.failures))
        for failure in result.shards[0].failures[:SHOWN_FAILURES] if result.shards else ():
            self._display.say(f"cannot decode {job.dataset.name}/{failure.key}: {failure.error}")
        if result.shards:
            known.update(new)
        if job.condition.resolution is not None:
            self._forget_unsupported(job, result)
        self._note_smaller_batches(job, result)
        for planned in job.runs:
            if planned.model.model_id in result.errors:
                self._give_up(planned, result.errors[planned.model.model_id])

    def _note_smaller_batches(self, job: _Job, result: ShardResult) -> None:
        """A batch that was halved because memory ran out: the next ingest begins with what fitted."""
        if self._settings.batch_size is not None:
            return
        models = {planned.run.run_id: planned.model.model_id for planned in job.runs}
        work = work_of(job.condition)
        for shard in result.shards:
            model_id = models[shard.run_id]
            known = self._sizes.get((model_id, shard.device, work), shard.batch_size)
            if shard.batch_size < known:
                self._remember(model_id, shard.device, {work: shard.batch_size})

    def _forget_unsupported(self, job: _Job, result: ShardResult) -> None:
        """What was noted of a network that has taken the size now."""
        done = [p.model.model_id for p in job.runs if p.run.run_id in {shard.run_id for shard in result.shards}]
        noted = self._store.rows(
            "select model_id, condition from unsupported where condition = ? and list_contains(?, model_id)",
            [str(job.condition), done],
        )
        for model_id, condition in noted:
            self._store.write(partial(forget_unsupported, model_id=model_id, condition=condition))

    def _check_strict(self, result: ShardResult) -> None:
        failures: list[Any] = [failure for shard in result.shards[:1] for failure in shard.failures]
        if self._strict and failures:
            raise DatasetError(
                f"{failures[0].key} cannot be decoded, and --strict allows none that cannot",
                found=failures[0].error,
                hint="mend or remove the image, or leave out --strict to have it recorded and left out",
            )

    def _give_up(self, planned: PlannedRun, error: QubastoreError) -> None:
        if _key(planned) not in self._dead:
            self._dead.add(_key(planned))
            if isinstance(error, ResolutionError):
                # A fact about the network, no failure: noted, so that it is not tried again.
                self._store.write(
                    lambda c: note_unsupported(c, planned.model.model_id, planned.run.condition, str(error))
                )
                self._report.unsupported.append((planned.model.model.name, planned.place))
                self._display.say(f"{error}: noted, and left out")
                return
            self._report.errors.append((planned.model.model.name, planned.place, error))
            self._display.say(f"{planned.model.model.name} on {planned.place}: given up\n{error}")


def _jobs(group: list[PlannedRun]) -> list[_Job]:
    """One job per dataset, framing, condition and range of samples, for all runs of the group that lack it."""
    jobs: dict[tuple[str, str, str, int, int], _Job] = {}
    for planned in group:
        condition = planned.condition
        for shard in planned.missing:
            first, end = planned.run.shard_range(shard)
            key = (planned.dataset.dataset_id, planned.run.framing, planned.run.condition, first, end)
            job = jobs.setdefault(key, _Job(planned.dataset, [], condition, shard, first, end))
            job.runs.append(planned)
    return list(jobs.values())


def _cause(error: Any) -> QubastoreError:
    """The error of ours inside one of Ray's, or what is left of another."""
    cause = error.cause
    if isinstance(cause, QubastoreError):
        return cause
    if isinstance(cause, OSError):
        disk = "No space left" in str(cause)
        return IngestError(
            f"an evaluator could not write: {cause}",
            hint="free some space, then run the same command again: what was committed is kept" if disk else None,
        )
    text = str(cause).strip().splitlines()
    return IngestError(
        f"a worker failed: {type(cause).__name__}: {text[-1] if text else ''}", hint="qubastore ingest --limit 8 ..."
    )


def _creation_error(error: Any) -> QubastoreError | None:
    cause = getattr(error, "cause", None) or getattr(error, "__cause__", None)
    return cause if isinstance(cause, QubastoreError) else None
