"""What every reader of a VTAB task promises."""

from __future__ import annotations

from pathlib import Path

from qubastore.datasets.vtab_tasks import TASKS
from qubastore.evaluators.worker.images import decode
from tests.datasets.decoding import files_of


def check(datasets, name, sizes):
    """What every reader promises: names, order, label space, what is kept, images that decode, sizes that are true."""
    assert [d.name for d in datasets] == [f"vtab/{name}/{split}" for split in ("train", "val", "test")]
    assert [len(d.samples) for d in datasets] == list(sizes)
    seen: set[str] = set()
    for data in datasets:
        assert (data.label_space, data.framing, data.keep) == ("transfer", "model", ("outputs", "features"))
        assert [s.key for s in data.samples] == sorted(s.key for s in data.samples)
        assert {s.label for s in data.samples} <= set(range(len(data.classes)))
        assert len(data.classes) <= TASKS[name].n_classes
        assert not decode(files_of(data), None).failures
        for sample, file in zip(data.samples, files_of(data), strict=True):
            if file.path is None:
                assert sample.data is not None
                place, size = sample.key, len(sample.data)
            else:
                place, size = file.path, Path(file.path).stat().st_size
            assert sample.size == size
            assert place not in seen
            seen.add(place)
    assert len({d.dataset_id for d in datasets}) == 3
