"""Publishing complete runs while others are still evaluated: Ray tasks prepare them, and the driver stores them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qubastore.evaluators.cluster.causes import cause_of
from qubastore.evaluators.progress import Display
from qubastore.runs.image_sets import image_set
from qubastore.runs.publication import Damage, Publication, prepare
from qubastore.runs.publish import clean_runs, publish_runs, store_publications
from qubastore.runs.unpublished import UnpublishedRun, unpublished_runs
from qubastore.store import Store

AT_ONCE = 8
"""Number of runs that are prepared at the same time."""


class Publisher:
    """Publishes runs. Use it while Ray is running.

    Args:
        store: A store open for writing.
        display: Where to report to.
        intervals: Compute the bootstrap replicates of runs, too.

    Attributes:
        nodes: Gives the ids of the nodes that have access to the store; empty means any.
        published: Ids of the runs published so far.
        damaged: Shards whose files could not be read; they are invalidated, and have to be evaluated again.
    """

    def __init__(self, store: Store, display: Display, *, intervals: bool = False) -> None:
        self._store, self._display, self._intervals = store, display, intervals
        self._images: dict[str, Any] = {}
        self._clean: set[str] = set()
        self._pending: dict[Any, str] = {}
        self._waiting: deque[UnpublishedRun] = deque()
        self.nodes: Callable[[], list[str]] = list
        self.published: list[str] = []
        self.damaged: list[Damage] = []

    def submit(self, runs: Sequence[str]) -> None:
        """Have runs prepared whose shards are all committed.

        A run that is partly published already is read through the catalog, so `publish_rest` does it here.
        """
        if runs:
            new = [run for run in unpublished_runs(self._store, runs) if run.is_staged]
            if self._intervals:
                self._clean |= clean_runs(self._store, [run.run_id for run in new])
            self._waiting.extend(new)
            self._start()

    def _start(self) -> None:
        """Start tasks, a few at a time: each holds the logits of a run in memory."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        task = ray.remote(num_cpus=1, max_retries=3)(prepare)
        at_once = AT_ONCE
        if self._intervals:
            # Resampling takes a minute or so of a core, and little memory beside a run's logits.
            at_once = max(AT_ONCE, int(ray.cluster_resources().get("CPU", 0)) // 4)
        while self._waiting and len(self._pending) < at_once:
            run = self._waiting.popleft()
            where: Any = "SPREAD"
            if nodes := self.nodes():
                where = NodeAffinitySchedulingStrategy(nodes[len(self._pending) % len(nodes)], soft=False)
            images = self._images_of(run.dataset_id) if self._intervals else None
            ref = task.options(scheduling_strategy=where).remote(
                run, self._store.files, images=images, confidences=run.run_id in self._clean
            )
            self._pending[ref] = run.run_id

    def _images_of(self, dataset_id: str) -> Any:
        """A reference to the images of a dataset, which are sent to the workers once."""
        import ray

        if dataset_id not in self._images:
            self._images[dataset_id] = ray.put(image_set(self._store, dataset_id))
        return self._images[dataset_id]

    def store_ready(self) -> None:
        """Store the runs that have been prepared by now, in one transaction."""
        import ray

        if self._pending:
            ready, _ = ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
            self._store_all(ready)
            self._start()

    def finish(self) -> None:
        """Wait for the submitted runs."""
        import ray

        if n := len(self._pending) + len(self._waiting):
            self._display.log(f"publishing {n} {'run' if n == 1 else 'runs'}")
        while self._pending:
            ready, _ = ray.wait(list(self._pending), num_returns=1)
            self._store_all(ready)
            self._start()

    def _store_all(self, refs: Sequence[Any]) -> None:
        self.published += store_publications(self._store, self._prepared(refs), damaged=self._note)

    def _prepared(self, refs: Sequence[Any]) -> Iterator[Publication]:
        import ray

        for ref in refs:
            run_id = self._pending.pop(ref)
            try:
                yield ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                raise cause_of(error) from error
            except ray.exceptions.RayError as error:
                # Its worker was killed again and again; what was written is an orphan, and its shards are still there.
                self._display.log(f"run {run_id} could not be merged on a worker ({type(error).__name__}); later")

    def publish_rest(self) -> None:
        """Publish in this process what is complete and was not submitted, and compute missing metrics."""
        self.published += publish_runs(self._store, damaged=self._note, replicates=self._intervals)

    def _note(self, damage: Damage) -> None:
        self.damaged.append(damage)
        where = f" ({damage.file}: {damage.found})" if damage.file else f" ({damage.found})"
        self._display.log(f"shard {damage.shard} of run {damage.run_id} was damaged{where}: it is evaluated again")
