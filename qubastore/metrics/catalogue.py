"""The catalogue of metrics: name, unit, direction, source of the value, and paper of each.

To add one: write its view in `sql/views/metrics/` (or its transform in `qubastore/metrics/transforms/`), add a row
here, and the next `qubastore ingest` stores it for every complete run, without inference.
"""

from __future__ import annotations

from dataclasses import dataclass

_HESSE = "Hesse et al., arXiv 2503.17110"


_VISHNIAKOV = "Vishniakov et al., arXiv 2311.09215"


_GUO = "Guo et al., On calibration of modern neural networks, ICML 2017"


@dataclass(frozen=True)
class Metric:
    """A scalar metric.

    Attributes:
        name: Name in `metric_values`; also the column of `view` that holds the value.
        unit: Unit or range.
        better: `up`, `down`, or an empty string if neither is better.
        meaning: Definition in one sentence.
        reference: The paper that defines it.
        view: The SQL view that computes it, or an empty string for a transform.
        transform: Name of a module in `qubastore.metrics.transforms` with a function `compute`, or an empty string.
        label_space: For a transform that evaluates an ImageNet-1k run in another label space: its name.
        over: `run`: one number per run, stored when the run is complete; `suite`: one per model and suite, from stored
            numbers of several runs; `view`: one per row of its view (group of images, pair of models, probe).
        column: Column of the view that holds the value, if it is not the name.
        version: Increased when the definition changes, so that stored values are recomputed.
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
    column: str = ""
    version: int = 1


def matched_accuracy(space: str) -> str:
    """The name of the metric for the accuracy of an ImageNet-1k run in another label space."""
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
        for space in ("imagenet-a", "imagenet-r", "16-categories")
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
        "true_class_probability",
        "0 to 1",
        "up",
        "mean probability of the right class",
        _VISHNIAKOV,
        view="true_class_probability",
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
    Metric(
        "label_set_accuracy",
        "0 to 1",
        "up",
        "accuracy under other labels of the same images, such as ReaL's; images without any are left out",
        "Beyer et al., arXiv 2006.07159",
        view="label_set_accuracy",
        over="view",
        column="accuracy",
    ),
    Metric(
        "imagenet_x_accuracy",
        "0 to 1",
        "up",
        "accuracy on the images that a factor of ImageNet-X sets apart, prototypes left out",
        "Idrissi et al., arXiv 2211.01866",
        view="imagenet_x_accuracy",
        over="view",
        column="accuracy",
    ),
    Metric(
        "imagenet_x_error_ratio",
        "0 and up",
        "down",
        "error on the images of a factor / error on all annotated images, prototypes left out",
        "Idrissi et al., arXiv 2211.01866",
        view="imagenet_x_error_ratio",
        over="view",
        column="error_ratio",
    ),
    Metric(
        "factor_accuracy",
        "0 to 1",
        "up",
        "accuracy by what is known of the images: the factors of PUG, ...",
        "Bordes et al., arXiv 2308.03977",
        view="factor_accuracy",
        over="view",
        column="accuracy",
    ),
    Metric(
        "worst_group_accuracy",
        "0 to 1",
        "up",
        "accuracy on the group of images that it gets wrong most often, by a factor of the images",
        "Sagawa et al., arXiv 1911.08731",
        view="worst_group",
        over="view",
        column="accuracy",
    ),
    Metric(
        "consistency",
        "0 to 1",
        "up",
        "share of images whose prediction is the same when they are resized, shifted or given at another resolution",
        _VISHNIAKOV,
        view="invariance",
        over="view",
    ),
    Metric(
        "effective_robustness",
        "-1 to 1",
        "up",
        "accuracy - what a line through all models says for this clean accuracy, on logit axes",
        "Taori et al., arXiv 2007.00644",
        view="effective_robustness",
        over="view",
    ),
    Metric(
        "error_consistency",
        "up to 1",
        "",
        "Cohen's kappa of being right, between two models or people",
        "Geirhos et al., arXiv 2006.16736",
        view="error_consistency",
        over="view",
    ),
    Metric(
        "human_accuracy",
        "0 to 1",
        "",
        "share of trials in which a person names the category",
        "Geirhos et al., arXiv 2106.07411",
        view="human_accuracy",
        over="view",
        column="accuracy",
    ),
    Metric(
        "probe_accuracy",
        "0 to 1",
        "up",
        "accuracy of a classifier fitted on kept features, on the test split of another task",
        "Zhai et al., arXiv 1910.04867",
        view="probe_accuracy",
        over="view",
        column="test_accuracy",
    ),
)
"""All metrics; transforms come before the views that read their stored values."""
