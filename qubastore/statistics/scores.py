"""Class scores from logits: scores, probabilities, the five largest; pure functions over arrays.

What an evaluator computes for every batch takes arrays of NumPy or of torch, on any device: the operations are the same
for both, so that the same rule gives a figure wherever it is computed. What torch computes on a device agrees with
NumPy's results within 1e-12: both use float64, in other orders of summation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qubastore.datasets.label_spaces import UNLABELLED, LabelSpace
from qubastore.errors import OutputError


class Arrays(NamedTuple):
    """Whose arrays are computed with, and where they are.

    Attributes:
        library: `numpy` or `torch`.
        device: For torch, the device.
    """

    library: Any = np
    device: Any = None

    def of(self, values: Any, dtype: str | None = None) -> Any:
        """An array with these values; values that are such an array already are not copied."""
        options = {} if self.device is None else {"device": self.device}
        return self.library.asarray(values, dtype=getattr(self.library, dtype) if dtype else None, **options)

    def zero_to(self, n: int) -> Any:
        """The integers from 0 to n - 1."""
        return self.library.arange(n) if self.device is None else self.library.arange(n, device=self.device)


HOST = Arrays()
"""NumPy."""


def logit_flaws(logits: Any, arrays: Arrays = HOST) -> Any:
    """What is wrong with logits, as two truth values: some are not finite; rows are probabilities.

    Args:
        logits: (n, n_classes) float32.
        arrays: Whose array it is.
    """
    xp = arrays.library
    with np.errstate(invalid="ignore"):
        sums = logits.sum(axis=1)
    # Every row is not negative, and sums to 1 within what np.allclose(atol=1e-3) allows.
    probabilities = (
        (logits >= 0).all() & (xp.abs(sums - 1) <= 1e-3 + 1e-5).all() & (logits.shape[1] > 1 and len(logits) > 0)
    )
    return xp.stack([~xp.isfinite(logits).all(), probabilities])


def check_shape(shape: tuple[int, ...], *, classes: int, model: str) -> None:
    """Check the shape of a classifier's logits.

    Args:
        shape: The shape of what it returned.
        classes: Number of outputs that the dataset's label space expects; 0 if any number is valid.
        model: Name of the model, for the message.

    Raises:
        OutputError: if it is not (n, classes).
    """
    if len(shape) != 2 or (classes and shape[1] != classes):
        raise OutputError(
            f"{model} returned an array of shape {tuple(shape)}",
            expected=f"(batch, {classes or 'classes'}): one logit per class",
            hint="choose a model with that many classes, or another dataset",
        )


def check_features(features: NDArray[np.float32], *, model: str) -> None:
    """Check that the features of a backbone without a head are finite.

    Args:
        features: (n, width) float32.
        model: Name of the model, for the message.

    Raises:
        OutputError: if they are not.
    """
    wrong = ~np.isfinite(features).all(axis=1)
    if wrong.any():
        raise OutputError(
            f"{model} returned features that are not finite",
            found=f"such values for {int(wrong.sum())} of {len(features)} images of a batch",
            hint="--precision fp32; if that does not help, the weights or the preprocessing are wrong",
        )


def check_logits(logits: NDArray[np.float32], *, model: str) -> None:
    """Check that an array holds a classifier's logits.

    Args:
        logits: (n, n_classes) float32.
        model: Name of the model, for the message.

    Raises:
        OutputError: on non-finite values, or rows that are probabilities.
    """
    not_finite, probabilities = logit_flaws(logits)
    if not_finite:
        row, column = np.argwhere(~np.isfinite(logits))[0]
        raise OutputError(
            f"{model} returned {logits[row, column]} for class {column}",
            expected="finite logits",
            found=f"such values for {int((~np.isfinite(logits)).any(axis=1).sum())} of {len(logits)} images of a batch",
            hint="--precision fp32; if that does not help, the weights or the preprocessing are wrong",
        )
    if probabilities:
        raise OutputError(
            f"{model} returned probabilities",
            expected="logits: qubastore applies the softmax itself",
            found="rows that are non-negative and sum to 1",
            hint="LOADER:NAME,output_type=probabilities; or remove the model's final softmax",
        )


@dataclass(frozen=True)
class _Projection:
    """The constants of a label space's rule, as arrays.

    Attributes:
        rule: The rule.
        members: The outputs of each class; one array of all of them for `subset`.
        log_counts: The logarithm of the number of outputs of each class, for `mean`.
        owners: The class that each output belongs to, -1 for none; for `argmax`.
    """

    rule: str
    members: tuple[Any, ...] = ()
    log_counts: Any = None
    owners: Any = None


@cache
def _projection(space: LabelSpace | None, arrays: Arrays) -> _Projection:
    """Kept, because copying it to a device would wait for all that the device has to do."""
    if space is None or space.rule in ("identity", "none"):
        return _Projection("identity")
    if space.rule == "subset":
        return _Projection("subset", (arrays.of([index for (index,) in space.members]),))
    groups = [list(members) for members in space.members]
    owners = _owners(space)
    if space.rule == "argmax":
        groups.append(np.flatnonzero(owners < 0).tolist())
    return _Projection(
        space.rule,
        tuple(arrays.of(members, "int64") for members in groups),
        arrays.of(np.log([len(members) for members in space.members])) if space.rule == "mean" else None,
        arrays.of(owners),
    )


def project(logits: Any, space: LabelSpace | None = None, arrays: Arrays = HOST) -> Any:
    """Project logits to scores of a dataset's classes, whose softmax gives the classes' probabilities.

    Args:
        logits: (n, n_outputs) float32.
        space: The dataset's label space; None takes the outputs as they are.
        arrays: Whose array it is.

    Returns:
        (n, n_classes) float64: the logits themselves (`identity`, `none`), those of the members (`subset`), the log of
        the mean exponentiated logit of each class's members (`mean`), or the log of their sum (`argmax`, with a last
        column for the outputs that belong to no class).
    """
    wide, to = arrays.of(logits, "float64"), _projection(space, arrays)
    if to.rule == "identity":
        return wide
    if to.rule == "subset":
        return wide[:, to.members[0]]
    sums = arrays.library.stack([log_sum(wide[:, members], arrays) for members in to.members], axis=1)
    return sums - to.log_counts if to.rule == "mean" else sums


def label_matrix(labels: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """The right classes of each sample as (n, k) int32, padded with -1; k is 1 if each has one, 0 if none has any."""
    width = max(map(len, labels), default=1)
    return np.array([[*row, *[-1] * (width - len(row))] for row in labels], np.int32).reshape(len(labels), width)


def output_columns(logits: Any, labels: Any, space: LabelSpace | None = None, arrays: Arrays = HOST) -> dict[str, Any]:
    """The narrow columns of the table `outputs`.

    Args:
        logits: (n, n_outputs) float32, finite.
        labels: (n,) int32, classes of the dataset; or (n, k), if several classes are right, padded with -1. Then the
            right class with the largest score is the label, the lowest on a tie: a prediction is right if it is one of
            them. With k = 0 there are no labels.
        space: The dataset's label space; None takes the outputs as the classes.
        arrays: Whose arrays they are.

    Returns:
        `label` (n,) int32, `prediction` (n,) int32 (the lowest class on a tie; -1 where an `argmax` space has none),
        `confidence`, `label_probability`, `logsumexp`, `sum_squared_probability` (n,) float64, `label_logit` (n,)
        float32, `top5_class` (n, k) int32 and `top5_logit` (n, k) float32 with k = min(5, n_classes), largest first,
        lower classes first on ties. In an `argmax` space the top five are those of the outputs, each as the class that
        it belongs to. If no output is one of the classes, only `label`. Without labels, none of the columns that begin
        with `label`.
    """
    xp = arrays.library
    labels = arrays.of(labels, "int32")
    labels = labels[:, None] if labels.ndim == 1 else labels
    is_labelled = labels.shape[1] > 0
    if space is not None and space.rule == "none" and space.name != UNLABELLED:
        return {"label": labels[:, 0]} if is_labelled else {}
    scores = project(logits, space, arrays)
    peak = xp.amax(scores, axis=1, keepdims=True)
    exponentials = xp.exp(scores - peak)
    total = exponentials.sum(axis=1, keepdims=True)
    probabilities = exponentials / total
    rows = arrays.zero_to(len(logits))
    if space is not None and space.rule == "argmax":
        outputs, top_logit = _largest(logits, 5, arrays)
        top_class = _projection(space, arrays).owners[outputs]
    else:
        top_class, top_logit = _largest(scores, min(5, scores.shape[1]), arrays)
    columns = {
        "prediction": top_class[:, 0],
        # -1 selects the last column: the outputs that belong to no class.
        "confidence": probabilities[rows, top_class[:, 0]],
        "logsumexp": (peak + xp.log(total))[:, 0],
        "sum_squared_probability": xp.square(probabilities).sum(axis=1),
        "top5_class": top_class,
        "top5_logit": arrays.of(top_logit, "float32"),
    }
    if not is_labelled:
        return columns
    label = _best_label(scores, labels, arrays)
    return columns | {
        "label": label,
        "label_probability": probabilities[rows, label],
        "label_logit": arrays.of(scores[rows, label], "float32"),
    }


def _best_label(scores: Any, labels: Any, arrays: Arrays) -> Any:
    """The right class with the largest score for each sample, the lowest on a tie; (n,) int32."""
    if labels.shape[1] == 1:
        return labels[:, 0]
    xp = arrays.library
    rows = arrays.zero_to(len(labels))
    values = xp.where(labels < 0, -np.inf, scores[rows[:, None], labels])
    # Not smaller than the largest, so that logits that are not finite lead to some class until they are refused.
    best = ~(values < xp.amax(values, axis=1, keepdims=True))
    return xp.amin(xp.where(best, labels, np.iinfo(np.int32).max), axis=1)


def _owners(space: LabelSpace) -> NDArray[np.int32]:
    """The class that each output belongs to; -1 for none."""
    owners = np.full(space.n_outputs or 0, -1, np.int32)
    for label, members in enumerate(space.members):
        owners[list(members)] = label
    return owners


def log_sum(values: Any, arrays: Arrays = HOST) -> Any:
    """log(sum(exp(values))) of each row of float64 values; -inf without columns."""
    xp = arrays.library
    if not values.shape[1]:
        return values.sum(axis=1) - np.inf
    peak = xp.amax(values, axis=1)
    return peak + xp.log(xp.exp(values - peak[:, None]).sum(axis=1))


def _largest(values: Any, k: int, arrays: Arrays) -> tuple[Any, Any]:
    """The places (n, k) int32 of each row's k largest values, and the values: lower places first on ties."""
    xp = arrays.library
    # argmax returns the first maximum, so k passes of it order ties by class; a partial sort would not.
    remaining, rows = xp.empty_like(values), arrays.zero_to(len(values))
    remaining[:] = values
    places = []
    for _ in range(k):
        places.append(remaining.argmax(axis=1))
        remaining[rows, places[-1]] = -np.inf
    found = arrays.of(xp.stack(places, axis=1), "int32")
    return found, values[rows[:, None], found]


def round_significant(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Round float32 values to `bits` significant bits, halves to even; non-finite values are unchanged.

    The relative error is at most 2^-bits. Values that would round to infinity keep their leading bits instead.

    >>> round_significant(np.array([1 + 2**-8], np.float32), 8)
    array([1.], dtype=float32)
    """
    if bits == 24:
        return values
    rounded = np.empty(values.shape, np.float32)
    flat, ours = np.ascontiguousarray(values, np.float32).reshape(-1), rounded.reshape(-1)
    # In blocks that stay in a core's cache: ten times as fast as the whole of a shard's logits.
    for first in range(0, len(flat), _BLOCK):
        ours[first : first + _BLOCK] = _rounded(flat[first : first + _BLOCK], np.uint32(24 - bits))
    return rounded


_BLOCK = 1 << 15


def _rounded(values: NDArray[np.float32], drop: np.uint32) -> NDArray[np.float32]:
    """Contiguous values without their `drop` last bits."""
    raw = values.view(np.uint32)
    half = np.uint32((1 << (int(drop) - 1)) - 1)
    odd = (raw >> drop) & np.uint32(1)
    mask = np.uint32(0xFFFFFFFF) << drop
    rounded = ((raw + half + odd) & mask).view(np.float32)
    truncated = (raw & mask).view(np.float32)
    return np.where(np.isfinite(values), np.where(np.isfinite(rounded), rounded, truncated), values)
