"""Class scores from logits: scores, probabilities, the five largest; pure functions over arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qubastore.datasets.label_spaces import LabelSpace
from qubastore.errors import OutputError


def check_logits(logits: NDArray[np.float32], *, classes: int, model: str) -> None:
    """Check that an array is a classifier's logits.

    Args:
        logits: (n, n_classes) float32.
        classes: Number of outputs that the dataset's label space expects.
        model: Name of the model, for the message.

    Raises:
        OutputError: on a different shape, non-finite values, or rows that are probabilities.
    """
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise OutputError(
            f"{model} returned an array of shape {logits.shape}",
            expected=f"(batch, {classes}): one logit per class",
            hint="choose a model with that many classes, or another dataset",
        )
    if not np.isfinite(logits).all():
        row, column = np.argwhere(~np.isfinite(logits))[0]
        raise OutputError(
            f"{model} returned {logits[row, column]} for class {column}",
            expected="finite logits",
            found=f"such values for {int((~np.isfinite(logits)).any(axis=1).sum())} of {len(logits)} images of a batch",
            hint="--precision fp32; if that does not help, the weights or the preprocessing are wrong",
        )
    if classes > 1 and len(logits) and (logits >= 0).all() and np.allclose(logits.sum(axis=1), 1, atol=1e-3):
        raise OutputError(
            f"{model} returned probabilities",
            expected="logits: qubastore applies the softmax itself",
            found="rows that are non-negative and sum to 1",
            hint="LOADER:NAME,output_type=probabilities; or remove the model's final softmax",
        )


def project(logits: NDArray[np.float32], space: LabelSpace | None = None) -> NDArray[np.float64]:
    """Project logits to scores of a dataset's classes, whose softmax gives the classes' probabilities.

    Args:
        logits: (n, n_outputs) float32.
        space: The dataset's label space; None takes the outputs as they are.

    Returns:
        (n, n_classes) float64: the logits themselves (`identity`), those of the members (`subset`), the log of the mean
        exponentiated logit of each class's members (`mean`), or the log of their sum (`argmax`, with a last column for
        the outputs that belong to no class).
    """
    wide = logits.astype(np.float64)
    if space is None or space.rule == "identity":
        return wide
    if space.rule == "subset":
        return wide[:, [index for (index,) in space.members]]
    groups = [list(members) for members in space.members]
    if space.rule == "argmax":
        groups.append(np.flatnonzero(_owners(space) < 0).tolist())
    sums = np.stack([log_sum(wide[:, members]) for members in groups], axis=1)
    if space.rule == "mean":
        sums -= np.log([len(members) for members in groups])
    return sums


def label_matrix(labels: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """The right classes of each sample as (n, k) int32, padded with -1; k is 1 if each sample has one."""
    width = max(map(len, labels), default=1)
    return np.array([[*row, *[-1] * (width - len(row))] for row in labels], np.int32).reshape(len(labels), width)


def output_columns(
    logits: NDArray[np.float32], labels: NDArray[np.int32], space: LabelSpace | None = None
) -> dict[str, NDArray[np.generic]]:
    """The narrow columns of the table `outputs`.

    Args:
        logits: (n, n_outputs) float32, finite.
        labels: (n,) int32, classes of the dataset; or (n, k), if several classes are right, padded with -1. Then the
            right class with the largest score is the label, the lowest on a tie: a prediction is right if it is one of
            them.
        space: The dataset's label space; None takes the outputs as the classes.

    Returns:
        `label` (n,) int32, `prediction` (n,) int32 (the lowest class on a tie; -1 where an `argmax` space has none),
        `confidence`, `label_probability`, `logsumexp`, `sum_squared_probability` (n,) float64, `label_logit` (n,)
        float32, `top5_class` (n, k) int32 and `top5_logit` (n, k) float32 with k = min(5, n_classes), largest first,
        lower classes first on ties. In an `argmax` space the top five are those of the outputs, each as the class that
        it belongs to. If no output is one of the classes, only `label`.
    """
    if space is not None and space.rule == "none":
        return {"label": np.asarray(labels, np.int32).reshape(len(labels), -1)[:, 0]}
    scores = project(logits, space)
    label = _best_label(scores, np.asarray(labels, np.int32))
    peak = scores.max(axis=1, keepdims=True)
    exponentials = np.exp(scores - peak)
    total = exponentials.sum(axis=1, keepdims=True)
    probabilities = exponentials / total
    rows = np.arange(len(logits))
    if space is not None and space.rule == "argmax":
        outputs, top_logit = _largest(logits, 5)
        top_class = _owners(space)[outputs]
    else:
        top_class, top_logit = _largest(scores, min(5, scores.shape[1]))
    return {
        "label": label,
        "prediction": top_class[:, 0],
        # -1 selects the last column: the outputs that belong to no class.
        "confidence": probabilities[rows, top_class[:, 0]],
        "label_probability": probabilities[rows, label],
        "label_logit": scores[rows, label].astype(np.float32),
        "logsumexp": (peak + np.log(total))[:, 0],
        "sum_squared_probability": np.square(probabilities).sum(axis=1),
        "top5_class": top_class,
        "top5_logit": top_logit.astype(np.float32),
    }


def _best_label(scores: NDArray[np.float64], labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The right class with the largest score for each sample, the lowest on a tie."""
    if labels.ndim == 1 or labels.shape[1] == 1:
        return labels.reshape(-1)
    labels = np.sort(labels, axis=1)
    values = np.where(labels < 0, -np.inf, np.take_along_axis(scores, np.maximum(labels, 0).astype(np.int64), axis=1))
    best: NDArray[np.int32] = np.take_along_axis(labels, values.argmax(axis=1)[:, None], axis=1)[:, 0]
    return best


def _owners(space: LabelSpace) -> NDArray[np.int32]:
    """The class that each output belongs to; -1 for none."""
    owners = np.full(space.n_outputs or 0, -1, np.int32)
    for label, members in enumerate(space.members):
        owners[list(members)] = label
    return owners


def log_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(sum(exp(values))) of each row; -inf without columns."""
    if not values.shape[1]:
        return np.full(len(values), -np.inf)
    peak = values.max(axis=1)
    summed: NDArray[np.float64] = peak + np.log(np.exp(values - peak[:, None]).sum(axis=1))
    return summed


def _largest(logits: NDArray[Any], k: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
    # argmax returns the first maximum, so k passes of it order ties by class; a partial sort would not.
    remaining, rows = logits.copy(), np.arange(len(logits))
    classes = np.empty((len(logits), k), np.int32)
    for rank in range(k):
        classes[:, rank] = remaining.argmax(axis=1)
        remaining[rows, classes[:, rank]] = -np.inf
    return classes, np.take_along_axis(logits, classes.astype(np.int64), axis=1)


def round_significant(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Round float32 values to `bits` significant bits, halves to even; non-finite values are unchanged.

    The relative error is at most 2^-bits. Values that would round to infinity keep their leading bits instead.

    >>> round_significant(np.array([1 + 2**-8], np.float32), 8)
    array([1.], dtype=float32)
    """
    drop = np.uint32(24 - bits)
    if drop == 0:
        return values
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32((1 << (int(drop) - 1)) - 1)
    odd = (raw >> drop) & np.uint32(1)
    mask = np.uint32(0xFFFFFFFF) << drop
    rounded = ((raw + half + odd) & mask).view(np.float32)
    truncated = (raw & mask).view(np.float32)
    return np.where(np.isfinite(values), np.where(np.isfinite(rounded), rounded, truncated), values)
