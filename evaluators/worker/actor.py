"""The Ray actor around an evaluator: it fetches decoded chunks from Ray's object store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qubastore.evaluators.worker.core import ShardEvaluator
from qubastore.evaluators.worker.messages import ShardRequest, ShardResult


class Evaluator(ShardEvaluator):
    """An evaluator whose chunks are references to decoded images; Ray makes one per GPU, or one per node without."""

    def evaluate(self, request: ShardRequest, chunks: Iterable[Any]) -> ShardResult:
        """As `ShardEvaluator.evaluate`; chunks are fetched one by one, when their turn comes."""
        import ray

        return super().evaluate(request, (ray.get(chunk) for chunk in chunks))
