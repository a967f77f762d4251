"""Class folders as a dataset: one folder per class, as torchvision's ImageFolder reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qubastore.datasets.contents import Contents, contents_of
from qubastore.datasets.dataset import NOTHING, Dataset, Sample
from qubastore.datasets.folders import (
    EXTENSIONS,
    check_folder,
    left_out_notes,
    listed,
    readable,
)
from qubastore.datasets.label_spaces import LABEL_SPACES, check_classes, implied_space, own_order_notes
from qubastore.datasets.places import Place, S3Path, place
from qubastore.errors import DatasetError, UsageError


def image_folder(
    name: str,
    path: str | os.PathLike[str] | S3Path,
    *,
    space: str | None = None,
    factors: Mapping[str, str] = NOTHING,
    order: str | None = None,
    split: str | None = None,
    labelled: bool = True,
    may_be_splits: bool = False,
) -> Dataset:
    """The images of an ImageFolder tree: one folder per class, images at any depth below it, sorted by key.

    A folder that contains tables (Parquet files at any depth, or what `datasets.save_to_disk` writes) or tar files
    instead of class folders is read by `qubastore.datasets.image_tables` and `qubastore.datasets.tars`.

    Args:
        name: Name of the dataset.
        path: Its root, a folder or a prefix in S3.
        space: Label space that the class folders must belong to; None means the one that they imply.
        factors: Factors that all its images share.
        order: Order of the user's own classes, one of `label_spaces.ORDERS`; None means by code points, with a note
            if timm's order differs.
        split: The split of tables to read; None where there is only one.
        labelled: False reads images without labels, at any depth.
        may_be_splits: Whether folders called train, val and the like may be classes.

    Raises:
        DatasetError: If the folder is missing, has no images, mixes kinds of classes, or contains splits.
        UsageError: If there is a split, and no tables.
    """
    root = place(path)
    check_folder(name, root)
    with readable(name):
        found = contents_of(name, root, split, may_be_splits=may_be_splits or not labelled)
        if split is not None and not found.tables:
            raise UsageError(
                f"dataset {name}: {root} contains no tables, so that there is no split to choose",
                hint=f"{name}={root}/{split}, if it is a folder",
            )
        if not labelled:
            from qubastore.datasets.unlabelled import unlabelled_images

            return unlabelled_images(name, root, found, factors)
        if found.tables:
            from qubastore.datasets.image_tables import table_images

            return table_images(name, root, found.tables, space=space, factors=factors, order=order)
        if not found.folders and found.tars:
            from qubastore.datasets.tars import tar_images

            return tar_images(name, root, found.tars, space=space, factors=factors, order=order)
        return _class_images(name, root, found, space, factors, order)


def _class_images(
    name: str, root: Place, found: Contents, space: str | None, factors: Mapping[str, str], order: str | None
) -> Dataset:
    where = f"dataset {name}: {root}"
    folders = list(found.folders)
    if not folders:
        raise DatasetError(
            f"{where} has no class folders",
            expected="one folder of images per class, as in tench/001.jpg",
            found="files only" if found.images else "no images",
            hint=f"--dataset {name}={root},labels=none, if they have no labels" if found.images else None,
        )
    notes: list[str] = []
    if space is None:
        space, classes = implied_space(folders, where, order)
        notes += own_order_notes(space, classes, order)
    else:
        classes = LABEL_SPACES[space].classes
        check_classes(folders, classes, where, f"only folders of the label space {space}, such as {classes[0]!r}")
    index = {folder: position for position, folder in enumerate(classes)}
    samples = [Sample(key, size, index[key.partition("/")[0]], factors) for key, size in found.images if "/" in key]
    notes += [*found.notes, *left_out_notes(Path(), (), [key for key, _ in found.images if "/" not in key])]
    if not samples:
        raise DatasetError(
            f"dataset {name}: no images in the {len(folders)} class folders of {root}",
            expected=f"files with the extensions {' '.join(sorted(EXTENSIONS))}",
            found="; ".join(notes) or None,
        )
    if len(folders) == 1:
        notes.append(f"it has only one class folder, {folders[0]}: did you mean {root / folders[0]}?")
    return replace(listed(name, root, samples, classes, space, factors=factors), notes=tuple(notes))
