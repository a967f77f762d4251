"""Every scalar metric of a run, once: name, unit, direction, where its value comes from, and the paper.

To add one: write its view in `sql/views/` (or its transform in `qubastore/transforms/`), add a row here, and the next
`qubastore ingest` stores it for every complete run, without inference.
"""

from __future__ import annotations

from dataclasses import dataclass

_HESSE = "Hesse et al., arXiv 2503.17110"
_GUO = "Guo et al., On calibration of modern neural networks, ICML 2017"


@dataclass(frozen=True)
class Metric:
    """A number about a run.

    Attributes:
        name: Name in `metric_values`; also the column of `view` that holds the value.
        unit: Unit or range.
        better: `up`, `down`, or an empty string where neither is better.
        meaning: One sentence.
        reference: The paper that defines it.
        view: The SQL view that computes it, or an empty string for a transform.
        transform: `module` in `qubastore.transforms` with a function `compute(logits, labels)`, or an empty string.
        version: Raised when the definition changes, so that stored values are computed anew.
    """

    name: str
    unit: str
    better: str
    meaning: str
    reference: str = ""
    view: str = ""
    transform: str = ""
    version: int = 1


METRICS = (
    Metric("accuracy", "0 to 1", "up", "top-1 accuracy", view="accuracy"),
    Metric("top5_accuracy", "0 to 1", "up", "top-5 accuracy", view="top5_accuracy"),
    Metric(
        "ace",
        "0 to 1",
        "down",
        "adaptive calibration error: mean over classes, 15 bins of equal count",
        "Nixon et al., Measuring calibration in deep learning, CVPR workshops 2019",
        transform="adaptive_calibration",
    ),
    Metric("ece", "0 to 1", "down", "expected calibration error, 15 bins (lo, hi]", _GUO, view="calibration"),
    Metric("calibration_error", "0 to 1", "down", "geometric mean of ece and ace", _HESSE, view="calibration"),
    Metric(
        "negative_log_likelihood",
        "nats, 0 and up",
        "down",
        "mean of -ln(probability of the label)",
        view="negative_log_likelihood",
    ),
    Metric(
        "brier_score",
        "0 to 2",
        "down",
        "mean squared distance of the probabilities from the one-hot label, summed over classes",
        "Brier, Monthly Weather Review 78(1), 1950",
        view="brier_score",
    ),
    Metric(
        "class_accuracy_std",
        "0 to 1",
        "down",
        "sample standard deviation of the accuracy over the classes",
        _HESSE,
        view="class_balance",
    ),
    Metric(
        "class_probability_std",
        "0 to 0.5",
        "down",
        "mean over classes of the population standard deviation of the true class's probability",
        _HESSE,
        view="class_balance",
    ),
    Metric(
        "class_balance",
        "0 to 1",
        "up",
        "geometric mean of 1 - class_accuracy_std and 1 - class_probability_std",
        _HESSE,
        view="class_balance",
    ),
)
"""Transforms come before the views that read what they stored."""
