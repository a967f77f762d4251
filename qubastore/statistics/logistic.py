"""Multinomial logistic regression by L-BFGS, over blocks of rows, so that features need to be in memory only once.

The objective is scikit-learn's `LogisticRegression`: the mean cross-entropy plus ||W||^2 / (2 C n), with a bias that is
not regularised, on features of mean 0 and standard deviation 1; two classes have one vector of weights, those of the
second class. Its value and gradient are computed in float64 by NumPy, or by torch on a GPU; SciPy minimises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qubastore.statistics.scores import HOST, Arrays

BLOCK = 8192
"""Rows that are computed at a time."""


IN_MEMORY = 1 << 31
"""Largest size in bytes of the standardised features that are kept; larger ones are standardised at every step."""


MAX_STEPS, TOLERANCE = 1000, 1e-6
"""When L-BFGS ends: after this many steps, or once no component of the gradient is larger than this."""


@dataclass(frozen=True)
class LinearClassifier:
    """A linear classifier of standardised features.

    Attributes:
        center: (width,) float64, subtracted from the features.
        scale: (width,) float64, by which they are then divided.
        weights: (n_classes, width) float64.
        bias: (n_classes,) float64.
    """

    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, width) features -> (n, n_classes) logits."""
        found = np.empty((len(features), len(self.bias)))
        for first in range(0, len(features), BLOCK):
            block = features[first : first + BLOCK].astype(np.float64)
            found[first : first + BLOCK] = (block - self.center) / self.scale @ self.weights.T + self.bias
        return found


def fit_logistic(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_classes: int,
    inverse_regularisation: float,
    *,
    start: LinearClassifier | None = None,
    arrays: Arrays = HOST,
) -> LinearClassifier:
    """Fit a linear classifier by maximum likelihood with an L2 penalty.

    Args:
        features: (n, width) float32.
        labels: (n,), from 0 to n_classes - 1.
        n_classes: At least 2.
        inverse_regularisation: C of the objective: larger values regularise less.
        start: A classifier of the same classes to start from; None starts from zero. The objective is convex, so this
            decides only how many steps it takes.
        arrays: What computes the objective.
    """
    from scipy.optimize import minimize

    center, scale = _moments(features)
    objective = _Objective(features, labels, n_classes, inverse_regularisation, center, scale, arrays)
    result = minimize(
        objective,
        np.zeros(objective.shape).ravel() if start is None else objective.parameters(start),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_STEPS, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps, "maxls": 50},
    )
    found = result.x.reshape(objective.shape)
    # Of two classes, the first one has logit 0.
    rows = np.concatenate([np.zeros((n_classes - len(found), found.shape[1])), found])
    return LinearClassifier(center, scale, rows[:, :-1], rows[:, -1])


def _moments(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population standard deviation of each feature; 1 for the deviation of a constant one."""
    n = len(features)
    mean = sum(block.astype(np.float64).sum(axis=0) for block in _blocks(features)) / n
    variance = sum(np.square(block.astype(np.float64) - mean).sum(axis=0) for block in _blocks(features)) / n
    precision = np.finfo(np.float64).eps
    # What rounding leaves of a constant.
    constant = variance <= n * precision * variance + np.square(n * mean * precision)
    return np.asarray(mean), np.where(constant, 1.0, np.sqrt(variance))


def _blocks(features: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for first in range(0, len(features), BLOCK):
        yield features[first : first + BLOCK]


class _Objective:
    """The objective and its gradient, as a function of all weights and biases in one vector."""

    def __init__(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        n_classes: int,
        inverse_regularisation: float,
        center: NDArray[np.float64],
        scale: NDArray[np.float64],
        arrays: Arrays,
    ) -> None:
        self._arrays, self._n = arrays, len(features)
        self._penalty = 1 / (inverse_regularisation * self._n)
        self._center, self._scale = arrays.of(center), arrays.of(scale)
        self.shape = (1 if n_classes == 2 else n_classes, features.shape[1] + 1)
        self._features, self._labels = features, arrays.of(labels, "int64")
        self._kept: list[Any] = []
        if features.size * 8 <= IN_MEMORY:
            self._kept = list(self._standardised())

    def parameters(self, of: LinearClassifier) -> NDArray[np.float64]:
        """The vector of a classifier, whose features may have had other moments."""
        center, scale = self._host(self._center), self._host(self._scale)
        weights = of.weights * (scale / of.scale)
        bias = of.bias + ((center - of.center) / of.scale) @ of.weights.T
        rows = np.concatenate([weights, bias[:, None]], axis=1)
        if self.shape[0] == 1:
            rows = rows[1:] - rows[:1]
        flat: NDArray[np.float64] = rows.ravel()
        return flat

    def __call__(self, vector: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The objective and its gradient."""
        xp = self._arrays.library
        rows = vector.reshape(self.shape)
        weights, bias = self._arrays.of(rows[:, :-1].copy()), self._arrays.of(rows[:, -1].copy())
        loss, first = 0.0, 0
        slope, slope_of_bias = xp.zeros_like(weights), xp.zeros_like(bias)
        for block in self._kept or self._standardised():
            right = self._labels[first : first + len(block)]
            first += len(block)
            logits = block @ weights.T + bias
            if self.shape[0] == 1:
                logits = xp.concatenate([xp.zeros_like(logits), logits], axis=1)
            peak = xp.amax(logits, axis=1, keepdims=True)
            residual = xp.exp(logits - peak)
            total = residual.sum(axis=1, keepdims=True)
            places = self._arrays.zero_to(len(block))
            loss += float((xp.log(total[:, 0]) + peak[:, 0] - logits[places, right]).sum())
            residual /= total
            residual[places, right] -= 1
            residual = residual[:, -self.shape[0] :]
            slope += residual.T @ block
            slope_of_bias += residual.sum(axis=0)
        gradient = np.concatenate([self._host(slope), self._host(slope_of_bias)[:, None]], axis=1) / self._n
        gradient[:, :-1] += self._penalty * rows[:, :-1]
        return loss / self._n + self._penalty / 2 * float(np.square(rows[:, :-1]).sum()), gradient.ravel()

    def _standardised(self) -> Iterator[Any]:
        for block in _blocks(self._features):
            yield (self._arrays.of(block, "float64") - self._center) / self._scale

    def _host(self, values: Any) -> NDArray[np.float64]:
        return np.asarray(values if self._arrays.device is None else values.cpu().numpy())
