"""Find datasets by the names that users give: known datasets, the user's own, and VTAB's tasks for probes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from qubastore.datasets import locating
from qubastore.datasets.dataset import Dataset
from qubastore.errors import DatasetError, DatasetNotFoundError, QubastoreError, UsageError

VTAB = "vtab/"


def find_datasets(
    text: str, data_root: str | os.PathLike[str] | None = None, log: Callable[[str], None] = lambda _: None
) -> list[Dataset]:
    """Find the datasets of a text: as `locating.parse_dataset` does, or `vtab/TASK[/SPLIT]` under a data root.

    Raises:
        UsageError: for an unknown name, or a missing data root.
        DatasetError: if the files do not match the dataset.
    """
    if not text.startswith(VTAB) or "=" in text:
        return locating.parse_dataset(text, data_root, log)
    from qubastore.evaluators.planning.vtab import read_task

    _, task, *split = text.split("/")
    if data_root is None:
        raise UsageError(f"{text!r} has no path, and --data-root is not given", hint="--data-root /data")
    found = read_task(task, Path(data_root))
    chosen = [dataset for dataset in found if not split or dataset.name == text]
    if not chosen:
        raise UsageError(f"there is no split {text!r}", expected=f"one of {', '.join(each.name for each in found)}")
    return chosen


def find_suite(
    names: Sequence[str], given: Sequence[str], data_root: str | os.PathLike[str] | None
) -> tuple[list[Dataset], list[tuple[str, QubastoreError]]]:
    """Find the datasets of a suite: as `locating.locate_suite` does, and VTAB's tasks, each read once.

    Raises:
        DatasetNotFoundError: if the data root itself does not exist.
    """
    wanted = [name for name in names if name not in given]
    found, missing = locating.locate_suite([name for name in wanted if not name.startswith(VTAB)], [], data_root)
    splits = [name for name in wanted if name.startswith(VTAB)]
    for task in dict.fromkeys(name.rpartition("/")[0] for name in splits):
        requested = [name for name in splits if name.startswith(f"{task}/")]
        try:
            if data_root is None:
                raise DatasetNotFoundError(f"dataset {task}: no path was given", expected="--data-root DIR")
            found += [dataset for dataset in find_datasets(task, data_root) if dataset.name in requested]
        except DatasetError as error:
            missing += [(name, error) for name in requested]
    return found, missing
