"""The quality dimensions of a measured model over many resamples of its images, from kept outputs alone.

Images are drawn with replacement, independently for every set of images. Runs over the same images use the same draws,
whatever the model, condition or corruption: everything is paired. Images are the same if their file names are, apart
from folders and extensions, so that the 75 sets of ImageNet-C and ImageNet-val are one set of images.

Images composed of two parts that each occur in several images are not drawn one by one: their parts are
(`sampling_units` defines which images these are, `crossed` how a figure then varies). Runs over the same parts are
paired.

Intervals are percentiles of the resamples, shifted so that the mean of the resamples is the figure itself: errors of
calibration and spreads over classes grow when samples are drawn twice, and the shift removes that bias. An interval
shows how a figure would vary over other sets of images of the same size.

Source: Efron and Tibshirani, An introduction to the bootstrap, 1993, chapters 10 and 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qubastore.lake.database import Database
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.ranking.dimension_runs import DimensionRun, Without, dimension_runs_of, of_shares
from qubastore.runs.image_sets import ImageSets
from qubastore.runs.replicates import Replicates, SummarisedRun
from qubastore.runs.resampled import Confidences, Hits, decisions_of, hits_of, kept
from qubastore.statistics.bootstrap import Draws, shares
from qubastore.statistics.crossed import Crossed, Multipliers, jackknife
from qubastore.statistics.estimates import Estimate
from qubastore.statistics.options import BootstrapOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Resampler:
    """Resamples the dimensions of one model after another, all with the same draws.

    Args:
        store: An open store.
        suite: Name of the suite.
        options: Number of resamples and seed.
    """

    def __init__(self, store: Database, suite: str, options: BootstrapOptions) -> None:
        self._store, self._suite, self._resamples = store, suite, options.resamples
        self._known: dict[str, tuple[dict[str, float], list[DimensionRun]]] | None = None
        self._sets = ImageSets(store, options.seed)
        self._replicates = Replicates(store, options, self._sets)
        self._hits: dict[str, Hits] = {}
        self._decisions: dict[str, tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]] = {}
        self._multipliers = Multipliers(options.resamples, options.seed)

    @property
    def notes(self) -> list[str]:
        """A note if replicates could not be kept, so that they will be computed again."""
        refused = self._replicates.not_kept
        return [] if refused is None else [f"these resamples are computed each time: {refused.what}"]

    def runs_of(self, model_id: str) -> list[DimensionRun]:
        """The runs that represent a model, by role, dataset and condition."""
        return self._model(model_id)[1]

    def read(self, model_ids: Sequence[str]) -> None:
        """Read what the store has of several models at once, which is faster than one after another."""
        runs = [run for model_id in model_ids for run in self.runs_of(model_id)]
        self._replicates.read(runs)
        composed = [run.run_id for run in runs if run.role != _CUES and self._is_composed(run)]
        self._hits |= hits_of(self._store, [run_id for run_id in composed if run_id not in self._hits])
        cues = [run.run_id for run in runs if run.role == _CUES and run.run_id not in self._decisions]
        self._decisions |= decisions_of(self._store, cues)

    def is_kept(self, model_id: str) -> bool:
        """Whether all replicates of a model are kept that can be, so that its dimensions need no resampling."""
        values, chosen_runs = self._model(model_id)
        of_clean = _confidence_metrics(values)
        return all(
            run.role == _CUES
            or self._replicates.has(run, ["accuracy", *(of_clean if run.role == "clean" else ())])
            or self._is_crossed(run.dataset_id)
            for run in chosen_runs
        )

    def dimensions(self, model_id: str, without: Without | None = None) -> dict[str, Estimate]:
        """The estimate of every dimension that a model has in the suite.

        Args:
            model_id: Id of the model.
            without: Samples of its runs to leave out.

        Returns:
            Name -> figure and resamples, for the dimensions that have a value in `measured_dimensions`.
        """
        import numpy as np

        self.read([model_id])
        values, all_runs = self._model(model_id)
        left_out = {one.run_id: samples for one in all_runs if (samples := (without or {}).get(one.run_id))}
        chosen_runs = [one for one in all_runs if one.role != _CUES]
        drawn = self._replicates.accuracies([one for one in chosen_runs if one.run_id not in left_out])
        rest = {one.run_id: one.dataset_id for one in chosen_runs if one.run_id not in drawn}
        hits = {run_id: self._hits_of(run_id, left_out.get(run_id, ())) for run_id in rest}
        means = {one.run_id: one.accuracy for one in chosen_runs} | {
            run_id: float(hit.mean()) for run_id, (_, hit) in hits.items()
        }
        drawn |= self._shares({run: dataset for run, dataset in rest.items() if not self._is_crossed(dataset)}, hits)
        parts = [one for one in chosen_runs if one.run_id not in drawn]
        drawn |= {one.run_id: np.full(self._resamples, means[one.run_id]) for one in parts}
        of_means = {run_id: np.array([mean]) for run_id, mean in means.items()}
        at_means = of_shares(chosen_runs, of_means, values)
        found = {}
        for name, resamples in of_shares(chosen_runs, drawn, values).items():
            value = float(at_means[name][0]) if left_out else values[name]
            mine = [one for one in parts if one.role in _ROLES[name]]
            crossed = self._of_crossed_shares(name, mine, hits, chosen_runs, of_means, values) if mine else None
            found[name] = Estimate.of(value, resamples, crossed)
        clean = next((one for one in chosen_runs if one.role == "clean"), None)
        if clean is not None and {"calibration_error", "class_balance"} & set(values):
            found |= self._of_confidence(clean, values, left_out.get(clean.run_id, ()))
        if "shape_bias" in values:
            cues = next(one for one in all_runs if one.role == _CUES)
            found["shape_bias"] = self._shape_bias(cues, values["shape_bias"], left_out.get(cues.run_id, ()))
        if "parameters" in values:
            found["parameters"] = self._still(values["parameters"])
        self._replicates.keep()
        return {d.name: found[d.name] for d in DIMENSIONS if d.name in values}

    def run_figures(self, run_id: str, left_out: Sequence[int] = ()) -> dict[str, Estimate]:
        """Those of accuracy, ece, class_balance and, with logits, ace and calibration_error that a complete run has.

        Args:
            run_id: The run.
            left_out: Its samples to leave out.
        """
        values = {
            name: value
            for name, value in self._store.rows("select metric, value from run_metrics where run_id = ?", [run_id])
            if value is not None
        }
        ((dataset_id, *summary),) = self._store.rows(
            "select dataset_id, n_outputs, n_correct, computed_at from run_summary join runs using (run_id)"
            " where run_id = ?",
            [run_id],
        )
        run = SummarisedRun(run_id, dataset_id, *summary)
        found = {}
        if "accuracy" in values:
            found["accuracy"] = self._accuracy(run, values["accuracy"], left_out)
        if {"ece", "class_balance"} & set(values):
            found |= self._of_confidence(run, values, left_out)
        self._replicates.keep()
        return {
            name: found[name]
            for name in ("accuracy", "ece", "class_balance", "ace", "calibration_error")
            if name in found and name in values
        }

    def _accuracy(self, run: SummarisedRun, value: float, left_out: Sequence[int]) -> Estimate:
        if not left_out and (drawn := self._replicates.accuracies([run])):
            return Estimate.of(value, drawn[run.run_id])
        samples, hit = self._hits_of(run.run_id, left_out)
        value = float(hit.mean()) if left_out else value
        if self._is_crossed(run.dataset_id):
            return self._still(value, self._share(hit, None, [(run.dataset_id, samples)]))
        return Estimate.of(value, self._shares({run.run_id: run.dataset_id}, {run.run_id: (samples, hit)})[run.run_id])

    def _model(self, model_id: str) -> tuple[dict[str, float], list[DimensionRun]]:
        if self._known is None:
            self._known = dimension_runs_of(self._store, self._suite)
        return self._known.get(model_id, ({}, []))

    def _hits_of(self, run_id: str, left_out: Sequence[int]) -> Hits:
        """The hits of a run without the samples to leave out."""
        if run_id not in self._hits:
            self._hits |= hits_of(self._store, [run_id])
        samples, hit = self._hits[run_id]
        if not left_out:
            return samples, hit
        there = kept(samples, left_out)
        return samples[there], hit[there]

    def _is_composed(self, run: DimensionRun) -> bool:
        """Whether a run's images are composed of parts; whether they are is looked up only if it has no replicates."""
        return not self._replicates.has(run, ["accuracy"]) and self._is_crossed(run.dataset_id)

    def _is_crossed(self, dataset_id: str) -> bool:
        return self._sets.of(dataset_id).is_crossed

    def _shares(self, datasets: Mapping[str, str], hits: Mapping[str, Hits]) -> dict[str, NDArray[np.float64]]:
        """Run -> (n_resamples,) accuracies of runs over images that are drawn one by one, which are not kept."""
        found = self._replicates.shares(datasets, hits)
        return {run_id: share[: self._resamples] for run_id, share in found.items()}

    def _of_crossed_shares(
        self,
        name: str,
        parts: Sequence[DimensionRun],
        hits: Mapping[str, Hits],
        chosen_runs: Sequence[DimensionRun],
        means: Mapping[str, NDArray[np.float64]],
        values: Mapping[str, float],
    ) -> Crossed:
        """How a dimension varies with runs over images composed of parts: the accuracies' contributions, each times
        the derivative of the dimension with respect to the accuracy.
        """
        import numpy as np

        sets = [(one.dataset_id, hits[one.run_id][0]) for one in parts]
        if name == "accuracy":
            return self._share(hits[parts[0].run_id][1], None, sets)
        step = 1e-6
        contributions = []
        for one in parts:
            up, down = (
                of_shares(chosen_runs, {**means, one.run_id: means[one.run_id] + sign * step}, values)[name][0]
                for sign in (1, -1)
            )
            hit = hits[one.run_id][1]
            contributions.append(np.nan_to_num((up - down) / (2 * step)) * (hit - hit.mean()) / len(hit))
        return Crossed(np.concatenate(contributions), self._sets.units(sets), self._multipliers)

    def _share(
        self, hit: NDArray[np.bool_], counting: NDArray[np.bool_] | None, sets: Sequence[tuple[str, NDArray[np.int32]]]
    ) -> Crossed:
        """How the share of hits among the counted images varies."""
        import numpy as np

        counting = np.ones(len(hit), bool) if counting is None else counting
        n = counting.sum()
        share = float(hit.sum() / n)
        return Crossed((hit - share * counting) / n, self._sets.units(sets), self._multipliers, share, counting)

    def _still(self, value: float, crossed: Crossed | None = None) -> Estimate:
        import numpy as np

        return Estimate.of(value, np.full(self._resamples, value), crossed)

    def _of_confidence(
        self, run: SummarisedRun, values: Mapping[str, float], left_out: Sequence[int]
    ) -> dict[str, Estimate]:
        """ECE, class balance and, if the model has a calibration error, ACE and the calibration error."""
        import numpy as np

        wanted = _confidence_metrics(values)
        if not left_out and (known := self._replicates.confidence(run, wanted)) is not None:
            return {name: Estimate.of(values[name], of) for name, of in _complete(known).items() if name in values}
        outputs = Confidences.of(self._store, run.run_id, with_logits="ace" in wanted, left_out=left_out)

        def figures(draws: Draws) -> dict[str, NDArray[np.float64]]:
            return _complete(outputs.figures(draws))

        if left_out:
            whole = figures(Draws(np.ones((1, len(outputs.samples)), np.uint8)))
            values = {name: float(value[0]) for name, value in whole.items()}
        if not self._is_crossed(run.dataset_id):
            drawn = figures(self._sets.draws_of(run.dataset_id, outputs.samples, self._resamples))
            return {name: Estimate.of(values[name], of) for name, of in drawn.items() if name in values}
        units = self._sets.units([(run.dataset_id, outputs.samples)])
        return {
            name: self._still(values[name], Crossed(contributions, units, self._multipliers))
            for name, contributions in jackknife(figures, len(outputs.samples)).items()
            if name in values
        }

    def _shape_bias(self, run: DimensionRun, value: float, left_out: Sequence[int]) -> Estimate:
        """Shape bias: the share of shape decisions among the decisions for shape or texture."""
        import numpy as np

        samples, shape, texture = self._decisions[run.run_id]
        if left_out:
            there = kept(samples, left_out)
            samples, shape, texture = samples[there], shape[there], texture[there]
            value = float(shape.sum() / (shape | texture).sum())
        if self._is_crossed(run.dataset_id):
            return self._still(value, self._share(shape, shape | texture, [(run.dataset_id, samples)]))
        drawn = shares(np.array([shape, texture]), self._sets.draws_of(run.dataset_id, samples, self._resamples))
        with np.errstate(invalid="ignore"):
            return Estimate.of(value, drawn[0] / (drawn[0] + drawn[1]))


def _confidence_metrics(values: Mapping[str, float]) -> list[str]:
    """The metrics of a model's clean run from which those of its figures are computed that depend on confidences."""
    needed = {
        "ece": {"ece", "calibration_error"},
        "class_balance": {"class_balance"},
        "ace": {"ace", "calibration_error"},
    }
    return [metric for metric, figures in needed.items() if figures & set(values)]


def _complete(figures: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Figures of a run, with the calibration error if there is ACE."""
    import numpy as np

    if "ace" not in figures:
        return dict(figures)
    return {**figures, "calibration_error": np.sqrt(figures["ece"] * figures["ace"])}


_CUES = "cue_conflict"
"""The role whose runs count by their decisions for shape or texture, not by their accuracy."""


_ROLES = {dimension.name: dimension.roles for dimension in DIMENSIONS}
