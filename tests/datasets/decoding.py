"""The files of a dataset's images, and what they decode to."""

from __future__ import annotations

from qubastore.datasets.dataset import Dataset
from qubastore.evaluators.worker.images import SampleFile, decode


def files_of(dataset: Dataset) -> list[SampleFile]:
    """Each image as a worker is asked to decode it."""
    return [
        SampleFile(i, s.key, f"{dataset.root}/{s.path or s.key}" if s.data is None else None, s.data, s.row)
        for i, s in enumerate(dataset.samples)
    ]


def decoded(dataset: Dataset) -> dict[int, str]:
    """Sample ids and hashes of the decoded files; none may fail."""
    result = decode(files_of(dataset), None)
    assert not result.failures
    return result.contents
