"""The evaluators of an ingest: started where resources are free, one group of models at a time, replaced if they die.

Nodes may join and leave during an ingest: new nodes are used, and a shard is not blamed for a node that left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qubastore.conditions import Condition
from qubastore.errors import IngestError, QubastoreError
from qubastore.evaluators.cluster.causes import cause_of
from qubastore.evaluators.cluster.nodes import Nodes
from qubastore.evaluators.cluster.resources import Place, Resources
from qubastore.evaluators.planning.heads import read_head, store_head
from qubastore.evaluators.planning.identify import PlannedModel
from qubastore.evaluators.planning.plan import PlannedRun
from qubastore.evaluators.worker.batch_size import remember_sizes, remembered_sizes, work_of
from qubastore.evaluators.worker.environment import cpu_environment
from qubastore.evaluators.worker.messages import SHARDS_AT_A_TIME, Settings
from qubastore.store import Store

MAX_FAILED_STARTS = 3
"""Number of consecutive evaluators that may die while loading models."""


@dataclass(eq=False)
class Worker:
    """A running evaluator.

    Attributes:
        actor: Ray's handle.
        place: Where it runs.
        loads: Model id -> reference to the result of loading it.
    """

    actor: Any
    place: Place
    loads: dict[str, Any] = field(default_factory=dict)


class EvaluatorPool:
    """A pool of evaluators that hold the same models.

    Args:
        store: The store.
        resources: The resources that may be used.
        settings: Settings of every evaluator; `threads` is replaced by that of its place.
        roots: Folders with images, which every node must be able to read.
        fail: Called with the id of a model that cannot be loaded, and the error.
        log: Called with lines for the user.
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

    @property
    def shards_at_a_time(self) -> int:
        """Maximum number of shards that an evaluator is given at a time."""
        return SHARDS_AT_A_TIME[self._settings.kind]

    @property
    def n_places(self) -> int:
        """Number of evaluators that there can be, at least 1."""
        return max(1, len(self._nodes.places))

    def assign(self, group: list[PlannedRun], failed: Collection[str]) -> None:
        """Switch to a group of runs: evaluators that hold its models are reused, others are shut down."""
        models = {planned.model.model_id: planned.model for planned in group}
        if set(self._models) != set(models):
            self.shut_down()
        self._models = models
        self._conditions = {}
        for planned in group:
            if planned.run.run_id not in failed:
                conditions = self._conditions.setdefault(planned.model.model_id, {})
                conditions[work_of(planned.condition)] = planned.condition
        for model_id, error in self._errors.items():
            self._fail(model_id, error)
        for worker in list(self.ready):
            self._settle_sizes(worker)

    def scale_up(self, n_jobs: int) -> None:
        """Start evaluators where resources are free, at most one per job, without waiting for them.

        The first evaluator of a group starts alone: a model that cannot be loaded then fails only once, and the others
        reuse what the first one had to compute.
        """
        self._nodes.refresh_if_stale()
        if self.starting and not self.ready:
            return
        taken = {(worker.place.node_id, worker.place.number) for worker in (*self.ready, *self.starting.values())}
        for place in self._nodes.places:
            if len(taken) >= max(1, n_jobs):
                return
            if (place.node_id, place.number) in taken or not self._nodes.is_usable(place):
                continue
            self._start(place)
            taken.add((place.node_id, place.number))
            if not self.ready:
                return

    def check_nodes(self, token: str) -> None:
        """Check every current node before any work starts; see `Nodes.check_all`."""
        self._nodes.check_all(token)

    def usable_nodes(self) -> list[str]:
        """The ids of the nodes that have access to the store; see `Nodes.usable`."""
        return self._nodes.usable()

    def wait_for_room(self) -> None:
        """Wait until a usable node joins, when no evaluator is active; see `Nodes.wait`."""
        self._nodes.wait()

    def started(self, ref: Any) -> Worker | None:
        """The evaluator that has finished loading its models; None if it died.

        Raises:
            IngestError: if too many evaluators died while loading.
        """
        import ray

        worker = self.starting.pop(ref)
        for model_id, load in worker.loads.items():
            try:
                head = ray.get(load)
                if head is not None:
                    store_head(self._store, model_id, head)
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
        """Remove an evaluator that died; return whether its node left, so that no shard is to blame."""
        import ray

        if worker in self.ready:
            self.ready.remove(worker)
        # An actor that Ray cannot reach may still run, and two on one device would compete for its memory.
        ray.kill(worker.actor)
        return self._nodes.has_left(worker.place)

    def shut_down(self) -> None:
        """Stop all evaluators, before a group with other models or at the end."""
        import ray

        for worker in (*self.ready, *self.starting.values()):
            ray.kill(worker.actor)
        self.ready, self.starting, self._errors, self._models = [], {}, {}, {}

    def note_smaller_batch(self, model_id: str, device: str, condition: Condition, batch_size: int) -> None:
        """Remember a batch size that was halved because memory ran out, for the next ingest."""
        work = work_of(condition)
        if self._settings.batch_size is None and batch_size < self._sizes.get((model_id, device, work), batch_size):
            self._remember(model_id, device, {work: batch_size})

    def _start(self, place: Place) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from qubastore.evaluators.worker.actor import SHARDS, Evaluator

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
        actor: Any = ray.remote(concurrency_groups={SHARDS: self.shards_at_a_time})(Evaluator)
        worker = Worker(actor.options(**options).remote(settings), place)
        for model_id, model in self._models.items():
            head = read_head(self._store, model_id) if model.model.is_zero_shot else None
            worker.loads[model_id] = worker.actor.load.remote(model.model, model.source, head)
        # An actor answers its calls in order: once this one is answered, all models have been loaded.
        self.starting[worker.actor.device.remote()] = worker

    def _died_while_loading(self, worker: Worker, model_id: str, error: Any) -> None:
        cause = getattr(error, "cause", None) or getattr(error, "__cause__", None)
        if isinstance(cause, QubastoreError):
            raise cause
        if self.mark_dead(worker):
            return
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise IngestError(
                f"{self._failed_starts} evaluators died while loading {self._models[model_id].model.name}",
                found=str(error).splitlines()[0],
                hint="is there enough memory? free -h",
            ) from error

    def _settle_sizes(self, worker: Worker) -> None:
        """Let an evaluator determine the batch sizes for the group's kinds of work, and remember what it finds."""
        import ray

        auto = self._settings.batch_size is None
        try:
            device = ray.get(worker.actor.device.remote()) if auto else ""
            for model_id, conditions in self._conditions.items():
                if model_id in self._errors:
                    continue
                known = {}
                if auto:
                    known = remembered_sizes(self._store, model_id, device, self._settings.precision)
                    self._sizes.update({(model_id, device, work): size for work, size in known.items()})
                if found := ray.get(worker.actor.size.remote(model_id, list(conditions.values()), known)):
                    self._remember(model_id, device, found)
        except ray.exceptions.RayActorError:
            # It died meanwhile; the scheduler notices when it submits work to it.
            return

    def _remember(self, model_id: str, device: str, sizes: Mapping[str, int]) -> None:
        precision = self._settings.precision
        self._store.write(lambda c: remember_sizes(c, model_id, device, precision, sizes.items()), repeatable=True)
        self._sizes.update({(model_id, device, work): size for work, size in sizes.items()})
