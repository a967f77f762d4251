"""What the published table is known to carry (docs/published.md), figure by figure."""

from __future__ import annotations

from collections.abc import Mapping

TRAIN_MODE = "probably measured in train mode, with the statistics of the batch"
TWICE = "softmax was applied twice: probabilities were taken for logits"
FEATURES = "1,000 classes by argmax over 2,048 features"
ABOVE_ONE = "above 1: accuracy over 16 or 200 classes was divided by one over 1,000"
_OF_ACCURACY = ("accuracy", "adversarial_robustness", "corruption_robustness", "ood_robustness", "object_focus")


def known_faults(row: Mapping[str, object]) -> dict[str, str]:
    """The figures of a published row that are known to be off, and why.

    Args:
        row: model, loader and the dimensions of a row of `hesse2025`.

    Returns:
        Dimension -> reason. That all attacks worked in normalised space is not repeated for every row.
    """
    faults = {}
    if _number(row, "corruption_robustness") < 0.25:
        faults["corruption_robustness"] = TRAIN_MODE
    if row["loader"] == "open_clip":
        faults["calibration_error"] = faults["class_balance"] = TWICE
    if _number(row, "ood_robustness") > 1:
        faults["ood_robustness"] = ABOVE_ONE
    if row["model"] == "ResNet50-DINO-LP":
        faults |= dict.fromkeys((*_OF_ACCURACY, "calibration_error", "class_balance", "shape_bias"), FEATURES)
    return faults


def _number(row: Mapping[str, object], name: str) -> float:
    value = row[name]
    assert isinstance(value, float)
    return value
