"""The Ray actor of an evaluator, which fetches decoded chunks from Ray's object store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qubastore.evaluators.worker.core import ShardEvaluator
from qubastore.evaluators.worker.messages import ShardRequest, ShardResult

SHARDS = "shards"
"""Ray's concurrency group of `evaluate`; other calls are answered one after another."""


class Evaluator(ShardEvaluator):
    """An evaluator whose chunks are Ray references to decoded images; one per GPU, or one per node without GPUs."""

    def evaluate(self, request: ShardRequest, chunks: Iterable[Any]) -> ShardResult:
        """Evaluate a shard as `ShardEvaluator.evaluate` does, fetching its chunks one by one."""
        import ray

        return super().evaluate(request, (ray.get(chunk) for chunk in chunks))
