"""How probes fit a classifier on features: logistic regression, nearest neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Features of the samples of a split.

    Attributes:
        features: (n, width) float32.
        labels: (n,) int32.
        keys: (n,) the samples' keys.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int32]
    keys: NDArray[Any]

    def joined(self, other: Split) -> Split:
        """The samples of both splits."""
        return Split(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.keys, other.keys]),
        )

    def part(self, inside: NDArray[np.bool_]) -> Split:
        """The samples selected by a mask of shape (n,)."""
        return Split(self.features[inside], self.labels[inside], self.keys[inside])


def _linear(candidate: float) -> Any:
    """Multinomial logistic regression by L-BFGS on features of mean 0 and standard deviation 1; C = candidate."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=candidate, max_iter=1000))


def _knn(candidate: float) -> Any:
    """Majority vote of the nearest neighbours by cosine similarity; on a tie the lowest class."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    # For vectors of length 1, the nearest by distance are the nearest by cosine similarity.
    return make_pipeline(Normalizer(), KNeighborsClassifier(int(candidate), algorithm="brute"))


METHODS: dict[str, tuple[Callable[[float], Any], tuple[float, ...]]] = {
    "linear": (_linear, (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)),
    "knn": (_knn, (1, 3, 5, 10, 20, 50)),
}
"""Method -> the scikit-learn model, and the values that validation chooses from (the first one on a tie)."""


def fit(model: Any, split: Split) -> Any:
    """Fit a probe on a split."""
    with warnings.catch_warnings():
        # A weakly regularised probe may not converge; validation decides whether it is usable.
        warnings.simplefilter("ignore")
        return model.fit(split.features.astype(np.float64), split.labels)


def accuracy(model: Any, split: Split) -> float:
    """The share of samples that a probe classifies correctly."""
    return float((model.predict(split.features.astype(np.float64)) == split.labels).mean())
