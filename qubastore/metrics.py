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
        transform: `module` in `qubastore.transforms` with a function `compute`, or an empty string.
        label_space: For a transform that looks at an ImageNet-1k run in another label space: its name.
        over: `run`: one number per run, stored when the run is complete; `suite`: one per model and suite, from several
            runs' stored numbers.
        version: Raised when the definition changes, so that stored values are computed anew.
    """

    name: str
    unit: str
    better: str
    meaning: str
    reference: str = ""
    view: str = ""
    transform: str = ""
    label_space: str = ""
    over: str = "run"
    version: int = 1


def matched_accuracy(space: str) -> str:
    """The metric that holds the accuracy of an ImageNet-1k run in another label space."""
    return f"accuracy_in_{space.replace('-', '_')}"


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
    *(
        Metric(
            matched_accuracy(space),
            "0 to 1",
            "up",
            f"accuracy of an ImageNet-1k run in the label space {space}, on images of its classes; from kept logits",
            transform="matched_accuracy",
            label_space=space,
        )
        for space in ("imagenet-r", "16-categories")
    ),
    Metric("ece", "0 to 1", "down", "expected calibration error, 15 bins (lo, hi]", _GUO, view="calibration"),
    Metric("mce", "0 to 1", "down", "maximum calibration error over 15 bins (lo, hi]", _GUO, view="calibration"),
    Metric(
        "rms_calibration_error",
        "0 to 1",
        "down",
        "root of the mean squared calibration error, 15 bins (lo, hi]",
        "Hendrycks et al., Deep anomaly detection with outlier exposure, ICLR 2019",
        view="calibration",
    ),
    Metric("overconfidence", "0 to 1", "down", "part of ece with confidence above accuracy", view="calibration"),
    Metric("underconfidence", "0 to 1", "down", "part of ece with confidence below accuracy", view="calibration"),
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
    Metric(
        "shape_bias",
        "0 to 1",
        "",
        "shape decisions / (shape + texture decisions), images whose shape and texture differ",
        "Geirhos et al., arXiv 1811.12231",
        view="shape_bias",
    ),
    Metric(
        "adversarial_robustness",
        "0 and up",
        "up",
        "geometric mean of the accuracies under the adversarial conditions relative to clean accuracy",
        _HESSE,
        view="measured_dimensions",
        over="suite",
    ),
    Metric(
        "corruption_robustness",
        "0 and up",
        "up",
        "mean accuracy over all corruptions and severities relative to clean accuracy",
        _HESSE,
        view="measured_dimensions",
        over="suite",
    ),
    Metric(
        "ood_robustness",
        "0 and up",
        "up",
        "geometric mean of the accuracies on the shifted sets relative to clean accuracy",
        _HESSE,
        view="measured_dimensions",
        over="suite",
    ),
    Metric(
        "ood_robustness_matched",
        "0 and up",
        "up",
        "the same, relative to clean accuracy in each shifted set's own label space",
        view="measured_dimensions",
        over="suite",
    ),
    Metric(
        "object_focus",
        "up to 1",
        "up",
        "1 - (accuracy on same - on random backgrounds) / clean accuracy",
        _HESSE,
        view="measured_dimensions",
        over="suite",
    ),
)
"""Transforms come before the views that read what they stored."""
