"""Figures of a run in many resamples of its images: ECE, class balance and ACE, from its outputs and logits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qubastore.lake.database import Database
from qubastore.lake.ducklake import is_one_of
from qubastore.runs.cue_decisions import cue_decisions
from qubastore.runs.vectors import kept_logits
from qubastore.statistics.bootstrap import Draws, resample
from qubastore.statistics.class_logits import class_logits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


RUNS_AT_ONCE = 32
"""Number of runs whose outputs are read with one query."""


Hits = tuple["NDArray[np.int32]", "NDArray[np.bool_]"]
"""The samples of a run, (n,) in ascending order, and whether each was classified correctly, (n,)."""


def hits_of(store: Database, runs: Sequence[str]) -> dict[str, Hits]:
    """Run -> its hits. One query reads many runs, because reading the catalog takes longer than reading a run."""
    rows = _by_run(store, "from outputs", ("sample_id", "prediction = label"), runs)
    return {run_id: (samples, hit) for run_id, (samples, hit) in rows.items()}


def decisions_of(
    store: Database, runs: Sequence[str]
) -> dict[str, tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]]:
    """Run -> samples whose shape and texture differ, (n,) int32, and whether each was classified by its shape, and by
    its texture, (n,) bool each.
    """
    rows = _by_run(store, f"from ({cue_decisions()})", ("sample_id", "shape", "texture"), runs)
    return {run_id: (samples, shape, texture) for run_id, (samples, shape, texture) in rows.items()}


def _by_run(
    store: Database, source: str, expressions: Sequence[str], runs: Sequence[str]
) -> dict[str, list[NDArray[Any]]]:
    """Run -> arrays of the values of expressions, by sample. A run without rows has empty arrays."""
    import numpy as np

    types = (np.int32, *[np.bool_] * (len(expressions) - 1))
    found: dict[str, list[NDArray[Any]]] = {run_id: [np.empty(0, of) for of in types] for run_id in runs}
    lists = ", ".join(
        f"list(coalesce({expression}, {'0' if number == 0 else 'false'}) order by sample_id)"
        for number, expression in enumerate(expressions)
    )
    for first in range(0, len(runs), RUNS_AT_ONCE):
        some = is_one_of("run_id", runs[first : first + RUNS_AT_ONCE])
        query = f"select run_id, {lists} {source} where {some} group by run_id"
        for run_id, *values in zip(*store.arrays(query).values(), strict=True):
            found[run_id] = [np.asarray(each, of) for each, of in zip(values, types, strict=True)]
    return found


def kept(samples: NDArray[np.int32], left_out: Collection[int]) -> NDArray[np.bool_]:
    """Which samples are not left out, (n,) bool."""
    import numpy as np

    return ~np.isin(samples, np.array(sorted(left_out)))


@dataclass(frozen=True, eq=False)
class Confidences:
    """What the calibration and the class balance of a run are computed from.

    Attributes:
        samples: (n,) int32, in ascending order.
        hit: (n,) bool, whether the prediction is the label.
        confidence: (n,) float64, probability of the prediction.
        label: (n,) int32.
        label_probability: (n,) float64.
        logits: (n, n_classes) float32, whose softmax gives the probabilities; None if there are none or ACE is not
            needed.
    """

    samples: NDArray[np.int32]
    hit: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    label: NDArray[np.int32]
    label_probability: NDArray[np.float64]
    logits: NDArray[np.float32] | None

    @classmethod
    def of(cls, store: Database, run_id: str, *, with_logits: bool, left_out: Collection[int] = ()) -> Confidences:
        """Those of a run of the store.

        Args:
            store: An open store.
            run_id: The run.
            with_logits: Read its logits, too: it has kept them for every sample.
            left_out: Ids of samples to leave out.
        """
        import numpy as np

        names = ("sample_id", "hit", "confidence", "label", "label_probability")
        query = (
            "select sample_id, prediction = label as hit, confidence, label, label_probability"
            " from outputs where run_id = ? order by sample_id"
        )
        read = store.arrays(query, [run_id])
        columns = [np.asarray(read[name]) for name in names]
        vectors: NDArray[np.float32] | None = None
        if with_logits:
            logits, _, space = kept_logits(store, run_id)
            vectors = class_logits(logits, space)
            assert vectors is not None, "a run without logits has no calibration error"
        if left_out:
            there = kept(columns[0], left_out)
            columns = [column[there] for column in columns]
            vectors = None if vectors is None else vectors[there]
        samples, hit, confidence, label, truth = columns
        return cls(samples, hit, confidence, label, truth, vectors)

    def figures(self, draws: Draws) -> dict[str, NDArray[np.float64]]:
        """ECE, class balance and, with logits, ACE in every resample: name -> (n_resamples,) float64."""
        from qubastore.metrics import resampled_ace

        found = resample(self.hit, self.confidence, self.label, self.label_probability, draws)
        figures = {"ece": found.ece, "class_balance": found.class_balance}
        if self.logits is not None:
            figures["ace"] = resampled_ace.resampled(self.logits, self.label, draws)
        return figures
