"""What a folder of images contains, or a prefix in S3: class folders, images, tar files, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qubastore.datasets.folders import (
    EXTENSIONS,
    check_no_splits,
    class_folders,
    has_images,
    images_below,
    images_directly_in,
    is_hidden,
    left_out_notes,
)
from qubastore.datasets.places import Place, S3Path, s3_listing
from qubastore.datasets.tables import find_tables, tables_below


@dataclass(frozen=True)
class Contents:
    """What a folder, or a prefix in S3, contains.

    Attributes:
        folders: The folders directly in it.
        images: Key and size of the images below these, and of those directly in it.
        tars: The tar files directly in it.
        tables: The tables of images below it, of one split; none if there are images in the folders.
        notes: Messages about files that are left out.
    """

    folders: Sequence[str]
    images: Sequence[tuple[str, int]] = ()
    tars: Sequence[str] = ()
    tables: Sequence[str] = ()
    notes: Sequence[str] = ()


def contents_of(name: str, root: Place, split: str | None, *, may_be_splits: bool) -> Contents:
    """What a folder contains.

    Args:
        name: Name of the dataset, for messages.
        root: The folder.
        split: The split whose tables are wanted; None where there is only one.
        may_be_splits: Whether folders called train, val and the like may be classes.

    Raises:
        DatasetError: If it contains splits: folders, or tables of several of which none is chosen.
        OSError: If it cannot be read.
    """
    if isinstance(root, S3Path):
        return _in_s3(name, root, split, may_be_splits)
    return _on_disk(name, root, split, may_be_splits)


def _on_disk(name: str, root: Path, split: str | None, may_be_splits: bool) -> Contents:
    folders, outside = class_folders(root), images_directly_in(root)
    has_inside = any(has_images(root / folder) for folder in folders)
    tables = () if has_inside else find_tables(name, root, tables_below(root), split)
    if not tables and not may_be_splits:
        # Before all images are listed: there can be a million of them in train.
        check_no_splits(name, root, folders)
    skipped: list[str] = []
    images = [each for folder in folders for each in images_below(root / folder, folder, skipped)] if has_inside else []
    return Contents(
        folders,
        [*images, *((file, (root / file).stat().st_size) for file in outside)],
        sorted(file.name for file in root.glob("*.tar")),
        tables,
        left_out_notes(root, skipped),
    )


def _in_s3(name: str, root: S3Path, split: str | None, may_be_splits: bool) -> Contents:
    """What a prefix in S3 contains; other files are not opened to see what they are."""
    below = {key: size for key, size in s3_listing(root).items() if not any(map(is_hidden, key.split("/")))}
    images = [(key, size) for key, size in below.items() if PurePosixPath(key).suffix.lower() in EXTENSIONS]
    folders = sorted({key.partition("/")[0] for key in below if "/" in key})
    inside = [key for key, _ in images if "/" in key]
    tables = () if inside else find_tables(name, root, below, split)
    if not tables and not may_be_splits:
        nested = {key.partition("/")[0] for key in below if key.count("/") > 1}
        check_no_splits(name, root, folders, nested.__contains__)
    return Contents(
        folders,
        images,
        sorted(key for key in below if "/" not in key and key.endswith(".tar")),
        tables,
    )
