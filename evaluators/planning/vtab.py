"""The 19 tasks of VTAB-1k as datasets, for probes of kept features: lists, class folders, or torchvision's formats.

It is here and not in `qubastore/datasets`, because it opens torchvision's datasets; `datasets/vtab_tasks.py` lists the
tasks.

A probe does not change the network; VTAB's own protocol and the second study fine-tune it, so the values are not VTAB
scores.

Zhai et al., "A large-scale study of representation learning with the visual task adaptation benchmark", arXiv
1910.04867. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.folders import check_folder, class_folders, images_below, listed, readable
from qubastore.datasets.label_spaces import TRANSFER
from qubastore.datasets.vtab_tasks import HELD_OUT, N_TRAIN, N_VAL, SEED, TASKS, Task, Torchvision
from qubastore.errors import DatasetError, DatasetNotFoundError, check_name

_LISTS = {"train": "train800.txt", "val": "val200.txt", "test": "test.txt"}


def read_task(name: str, data_root: Path) -> list[Dataset]:
    """A task's datasets `vtab/NAME/train`, `vtab/NAME/val` and `vtab/NAME/test`, in the first layout found.

    Their label space is `transfer`; their runs keep outputs and features.

    1. Lists `train800.txt`, `val200.txt` and `test.txt` of lines `relative/path.png LABEL` in `vtab/NAME/`,
       `vtab-1k/NAME/` or `vtab_1k/NAME/`: VTAB-1k's own split, as it is distributed. Classes are named by number.
    2. Class folders in `train/`, `test/` and optionally `val/`, in the same places; without `val/`, two datasets.
    3. Files that torchvision's loader reads in `vtab/NAME/torchvision/` or `torchvision/`. The 800 and 200 images are
       qubastore's own sample of its training split, NOT VTAB's: the first 1,000 by the SHA-256 of `SEED:key`. The test
       split is torchvision's; if it has none, the first fifth by that hash, removed before sampling. Images that it
       holds in arrays become PNG files in memory.

    Raises:
        UsageError: for an unknown task.
        DatasetNotFoundError: naming every path that was tried, and torchvision's errors.
        DatasetError: for an invalid list, label, image or set of classes.
    """
    task = TASKS[check_name("VTAB task", name, TASKS)]
    check_folder(f"vtab/{name}", data_root, expected="the folder that holds the datasets")
    places = [data_root / p / each for p in ("vtab", "vtab-1k", "vtab_1k") for each in (name, task.also) if each]
    for read, marks in ((_read_lists, tuple(_LISTS.values())), (_read_folders, ("train",))):
        for folder in places:
            if any((folder / mark).exists() for mark in marks):
                return _checked(task, read(task, folder))
    tried, failures = [f"train800.txt or train/CLASS/ in {' or '.join(map(str, places))}"], []
    for root in (data_root / "vtab" / name / "torchvision", data_root / "torchvision"):
        if how := task.torchvision:
            tried.append(str(root / how.place))
            try:
                if Path(tried[-1]).exists():
                    return _checked(task, _read_torchvision(task, how, root))
            except (RuntimeError, ImportError, OSError, ValueError, LookupError) as error:
                failures.append(f"torchvision's {how.loader}({str(root)!r}): {type(error).__name__}: {error}")
    raise DatasetNotFoundError(
        f"dataset vtab/{name}: no readable files of it under {data_root}",
        expected=", or ".join(tried),
        found="; ".join(failures) if task.torchvision else "torchvision has no loader for this task",
        hint=f"get VTAB-1k with its lists, or {task.get}; see docs/vtab.md",
    )


def _checked(task: Task, datasets: Sequence[Dataset]) -> list[Dataset]:
    """The datasets, after checking that their classes and labels are valid and agree."""
    first = datasets[0]
    for dataset in datasets:
        unshared = sorted(set(dataset.classes) ^ set(first.classes))
        labels = {sample.labels[0] for sample in dataset.samples}
        wrong = sorted(labels - set(range(len(dataset.classes))))
        for problem, expected, found in (
            (
                dataset.classes != first.classes,
                f"the same classes as in {first.name}",
                f"in only one: {', '.join(unshared[:5])}",
            ),
            (wrong, f"labels 0 to {len(dataset.classes) - 1}", f"{wrong}"),
            (len(dataset.classes) > task.n_classes, f"{task.n_classes} classes", f"{len(dataset.classes)}"),
            (len(labels) < 2, "images of at least two classes", f"{len(dataset.samples)} images of {len(labels)}"),
        ):
            if problem:
                where = f"dataset {dataset.name} ({dataset.root or 'in memory'})"
                raise DatasetError(f"{where}: wrong classes", expected=expected, found=found)
    return [replace(dataset, keep=("outputs", "features")) for dataset in datasets]


def _read_lists(task: Task, folder: Path) -> list[Dataset]:
    classes = [str(label) for label in range(task.n_classes)]
    found, seen = [], dict[str | None, str]()
    for split, file in _LISTS.items():
        with readable(f"vtab/{task.name}/{split}"):
            lines = (folder / file).read_text("utf-8", errors="surrogateescape").split("\n")
        where = f"vtab/{task.name}/{split}: {folder / file}"
        numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        samples = [_listed_sample(f"{where}:{number}", folder, line, task.n_classes) for number, line in numbered]
        for sample in samples:
            if seen.setdefault(sample.path, file) != file:
                raise DatasetError(f"dataset vtab/{task.name}: {seen[sample.path]} and {file} share {sample.path}")
        found.append(listed(f"vtab/{task.name}/{split}", folder, samples, classes, TRANSFER))
    return found


def _listed_sample(where: str, folder: Path, line: str, n_classes: int) -> Sample:
    """The sample of one line of a list; its key begins with its class, so that ids depend on the labels."""
    match = re.fullmatch(r"(\S.*?)\s+([+-]?\d+)", line.strip())
    path = PurePosixPath(match[1] if match else "/")
    if match is None or path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"dataset {where} is malformed", expected="relative/path.png LABEL", found=line.strip())
    label = int(match[2])
    if not 0 <= label < n_classes:
        raise DatasetError(f"dataset {where} has the label {label}", expected=f"0 to {n_classes - 1}")
    with readable(where):
        return Sample(f"{label}/{path}", (folder / path).stat().st_size, label, path=str(path))


def _read_folders(task: Task, folder: Path) -> list[Dataset]:
    found = []
    for split in [each for each in _LISTS if each != "val" or (folder / each).exists()]:
        name, root = f"vtab/{task.name}/{split}", folder / split
        check_folder(name, root)
        with readable(name):
            classes = class_folders(root)
            samples = [Sample(key, size, i) for i, c in enumerate(classes) for key, size in images_below(root / c, c)]
        found.append(listed(name, root, samples, classes, TRANSFER))
    return found


def _read_torchvision(task: Task, how: Torchvision, root: Path) -> list[Dataset]:
    classes, images = _opened(task, how, root, "train")
    if how.test is None:
        n_test = len(images) // HELD_OUT
        test_classes, test, images = classes, images[:n_test], images[n_test:]
    else:
        test_classes, test = _opened(task, how, root, "test")
    drawn = N_TRAIN + N_VAL
    if len(images) < drawn:
        what = f"dataset vtab/{task.name}: torchvision finds too few images in {root}"
        raise DatasetError(what, expected=f"at least {drawn}, without the test split", found=f"{len(images)}")
    found = []
    for split, chosen in {"train": images[:N_TRAIN], "val": images[N_TRAIN:drawn], "test": test}.items():
        names, samples = test_classes if split == "test" else classes, [make() for make in chosen]
        dataset = listed(f"vtab/{task.name}/{split}", root, samples, names, TRANSFER)
        found.append(replace(dataset, root=None) if how.files is None else dataset)
    return found


def _opened(task: Task, how: Torchvision, root: Path, part: str) -> tuple[list[str], list[Callable[[], Sample]]]:
    """The classes of torchvision's split, and functions that create its samples, in the order of the hash."""
    import torchvision

    arguments = (how.train if part == "train" else how.test) or {}
    dataset = getattr(torchvision.datasets, how.loader)(str(root), download=False, **arguments)
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    classes = list(names or [str(how.first_label + label) for label in range(task.n_classes)])
    makers: dict[str, Callable[[str], Sample]] = {}
    for index in range(len(dataset)) if how.files is None else ():
        makers[f"{part}/{index:06d}"] = partial(_encoded, dataset, index)
    for file, given in how.files(dataset) if how.files is not None else ():
        # Keys are unique: each class is in one folder, so no two files of a class have the same name.
        key = f"{given - how.first_label}/{Path(file).name}"
        makers[key] = partial(_on_disk, root, Path(file), given - how.first_label)
    order = sorted(makers, key=lambda key: hashlib.sha256(f"{SEED}:{key}".encode(errors="surrogateescape")).digest())
    return classes, [partial(makers[key], key) for key in order]


def _encoded(dataset: Any, index: int, key: str) -> Sample:
    image, label = dataset[index]
    buffer = io.BytesIO()
    # Uncompressed: the dataset's id hashes these bytes, and zlib releases compress differently.
    image.save(buffer, "PNG", compress_level=0)
    return Sample(key, buffer.tell(), int(label), data=buffer.getvalue())


def _on_disk(root: Path, file: Path, label: int, key: str) -> Sample:
    return Sample(key, file.stat().st_size, label, path=file.relative_to(root).as_posix())
