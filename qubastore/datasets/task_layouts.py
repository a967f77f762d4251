"""Layouts of tasks to probe: folders with splits, and class folders of which a part is held out for testing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.folders import check_folder
from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.label_spaces import CODE_POINT, TRANSFER
from qubastore.datasets.places import Place
from qubastore.errors import DatasetError
from qubastore.hashing import part_of

SPLITS = ("train", "val", "test")


def splits_layout(name: str, folder: Place, _: str | None = None) -> list[Dataset]:
    """Read `NAME/train`, `NAME/val` (optional) and `NAME/test`, each with class folders, for probes of features.

    Raises:
        DatasetError: If train or test is missing, a split has only one class, or the splits' classes differ.
    """
    check_folder(name, folder, expected="folders train and test, and optionally val, each with class folders")
    found: list[Dataset] = []
    for split in SPLITS:
        if split == "val" and not (folder / split).is_dir():
            continue
        data = image_folder(f"{name}/{split}", folder / split, order=CODE_POINT)
        data = _of_a_task(data, folder / split)
        if found and found[0].classes != data.classes:
            different = sorted(set(data.classes) ^ set(found[0].classes))
            raise DatasetError(
                f"dataset {name}: {folder / split} has other classes than {folder / SPLITS[0]}",
                expected=f"the {len(found[0].classes)} classes of {SPLITS[0]}",
                found=f"{', '.join(different[:5])} in only one of them",
            )
        found.append(data)
    return found


HOLDOUT = 10, 3
"""Of so many equal parts, how many are held out for testing where a folder has no splits of its own."""


def holdout_layout(name: str, folder: Place, _: str | None = None) -> list[Dataset]:
    """Read class folders as `NAME/train` and `NAME/test`, for probes of features: about 30 % of the images are tested.

    The part of an image depends on its key alone, so that other images may come and go. Where all images of a class
    would be in one part, that of the smallest hash changes sides.

    Raises:
        DatasetError: If there are no class folders, only one, or one with a single image.
    """
    whole = _of_a_task(image_folder(name, folder, order=CODE_POINT), folder)
    n_parts, n_test = HOLDOUT
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in whole.samples:
        by_class[sample.labels[0]].append(sample)
    test: set[str] = set()
    for label, samples in by_class.items():
        if len(samples) < 2:
            raise DatasetError(
                f"dataset {name}: {folder} has a single image of the class {whole.classes[label]}",
                expected="at least two images per class, to hold one out for testing",
            )
        chosen = {s.key for s in samples if part_of("holdout", s.key, n_parts) < n_test}
        if len(chosen) in (0, len(samples)):
            chosen ^= {min((s.key for s in samples), key=lambda key: part_of("holdout", key, 1 << 62))}
        test |= chosen
    return [
        replace(whole, name=f"{name}/{split}", samples=tuple(s for s in whole.samples if (s.key in test) == is_test))
        for split, is_test in (("train", False), ("test", True))
    ]


def _of_a_task(data: Dataset, folder: Place) -> Dataset:
    """Class folders as a task to probe.

    No output of a model corresponds to its classes, so their order does not matter.
    """
    names = tuple(sorted({sample.key.partition("/")[0] for sample in data.samples}))
    if len(names) < 2:
        raise DatasetError(f"dataset {data.name}: {folder} has only one class, {names[0]}", expected="at least two")
    samples = tuple(replace(s, label=names.index(s.key.partition("/")[0])) for s in data.samples)
    return replace(data, samples=samples, classes=names, label_space=TRANSFER, keep=("outputs", "features"))
