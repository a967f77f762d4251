"""Class folders as a dataset: one folder per class, as torchvision's ImageFolder reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from qubastore.datasets.dataset import NOTHING, Dataset, Sample
from qubastore.datasets.folders import (
    EXTENSIONS,
    check_folder,
    check_no_splits,
    class_folders,
    has_images,
    images_below,
    images_directly_in,
    left_out_notes,
    listed,
    readable,
)
from qubastore.datasets.label_spaces import LABEL_SPACES, check_classes, implied_space, own_order_notes
from qubastore.errors import DatasetError


def image_folder(
    name: str,
    path: str | os.PathLike[str],
    *,
    space: str | None = None,
    factors: Mapping[str, str] = NOTHING,
    order: str | None = None,
    may_be_splits: bool = False,
) -> Dataset:
    """The images of an ImageFolder tree: one folder per class, images at any depth below it, sorted by key.

    A folder that contains Parquet files (at any depth) or tar files instead of class folders is read by
    `qubastore.datasets.parquet` and `qubastore.datasets.tars`.

    Args:
        name: Name of the dataset.
        path: Its root.
        space: Label space that the class folders must belong to; None means the one that they imply.
        factors: Factors that all its images share.
        order: Order of the user's own classes, one of `label_spaces.ORDERS`; None means by code points, with a note
            if timm's order differs.
        may_be_splits: Whether folders called train, val and the like may be classes.

    Raises:
        DatasetError: If the folder is missing, has no images, mixes kinds of classes, or contains splits.
    """
    root = Path(path)
    check_folder(name, root)
    with readable(name):
        folders = class_folders(root)
        if not may_be_splits:
            check_no_splits(name, root, folders)
        tables = sorted(root.rglob("*.parquet")) if not any(map(has_images, [root / f for f in folders])) else []
        if tables:
            from qubastore.datasets.parquet import parquet_images

            return parquet_images(name, root, tables, space=space, factors=factors, order=order)
        if not folders and (tars := sorted(root.glob("*.tar"))):
            from qubastore.datasets.tars import tar_images

            return tar_images(name, root, tars, space=space, factors=factors, order=order)
        return _read_image_folder(name, root, folders, space, factors, order)


def _read_image_folder(
    name: str, root: Path, folders: list[str], space: str | None, factors: Mapping[str, str], order: str | None
) -> Dataset:
    where = f"dataset {name}: {root}"
    if not folders:
        raise DatasetError(
            f"{where} has no class folders",
            expected="one folder of images per class, as in tench/001.jpg",
            found="files only" if any(root.iterdir()) else "an empty folder",
        )
    notes: list[str] = []
    if space is None:
        space, classes = implied_space(folders, where, order)
        notes += own_order_notes(space, classes, order)
    else:
        classes = LABEL_SPACES[space].classes
        check_classes(folders, classes, where, f"only folders of the label space {space}, such as {classes[0]!r}")
    index = {folder: position for position, folder in enumerate(classes)}
    skipped: list[str] = []
    found = [
        Sample(key, size, index[folder], factors)
        for folder in folders
        for key, size in images_below(root / folder, folder, skipped)
    ]
    notes += left_out_notes(root, skipped, images_directly_in(root))
    if not found:
        raise DatasetError(
            f"dataset {name}: no images in the {len(folders)} class folders of {root}",
            expected=f"files with the extensions {' '.join(sorted(EXTENSIONS))}",
            found="; ".join(notes) or None,
        )
    if len(folders) == 1:
        notes.append(f"it has only one class folder, {folders[0]}: did you mean {root / folders[0]}?")
    return replace(listed(name, root, found, classes, space, factors=factors), notes=tuple(notes))
