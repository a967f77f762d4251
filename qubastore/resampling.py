"""The quality dimensions of a measured model over many resamples of its images, from kept outputs alone.

Images are drawn, independently for every set of images. Runs over the same images see the same draws, whatever the
model, condition or corruption: everything is paired. Images are the same where the names of their files are, apart from
folders and endings, so that the 75 sets of ImageNet-C and ImageNet-val are one set of images.

Intervals are percentiles of the resamples, shifted so that the mean of the resamples is the figure itself: errors of
calibration and spreads over classes grow when samples are drawn twice, and the shift takes that out. An interval says
how a figure would vary over other sets of images of the same size.

Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, chapters 10 and 13.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qubastore.bootstrap import RESAMPLES, Draws, resample, shares
from qubastore.completion import kept_logits, own_logits
from qubastore.dimensions import DIMENSIONS
from qubastore.errors import UsageError
from qubastore.run_grain import RunGrain
from qubastore.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure and its resamples.

    Attributes:
        value: The figure.
        resamples: (n_resamples,) float64, shifted so that their mean is `value`; NaN where a resample has no such
            figure (no image of it was right on the clean set).
    """

    value: float
    resamples: NDArray[np.float64]

    @classmethod
    def of(cls, value: float, resamples: NDArray[np.float64]) -> Estimate:
        """A figure, and what resamples make of it."""
        import numpy as np

        there = resamples[~np.isnan(resamples)]
        return cls(value, resamples - (there.mean() - value if len(there) else math.nan))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The middle part of the resamples: (low, high), interpolated linearly between them."""
        import numpy as np

        if np.isnan(self.resamples).all():
            return math.nan, math.nan
        low, high = np.nanquantile(self.resamples, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def p_value(difference: float, resamples: NDArray[np.float64]) -> float:
    """Two-sided, of a difference over the sample standard deviation of its resamples, by the normal distribution."""
    import numpy as np
    from scipy import stats

    # What rounding leaves of two figures that are one is no difference.
    if abs(difference) <= 1e-12:
        return 1.0
    spread = float(np.nanstd(resamples, ddof=1))
    return 2 * float(stats.norm.sf(abs(difference) / spread)) if spread > 0 else 0.0


@dataclass(frozen=True)
class _Role:
    """A run that answers for a model in a role of a suite."""

    role: str
    run_id: str
    dataset_id: str


class Resampler:
    """Resamples the dimensions of one model after another; all see the same draws.

    Args:
        store: An open store.
        suite: Name of the suite.
        resamples: How many, at least 2.
        seed: Of the draws, 0 or more.

    Raises:
        UsageError: on numbers that cannot be.
    """

    def __init__(self, store: Store, suite: str, resamples: int = RESAMPLES, seed: int = 0) -> None:
        if resamples < 2 or seed < 0:
            raise UsageError(f"{resamples} resamples with seed {seed}", expected="at least 2, and a seed from 0 up")
        self._store, self._suite, self._resamples, self._seed = store, suite, resamples, seed
        self._known: dict[str, tuple[dict[str, float], list[_Role]]] | None = None
        self._orders: dict[str, tuple[int, NDArray[np.int64]]] = {}
        self._drawn: dict[tuple[int, int], Draws] = {}

    def dimensions(self, model_id: str) -> dict[str, Estimate]:
        """Every dimension that a model has in the suite.

        Args:
            model_id: Its id.

        Returns:
            Name -> figure and resamples; without those that `measured_dimensions` has no value for.
        """
        import numpy as np

        if self._known is None:
            self._known = self._look()
        values, played = self._known.get(model_id, ({}, []))
        shares_of = self.accuracies([(one.run_id, one.dataset_id) for one in played])
        by_role = {role: [one for one in played if one.role == role] for role in {one.role for one in played}}
        found: dict[str, NDArray[np.float64]] = {}
        clean = by_role["clean"][0] if "clean" in by_role else None
        if clean is not None:
            accuracy = shares_of[clean.run_id]
            found["accuracy"] = accuracy

            def relative(role: str) -> NDArray[np.float64]:
                with np.errstate(divide="ignore", invalid="ignore"):
                    divided = np.array([shares_of[one.run_id] for one in by_role[role]]) / accuracy
                return np.where(accuracy > 0, divided, np.nan)

            if {"calibration_error", "class_balance"} & set(values):
                found |= self._of_confidence(clean, values)
            for name, role in (("adversarial_robustness", "adversarial"), ("ood_robustness", "shifted")):
                if name in values:
                    with np.errstate(divide="ignore"):
                        found[name] = np.exp(np.log(relative(role)).mean(axis=0))
            if "corruption_robustness" in values:
                found["corruption_robustness"] = relative("corrupted").mean(axis=0)
            if "object_focus" in values:
                found["object_focus"] = 1 - (relative("same_background") - relative("random_background"))[0]
        if "shape_bias" in values:
            found["shape_bias"] = self._shape_bias(by_role["cue_conflict"][0])
        if "parameters" in values:
            found["parameters"] = np.full(self._resamples, values["parameters"])
        return {d.name: Estimate.of(values[d.name], found[d.name]) for d in DIMENSIONS if d.name in values}

    def _look(self) -> dict[str, tuple[dict[str, float], list[_Role]]]:
        """Values and answering runs of every model of the suite: one question for all, asked of a copy in memory."""
        columns = ", ".join(dimension.column for dimension in DIMENSIONS)
        with RunGrain(self._store, ["measured_dimensions", "dimension_runs"]) as copy:
            rows = copy.rows(f"select model_id, {columns} from measured_dimensions where suite = ?", [self._suite])
            answers = copy.rows(
                """
                select answer.model_id, role, answer.run_id, dataset_id
                from dimension_runs as answer join runs on runs.run_id = answer.run_id
                where suite = ? order by role, dataset, answer.condition
                """,
                [self._suite],
            )
        known: dict[str, tuple[dict[str, float], list[_Role]]] = {}
        for model_id, *values in rows:
            named = zip((d.name for d in DIMENSIONS), values, strict=True)
            known[model_id] = {name: value for name, value in named if value is not None}, []
        for model_id, *answer in answers:
            known.setdefault(model_id, ({}, []))[1].append(_Role(*answer))
        return known

    def run_figures(self, run_id: str, dataset_id: str) -> dict[str, Estimate]:
        """What a complete run has of accuracy, ece, class_balance and, with logits, ace and calibration_error."""
        values = {
            name: value
            for name, value in self._store.rows("select metric, value from run_metrics where run_id = ?", [run_id])
            if value is not None
        }
        found = {"accuracy": self.accuracies([(run_id, dataset_id)])[run_id]}
        if {"ece", "class_balance"} & set(values):
            found |= self._of_confidence(_Role("", run_id, dataset_id), values)
        return {name: Estimate.of(values[name], found[name]) for name in found if name in values}

    def accuracies(self, runs: Sequence[tuple[str, str]]) -> dict[str, NDArray[np.float64]]:
        """Accuracy of runs in every resample.

        Args:
            runs: (run id, dataset id) of complete runs.

        Returns:
            Run id -> (n_resamples,) float64.
        """
        import numpy as np

        whole: dict[tuple[int, int], list[tuple[str, NDArray[np.bool_]]]] = {}
        found = {}
        for run_id, dataset_id in dict.fromkeys(runs):
            query = "select sample_id, prediction = label as hit from outputs where run_id = ? order by sample_id"
            columns = self._store.sql(query, [run_id]).fetchnumpy()
            stratum, position = self.images(dataset_id)
            at = position[np.asarray(columns["sample_id"])]
            hit = np.asarray(columns["hit"], bool)
            if len(at) == len(position):
                # Runs over the same images become one matrix, which is multiplied once.
                placed = np.empty(len(at), bool)
                placed[at] = hit
                whole.setdefault((stratum, len(position)), []).append((run_id, placed))
            else:
                found[run_id] = shares(hit[None], self._draws(stratum, len(position)).at(at))[0]
        for key, members in whole.items():
            of_all = shares(np.array([hit for _, hit in members]), self._draws(*key))
            found.update({run_id: share for (run_id, _), share in zip(members, of_all, strict=True)})
        return found

    def _of_confidence(self, run: _Role, values: dict[str, float]) -> dict[str, NDArray[np.float64]]:
        import numpy as np

        from qubastore.transforms import adaptive_calibration

        query = """
            select sample_id, prediction = label as hit, confidence, label, label_probability
            from outputs where run_id = ? order by sample_id
        """
        columns = {name: np.asarray(of) for name, of in self._store.sql(query, [run.run_id]).fetchnumpy().items()}
        draws = self._draws_of(run.dataset_id, columns["sample_id"])
        truth = columns["label_probability"]
        found = resample(columns["hit"], columns["confidence"], columns["label"], truth, draws)
        answer = {"ece": found.ece, "class_balance": found.class_balance}
        if "calibration_error" in values:
            logits, labels, space = kept_logits(self._store, run.run_id)
            own = own_logits(logits, space)
            assert own is not None, "a run without logits has no calibration error"
            answer["ace"] = adaptive_calibration.resampled(own, labels, draws)
            answer["calibration_error"] = np.sqrt(found.ece * answer["ace"])
        return answer

    def _shape_bias(self, run: _Role) -> NDArray[np.float64]:
        import numpy as np

        columns = self._store.sql(
            """
            select outputs.sample_id,
                coalesce(datasets.classes[outputs.prediction + 1] = samples.factors['shape'], false) as shape,
                coalesce(datasets.classes[outputs.prediction + 1] = samples.factors['texture'], false) as texture
            from outputs
            join runs using (run_id)
            join datasets using (dataset_id)
            join samples on samples.dataset_id = runs.dataset_id and samples.sample_id = outputs.sample_id
            where outputs.run_id = ? and samples.factors['shape'] <> samples.factors['texture']
            order by outputs.sample_id
            """,
            [run.run_id],
        ).fetchnumpy()
        draws = self._draws_of(run.dataset_id, np.asarray(columns["sample_id"]))
        shape, texture = shares(np.array([np.asarray(columns[name], bool) for name in ("shape", "texture")]), draws)
        with np.errstate(invalid="ignore"):
            bias: NDArray[np.float64] = shape / (shape + texture)
        return bias

    def _draws_of(self, dataset_id: str, samples: NDArray[Any]) -> Draws:
        stratum, position = self.images(dataset_id)
        return self._draws(stratum, len(position)).at(position[samples])

    def _draws(self, stratum: int, n: int) -> Draws:
        if (stratum, n) not in self._drawn:
            self._drawn[stratum, n] = Draws.of(n, self._resamples, self._seed, stratum)
        return self._drawn[stratum, n]

    def images(self, dataset_id: str) -> tuple[int, NDArray[np.int64]]:
        """The set of images of a dataset: a number for it, and where each sample stands in it, (n_samples,) int64.

        Datasets with the same number have the same images, in order of the names of their files.
        """
        import numpy as np

        if dataset_id not in self._orders:
            rows = self._store.rows("select sample_id, key from samples where dataset_id = ?", [dataset_id])
            paths = {key: key.rpartition("/")[2].rpartition(".")[0] or key for _, key in rows}
            if len(set(paths.values())) < len(rows):
                paths = {key: key.rpartition(".")[0] or key for _, key in rows}
            ordered = sorted((paths[key], key, sample_id) for sample_id, key in rows)
            position = np.empty(len(rows), np.int64)
            position[[sample_id for *_, sample_id in ordered]] = np.arange(len(rows))
            names = "\n".join(name for name, *_ in ordered)
            stratum = int.from_bytes(hashlib.sha256(names.encode()).digest()[:4])
            self._orders[dataset_id] = stratum, position
        return self._orders[dataset_id]
