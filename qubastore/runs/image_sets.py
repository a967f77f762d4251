"""Which images datasets share, how often each resample drew each image, and which parts the images consist of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qubastore.lake.database import Database
from qubastore.statistics.bootstrap import Draws
from qubastore.statistics.sampling_units import Units, units_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of a dataset. Datasets whose images have the same names have the same set of images.

    Attributes:
        number: Number of the set, from a hash of the names; the stratum of its draws.
        position: (n_samples,) int64, the position of each sample in the set, in the order of the names.
        units: The parts of the images; None if no part is in several images, so that images are drawn one by one.
    """

    number: int
    position: NDArray[np.int64]
    units: Units | None

    @classmethod
    def of(cls, samples: Sequence[tuple[int, str, Mapping[str, str]]]) -> ImageSet:
        """The set of images of a dataset, from (sample_id, key, factors) of every sample, in the order of the ids.

        The name of an image is its file name without folders and extension, or with its folders if images in several
        folders have the same name.
        """
        import numpy as np

        paths = {key: key.rpartition("/")[2].rpartition(".")[0] or key for _, key, _ in samples}
        if len(set(paths.values())) < len(samples):
            paths = {key: key.rpartition(".")[0] or key for _, key, _ in samples}
        ordered = sorted((paths[key], key, sample_id) for sample_id, key, _ in samples)
        position = np.empty(len(samples), np.int64)
        position[[sample_id for *_, sample_id in ordered]] = np.arange(len(samples))
        names = "\n".join(name for name, *_ in ordered)
        number = int.from_bytes(hashlib.sha256(names.encode()).digest()[:4])
        return cls(number, position, units_of([(key, factors) for _, key, factors in samples]))

    @property
    def is_crossed(self) -> bool:
        """Whether the images are composed of parts that occur in several images."""
        return self.units is not None

    def __len__(self) -> int:
        return len(self.position)


def image_set(store: Database, dataset_id: str) -> ImageSet:
    """The set of images of a dataset of the store."""
    query = "select sample_id, key, factors from samples where dataset_id = ? order by sample_id"
    return ImageSet.of(store.rows(query, [dataset_id]))


class ImageSets:
    """The image sets of datasets and their bootstrap draws, each made once.

    Args:
        store: An open store.
        seed: Seed of the draws.
    """

    def __init__(self, store: Database, seed: int) -> None:
        self._store, self._seed = store, seed
        self._known: dict[str, ImageSet] = {}
        self._drawn: dict[tuple[int, int, int], Draws] = {}
        self._units: dict[Any, Units] = {}

    def of(self, dataset_id: str) -> ImageSet:
        """The set of images of a dataset."""
        if dataset_id not in self._known:
            self._known[dataset_id] = image_set(self._store, dataset_id)
        return self._known[dataset_id]

    def draws(self, number: int, n: int, resamples: int) -> Draws:
        """The draws of a set of n images."""
        key = number, n, resamples
        if key not in self._drawn:
            self._drawn[key] = Draws.of(n, resamples, self._seed, number)
        return self._drawn[key]

    def draws_of(self, dataset_id: str, samples: NDArray[Any], resamples: int) -> Draws:
        """The draws of some samples of a dataset."""
        images = self.of(dataset_id)
        return self.draws(images.number, len(images), resamples).at(images.position[samples])

    def units(self, several: Sequence[tuple[str, NDArray[Any]]]) -> Units:
        """The parts of the images of several (dataset, samples), concatenated; equal calls return the same object."""
        key = tuple((dataset_id, samples.tobytes()) for dataset_id, samples in several)
        if key not in self._units:
            parts = []
            for dataset_id, samples in several:
                units = self.of(dataset_id).units
                assert units is not None, "these images are drawn one by one"
                parts.append(units.at(samples))
            self._units[key] = Units.joined(parts)
        return self._units[key]
