"""Which images datasets share, how often each resample drew each image, and which parts the images consist of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qubastore.lake.database import Database
from qubastore.statistics.bootstrap import Draws
from qubastore.statistics.sampling_units import Units, units_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ImageSets:
    """The images of datasets and their bootstrap draws.

    Args:
        store: An open store.
        resamples: Number of resamples.
        seed: Seed of the draws.
    """

    def __init__(self, store: Database, resamples: int, seed: int) -> None:
        self._store, self._resamples, self._seed = store, resamples, seed
        self._known: dict[str, tuple[int, NDArray[np.int64], Units | None]] = {}
        self._drawn: dict[tuple[int, int], Draws] = {}
        self._units: dict[Any, Units] = {}

    def images(self, dataset_id: str) -> tuple[int, NDArray[np.int64]]:
        """The image set of a dataset: its number, and the position of each sample in it, (n_samples,) int64.

        Datasets with the same number have the same images; positions follow the order of the file names.
        """
        return self._look(dataset_id)[:2]

    def is_crossed(self, dataset_id: str) -> bool:
        """Whether the dataset's images are composed of parts that occur in several images."""
        return self._look(dataset_id)[2] is not None

    def draws(self, stratum: int, n: int) -> Draws:
        """The draws of a set of n images."""
        if (stratum, n) not in self._drawn:
            self._drawn[stratum, n] = Draws.of(n, self._resamples, self._seed, stratum)
        return self._drawn[stratum, n]

    def draws_of(self, dataset_id: str, samples: NDArray[Any]) -> Draws:
        """The draws of some samples of a dataset."""
        stratum, position = self.images(dataset_id)
        return self.draws(stratum, len(position)).at(position[samples])

    def units(self, several: Sequence[tuple[str, NDArray[Any]]]) -> Units:
        """The parts of the images of several (dataset, samples), concatenated; equal calls return the same object."""
        key = tuple((dataset_id, samples.tobytes()) for dataset_id, samples in several)
        if key not in self._units:
            parts = []
            for dataset_id, samples in several:
                units = self._look(dataset_id)[2]
                assert units is not None, "these images are drawn one by one"
                parts.append(units.at(samples))
            self._units[key] = Units.joined(parts)
        return self._units[key]

    def _look(self, dataset_id: str) -> tuple[int, NDArray[np.int64], Units | None]:
        import numpy as np

        if dataset_id not in self._known:
            query = "select sample_id, key, factors from samples where dataset_id = ? order by sample_id"
            rows = self._store.rows(query, [dataset_id])
            paths = {key: key.rpartition("/")[2].rpartition(".")[0] or key for _, key, _ in rows}
            if len(set(paths.values())) < len(rows):
                paths = {key: key.rpartition(".")[0] or key for _, key, _ in rows}
            ordered = sorted((paths[key], key, sample_id) for sample_id, key, _ in rows)
            position = np.empty(len(rows), np.int64)
            position[[sample_id for *_, sample_id in ordered]] = np.arange(len(rows))
            names = "\n".join(name for name, *_ in ordered)
            stratum = int.from_bytes(hashlib.sha256(names.encode()).digest()[:4])
            self._known[dataset_id] = stratum, position, units_of([(key, factors) for _, key, factors in rows])
        return self._known[dataset_id]
