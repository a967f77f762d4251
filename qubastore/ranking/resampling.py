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

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qubastore.lake.database import Database
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.ranking.dimension_runs import DimensionRun, Without, dimension_runs_of, kept, of_shares
from qubastore.ranking.image_sets import ImageSets
from qubastore.runs.cue_decisions import cue_decisions
from qubastore.runs.vectors import kept_logits
from qubastore.statistics.bootstrap import Draws, resample, shares
from qubastore.statistics.class_logits import class_logits
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
        self._sets = ImageSets(store, options.resamples, options.seed)
        self._multipliers = Multipliers(options.resamples, options.seed)
        self.images = self._sets.images

    def runs_of(self, model_id: str) -> list[DimensionRun]:
        """The runs that represent a model, by role, dataset and condition."""
        return self._model(model_id)[1]

    def dimensions(self, model_id: str, without: Without | None = None) -> dict[str, Estimate]:
        """The estimate of every dimension that a model has in the suite.

        Args:
            model_id: Id of the model.
            without: Samples of its runs to leave out.

        Returns:
            Name -> figure and resamples, for the dimensions that have a value in `measured_dimensions`.
        """
        import numpy as np

        values, chosen_runs = self._model(model_id)
        hits = {one.run_id: self._hits(one, without) for one in chosen_runs}
        means = {run_id: np.array([hit.mean()]) for run_id, (_, hit) in hits.items()}
        at_means = of_shares(chosen_runs, means, values)
        parts = [one for one in chosen_runs if self._sets.is_crossed(one.dataset_id)]
        drawn = self._drawn_shares([one for one in chosen_runs if one not in parts], hits)
        drawn |= {one.run_id: np.full(self._resamples, means[one.run_id][0]) for one in parts}
        is_part = any((without or {}).get(one.run_id) for one in chosen_runs)
        found = {}
        for name, resamples in of_shares(chosen_runs, drawn, values).items():
            value = float(at_means[name][0]) if is_part else values[name]
            mine = [one for one in parts if one.role in _ROLES[name]]
            crossed = self._of_crossed_shares(name, mine, hits, chosen_runs, means, values) if mine else None
            found[name] = Estimate.of(value, resamples, crossed)
        clean = next((one for one in chosen_runs if one.role == "clean"), None)
        if clean is not None and {"calibration_error", "class_balance"} & set(values):
            found |= self._of_confidence(clean, values, without)
        if "shape_bias" in values:
            cues = next(one for one in chosen_runs if one.role == "cue_conflict")
            found["shape_bias"] = self._shape_bias(cues, values["shape_bias"], without)
        if "parameters" in values:
            found["parameters"] = self._still(values["parameters"])
        return {d.name: found[d.name] for d in DIMENSIONS if d.name in values}

    def run_figures(self, run_id: str, dataset_id: str, without: Without | None = None) -> dict[str, Estimate]:
        """Those of accuracy, ece, class_balance and, with logits, ace and calibration_error that a complete run has."""
        values = {
            name: value
            for name, value in self._store.rows("select metric, value from run_metrics where run_id = ?", [run_id])
            if value is not None
        }
        run = DimensionRun("", run_id, dataset_id)
        found = {}
        if "accuracy" in values:
            samples, hit = self._hits(run, without)
            value = float(hit.mean()) if (without or {}).get(run_id) else values["accuracy"]
            if self._sets.is_crossed(dataset_id):
                found["accuracy"] = self._still(value, self._share(hit, None, [(dataset_id, samples)]))
            else:
                found["accuracy"] = Estimate.of(value, self._drawn_shares([run], {run_id: (samples, hit)})[run_id])
        if {"ece", "class_balance"} & set(values):
            found |= self._of_confidence(run, values, without)
        return {
            name: found[name]
            for name in ("accuracy", "ece", "class_balance", "ace", "calibration_error")
            if name in found and name in values
        }

    def _model(self, model_id: str) -> tuple[dict[str, float], list[DimensionRun]]:
        if self._known is None:
            self._known = dimension_runs_of(self._store, self._suite)
        return self._known.get(model_id, ({}, []))

    def _outputs(self, run: DimensionRun, expressions: str, without: Without | None) -> dict[str, NDArray[Any]]:
        """Columns of the outputs of a run, by sample, without those that are left out."""
        import numpy as np

        query = f"select sample_id, {expressions} from outputs where run_id = ? order by sample_id"
        columns = {name: np.asarray(of) for name, of in self._store.sql(query, [run.run_id]).fetchnumpy().items()}
        return kept(columns, run, without)

    def _hits(self, run: DimensionRun, without: Without | None) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        import numpy as np

        columns = self._outputs(run, "prediction = label as hit", without)
        return columns["sample_id"], np.asarray(columns["hit"], bool)

    def _drawn_shares(
        self, runs: Sequence[DimensionRun], hits: Mapping[str, tuple[NDArray[np.int32], NDArray[np.bool_]]]
    ) -> dict[str, NDArray[np.float64]]:
        """The accuracy of runs over images that are drawn one by one, in every resample."""
        import numpy as np

        whole: dict[tuple[int, int], list[tuple[str, NDArray[np.bool_]]]] = {}
        found = {}
        for run in {run.run_id: run for run in runs}.values():
            samples, hit = hits[run.run_id]
            stratum, position = self.images(run.dataset_id)
            if len(samples) == len(position):
                # Runs over the same images become one matrix, which is multiplied once.
                placed = np.empty(len(samples), bool)
                placed[position[samples]] = hit
                whole.setdefault((stratum, len(position)), []).append((run.run_id, placed))
            else:
                draws = self._sets.draws(stratum, len(position)).at(position[samples])
                found[run.run_id] = shares(hit[None], draws)[0]
        for key, members in whole.items():
            of_all = shares(np.array([hit for _, hit in members]), self._sets.draws(*key))
            found.update({run_id: share for (run_id, _), share in zip(members, of_all, strict=True)})
        return found

    def _of_crossed_shares(
        self,
        name: str,
        parts: Sequence[DimensionRun],
        hits: Mapping[str, tuple[NDArray[np.int32], NDArray[np.bool_]]],
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
        self, run: DimensionRun, values: Mapping[str, float], without: Without | None
    ) -> dict[str, Estimate]:
        """ECE, class balance and, if the model has a calibration error, ACE and the calibration error."""
        import numpy as np

        samples, figures = self._confidence_figures(run, "calibration_error" in values, without)
        if (without or {}).get(run.run_id):
            whole = figures(Draws(np.ones((1, len(samples)), np.uint8)))
            values = {name: float(value[0]) for name, value in whole.items()}
        if not self._sets.is_crossed(run.dataset_id):
            drawn = figures(self._sets.draws_of(run.dataset_id, samples))
            return {name: Estimate.of(values[name], of) for name, of in drawn.items() if name in values}
        units = self._sets.units([(run.dataset_id, samples)])
        return {
            name: self._still(values[name], Crossed(contributions, units, self._multipliers))
            for name, contributions in jackknife(figures, len(samples)).items()
            if name in values
        }

    def _confidence_figures(
        self, run: DimensionRun, with_logits: bool, without: Without | None
    ) -> tuple[NDArray[np.int32], Callable[[Draws], dict[str, NDArray[np.float64]]]]:
        """The samples of a run, and a function from draws of them to figures."""
        import numpy as np

        from qubastore.metrics import resampled_ace

        columns = self._outputs(run, "prediction = label as hit, confidence, label, label_probability", without)
        own: NDArray[np.float32] | None = None
        if with_logits:
            logits, labels, space = kept_logits(self._store, run.run_id)
            vectors = class_logits(logits, space)
            assert vectors is not None, "a run without logits has no calibration error"
            if len(columns["label"]) < len(labels):
                everything = self._outputs(run, "label", None)
                vectors = vectors[np.isin(everything["sample_id"], columns["sample_id"])]
            own = vectors

        def figures(draws: Draws) -> dict[str, NDArray[np.float64]]:
            truth = columns["label_probability"]
            found = resample(columns["hit"], columns["confidence"], columns["label"], truth, draws)
            answer = {"ece": found.ece, "class_balance": found.class_balance}
            if own is not None:
                answer["ace"] = resampled_ace.resampled(own, columns["label"], draws)
                answer["calibration_error"] = np.sqrt(found.ece * answer["ace"])
            return answer

        return columns["sample_id"], figures

    def _shape_bias(self, run: DimensionRun, value: float, without: Without | None) -> Estimate:
        """Shape bias: the share of shape decisions among the decisions for shape or texture."""
        import numpy as np

        query = f"select * exclude (run_id) from ({cue_decisions()}) where run_id = ? order by sample_id"
        columns = kept(self._store.sql(query, [run.run_id]).fetchnumpy(), run, without)
        samples = columns["sample_id"]
        shape, texture = (np.asarray(columns[name], bool) for name in ("shape", "texture"))
        if (without or {}).get(run.run_id):
            value = float(shape.sum() / (shape | texture).sum())
        if self._sets.is_crossed(run.dataset_id):
            return self._still(value, self._share(shape, shape | texture, [(run.dataset_id, samples)]))
        drawn = shares(np.array([shape, texture]), self._sets.draws_of(run.dataset_id, samples))
        with np.errstate(invalid="ignore"):
            return Estimate.of(value, drawn[0] / (drawn[0] + drawn[1]))


_ROLES = {dimension.name: dimension.roles for dimension in DIMENSIONS}
