"""How probes fit a classifier on features: logistic regression, nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qubastore.statistics.logistic import LinearClassifier, fit_logistic
from qubastore.statistics.scores import HOST, Arrays


@dataclass(frozen=True)
class Split:
    """Features of the samples of a split.

    Attributes:
        features: (n, width) float32.
        labels: (n,) int32.
        keys: (n,) the samples' keys.
        ids: (n,) int32 sample ids.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int32]
    keys: NDArray[Any]
    ids: NDArray[np.int32]

    def joined(self, other: Split) -> Split:
        """The samples of both splits."""
        return Split(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.ids, other.ids]),
        )

    def part(self, inside: NDArray[np.bool_]) -> Split:
        """The samples selected by a mask of shape (n,)."""
        if inside.all():
            return self
        return Split(self.features[inside], self.labels[inside], self.keys[inside], self.ids[inside])


class Classifier(Protocol):
    """Features -> scores of classes."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, width) features -> (n, n_classes) logits."""


@dataclass(frozen=True)
class NearestNeighbours:
    """Votes of the nearest neighbours by cosine similarity.

    Attributes:
        features: (n, width) float32, of the samples that it was fitted on.
        labels: (n,), from 0 to n_classes - 1, each at least once.
        k: Number of neighbours that vote.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    k: int

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, width) features -> (n, n_classes): each class's share of the votes."""
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.preprocessing import normalize

        # For vectors of length 1, the nearest by distance are the nearest by cosine similarity.
        model = KNeighborsClassifier(self.k, algorithm="brute")
        model.fit(normalize(self.features.astype(np.float64)), self.labels)
        shares: NDArray[np.float64] = model.predict_proba(normalize(features.astype(np.float64)))
        return shares

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """The logarithm of the probabilities; for a probability of 0, that of the smallest normal float32."""
        return np.log(np.maximum(self.probabilities(features), np.finfo(np.float32).tiny))


@dataclass(frozen=True)
class Fitted:
    """A fitted probe.

    Attributes:
        classes: (k,) the labels that it was fitted on, ascending.
        classifier: Gives a score for each of them, in that order.
    """

    classes: NDArray[np.int32]
    classifier: Classifier

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.int32]:
        """(n, width) features -> (n,) labels; the lowest one on a tie."""
        chosen: NDArray[np.int32] = self.classes[self.classifier.logits(features).argmax(axis=1)]
        return chosen

    def accuracy(self, split: Split) -> float:
        """The share of samples that it classifies correctly."""
        return float((self.predict(split.features) == split.labels).mean())


@dataclass(frozen=True)
class Method:
    """A method to fit a probe.

    Attributes:
        version: Increased when it may give other numbers.
        candidates: The values of its hyperparameter that validation chooses from (the first one on a tie).
        fit: (features, labels from 0, n_classes, value, a classifier to start from, arrays) -> classifier.
        output_type: What its scores are: `logits`, or `probabilities` if they are logarithms of shares.
    """

    version: int
    candidates: tuple[float, ...]
    fit: Callable[[NDArray[np.float32], NDArray[np.int64], int, float, Classifier | None, Arrays], Classifier]
    output_type: str


def _linear(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_classes: int,
    value: float,
    start: Classifier | None,
    arrays: Arrays,
) -> Classifier:
    first = start if isinstance(start, LinearClassifier) and len(start.bias) == n_classes else None
    return fit_logistic(features, labels, n_classes, value, start=first, arrays=arrays)


def _knn(features: NDArray[np.float32], labels: NDArray[np.int64], _: int, value: float, *__: Any) -> Classifier:
    return NearestNeighbours(features, labels, int(value))


METHODS: dict[str, Method] = {
    # From the strongest regularisation to the weakest, each starting where the one before ended.
    "linear": Method(2, (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0), _linear, "logits"),
    "knn": Method(1, (1, 3, 5, 10, 20, 50), _knn, "probabilities"),
}
"""The methods by name: multinomial logistic regression (its hyperparameter is C), and a majority vote of the k nearest
neighbours by cosine similarity."""


def fit(method: str, split: Split, value: float, start: Fitted | None = None, arrays: Arrays = HOST) -> Fitted:
    """Fit a probe on a split.

    Args:
        method: One of `METHODS`.
        split: The samples; at least two classes.
        value: The hyperparameter.
        start: A probe of the same classes to start from, which saves steps and does not change the optimum.
        arrays: What computes.
    """
    classes, labels = np.unique(split.labels, return_inverse=True)
    first = None if start is None else start.classifier
    made = METHODS[method].fit(split.features, labels.astype(np.int64), len(classes), value, first, arrays)
    return Fitted(classes.astype(np.int32), made)
