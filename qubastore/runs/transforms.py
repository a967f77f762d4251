"""Metrics of a run that are computed from its kept logits."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qubastore.datasets.label_spaces import IMAGENET_1K, LabelSpace, label_space
from qubastore.metrics.catalogue import METRICS, Metric
from qubastore.statistics.class_logits import class_logits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MetricRow = tuple[str, str, int, float | None]
"""Run, metric, version, value."""


TRANSFORMS = tuple(metric for metric in METRICS if metric.over == "run" and metric.transform)
"""The metrics that are computed from logits."""


def no_transforms(run_id: str, metrics: Sequence[Metric] = TRANSFORMS) -> list[MetricRow]:
    """Nulls for a run without logits, so that its metrics are not tried again."""
    return [(run_id, metric.name, metric.version, None) for metric in metrics]


def transformed(
    run_id: str,
    logits: NDArray[np.float32],
    labels: NDArray[np.int32],
    space: LabelSpace,
    metrics: Sequence[Metric] = TRANSFORMS,
) -> list[MetricRow]:
    """Compute metrics of a run from its kept logits.

    Args:
        run_id: The run.
        logits: (n, n_outputs of the model), in the order of the samples.
        labels: (n,) right classes.
        space: The label space of the dataset.
        metrics: Which metrics.
    """
    rows = []
    for metric in metrics:
        compute = importlib.import_module(f"qubastore.metrics.transforms.{metric.transform}").compute
        value = math.nan
        if metric.label_space:
            if space.name == IMAGENET_1K and len(labels):
                value = float(compute(logits, labels, label_space(metric.label_space)))
        elif (own := class_logits(logits, space)) is not None:
            value = float(compute(own, labels))
        rows.append((run_id, metric.name, metric.version, value if math.isfinite(value) else None))
    return rows
