"""The evaluators of an ingest: started where there is room, one group of models at a time, replaced when they die.

Nodes may join and leave meanwhile: whoever comes late is used, and who leaves is no one's fault.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qubastore.conditions import Condition
from qubastore.errors import IngestError, QubastoreError
from qubastore.evaluators.cluster.nodes import Nodes
from qubastore.evaluators.cluster.resources import Place, Resources
from qubastore.evaluators.planning.heads import read_head, store_head
from qubastore.evaluators.planning.identify import PlannedModel
from qubastore.evaluators.planning.plan import PlannedRun
from qubastore.evaluators.worker.batch_size import remember_sizes, remembered_sizes, work_of
from qubastore.evaluators.worker.environment import cpu_environment
from qubastore.evaluators.worker.messages import Settings
from qubastore.store import Store

MAX_FAILED_STARTS = 3
"""Evaluators that may die while they load, one after another."""


@dataclass(eq=False)
class Worker:
    """An evaluator.

    Attributes:
        actor: Ray's handle.
        place: Where it lives.
        loads: Model id -> the answer to its loading.
    """

    actor: Any
    place: Place
    loads: dict[str, Any] = field(default_factory=dict)


class EvaluatorPool:
    """Evaluators that hold the same models.

    Args:
        store: The store.
        resources: What may be used.
        settings: What holds for every evaluator; threads are those of its place.
        roots: Folders with images, which every node must see.
        fail: Told of a model that cannot be loaded.
        log: Told what people should know.
    """

    def __init__(
        self,
        store: Store,
        resources: Resources,
        settings: Settings,
        roots: Collection[str],
        fail: Callable[[str, QubastoreError], None],
        log: Callable[[str], None],
    ) -> None:
        self._store, self._resources, self._settings = store, resources, settings
        self._fail = fail
        self._nodes = Nodes(store, resources, roots, log)
        self._models: dict[str, PlannedModel] = {}
        self._conditions: dict[str, dict[str, Condition]] = {}
        self._errors: dict[str, QubastoreError] = {}
        self._failed_starts = 0
        self._sizes: dict[tuple[str, str, str], int] = {}
        self.ready: list[Worker] = []
        self.starting: dict[Any, Worker] = {}

    def assign(self, group: list[PlannedRun], dead: Collection[str]) -> None:
        """Turn to a group: evaluators that hold its models stay, others go."""
        models = {planned.model.model_id: planned.model for planned in group}
        if set(self._models) != set(models):
            self.shut_down()
        self._models = models
        self._conditions = {}
        for planned in group:
            if planned.run.run_id not in dead:
                asked = self._conditions.setdefault(planned.model.model_id, {})
                asked[work_of(planned.condition)] = planned.condition
        for model_id, error in self._errors.items():
            self._fail(model_id, error)
        for worker in list(self.ready):
            self._settle_sizes(worker)

    def scale_up(self, n_jobs: int) -> None:
        """Start evaluators where there is room, for that many jobs at most; it does not wait for them.

        The first of a group comes alone: a model that fails, fails once, and what one had to compute is there for the
        others.
        """
        self._nodes.look_now_and_then()
        if self.starting and not self.ready:
            return
        taken = {(worker.place.node_id, worker.place.number) for worker in (*self.ready, *self.starting.values())}
        for place in self._nodes.places:
            if len(taken) >= max(1, n_jobs):
                return
            if (place.node_id, place.number) in taken or not self._nodes.may_work(place):
                continue
            self._start(place)
            taken.add((place.node_id, place.number))
            if not self.ready:
                return

    def check_nodes(self, token: str) -> None:
        """Ask every node that is there now, before any work; see `Nodes.check_all`."""
        self._nodes.check_all(token)

    def wait_for_room(self) -> None:
        """No evaluator is active: wait until a node comes; see `Nodes.wait`."""
        self._nodes.wait()

    def started(self, ref: Any) -> Worker | None:
        """An evaluator that has loaded its models, or has failed to: then None.

        Raises:
            IngestError: where evaluators die while they load, again and again.
        """
        import ray

        worker = self.starting.pop(ref)
        for model_id, load in worker.loads.items():
            try:
                made = ray.get(load)
                if made is not None:
                    store_head(self._store, model_id, made)
            except ray.exceptions.RayTaskError as error:
                self._errors[model_id] = cause = cause_of(error)
                self._fail(model_id, cause)
            except ray.exceptions.RayError as error:
                self._died_while_loading(worker, model_id, error)
                return None
        self._failed_starts = 0
        self._settle_sizes(worker)
        self.ready.append(worker)
        return worker

    def mark_dead(self, worker: Worker) -> bool:
        """Note that an evaluator is dead; return whether its node left, which no shard is to blame for."""
        import ray

        if worker in self.ready:
            self.ready.remove(worker)
        # What Ray calls out of reach may be alive: two of them on one device would be in each other's way.
        ray.kill(worker.actor)
        return self._nodes.has_left(worker.place)

    def shut_down(self) -> None:
        """Stop all evaluators: the next group has other models, or the work is over."""
        import ray

        for worker in (*self.ready, *self.starting.values()):
            ray.kill(worker.actor)
        self.ready, self.starting, self._errors, self._models = [], {}, {}, {}

    def note_smaller_batch(self, model_id: str, device: str, condition: Condition, batch_size: int) -> None:
        """A batch that was halved because memory ran out: the next ingest begins with what fitted."""
        work = work_of(condition)
        if self._settings.batch_size is None and batch_size < self._sizes.get((model_id, device, work), batch_size):
            self._remember(model_id, device, {work: batch_size})

    def _start(self, place: Place) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from qubastore.evaluators.worker.actor import Evaluator

        options: dict[str, Any] = {
            "num_cpus": 0,
            "max_restarts": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(place.node_id, soft=False),
        }
        if place.gpu:
            options["num_gpus"] = place.gpu
        else:
            options["runtime_env"] = {"env_vars": cpu_environment(place.threads)}
        settings = replace(self._settings, threads=place.threads)
        worker = Worker(ray.remote(Evaluator).options(**options).remote(settings), place)
        for model_id, model in self._models.items():
            head = read_head(self._store, model_id) if model.model.loader == "open_clip" else None
            worker.loads[model_id] = worker.actor.load.remote(model.model, model.source, head)
        # Calls of an actor are answered in order: this answer means that all before it are there.
        self.starting[worker.actor.device.remote()] = worker

    def _died_while_loading(self, worker: Worker, model_id: str, error: Any) -> None:
        known = getattr(error, "cause", None) or getattr(error, "__cause__", None)
        if isinstance(known, QubastoreError):
            raise known
        if self.mark_dead(worker):
            return
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise IngestError(
                f"{self._failed_starts} evaluators died while they loaded {self._models[model_id].model.name}",
                found=str(error).splitlines()[0],
                hint="is there memory enough? free -h",
            ) from error

    def _settle_sizes(self, worker: Worker) -> None:
        """Have an evaluator settle the batch sizes that the group's work asks for; what it finds is remembered."""
        import ray

        auto = self._settings.batch_size is None
        try:
            device = ray.get(worker.actor.device.remote()) if auto else ""
            for model_id, asked in self._conditions.items():
                if model_id in self._errors:
                    continue
                known = {}
                if auto:
                    known = remembered_sizes(self._store, model_id, device, self._settings.precision)
                    self._sizes.update({(model_id, device, work): size for work, size in known.items()})
                if found := ray.get(worker.actor.size.remote(model_id, list(asked.values()), known)):
                    self._remember(model_id, device, found)
        except ray.exceptions.RayActorError:
            # It died meanwhile: whoever gives it work learns so.
            return

    def _remember(self, model_id: str, device: str, sizes: Mapping[str, int]) -> None:
        precision = self._settings.precision
        self._store.write(lambda c: remember_sizes(c, model_id, device, precision, sizes.items()), repeatable=True)
        self._sizes.update({(model_id, device, work): size for work, size in sizes.items()})


def cause_of(error: Any) -> QubastoreError:
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
