"""What a folder of images contains, or a prefix in S3: class folders, images, tar files, tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qubastore.datasets.folders import (
    EXTENSIONS,
    class_folders,
    images_below,
    images_directly_in,
    is_hidden,
    left_out_notes,
)
from qubastore.datasets.places import Place, S3Path, s3_listing
from qubastore.datasets.tables import find_tables


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


def contents_of(name: str, root: Place, split: str | None) -> Contents:
    """What a folder contains.

    Args:
        name: Name of the dataset, for messages.
        root: The folder.
        split: The split whose tables are wanted; None where there is only one.

    Raises:
        DatasetError: If it has tables of several splits and none is chosen.
        OSError: If it cannot be read.
    """
    return _in_s3(name, root, split) if isinstance(root, S3Path) else _on_disk(name, root, split)


def _on_disk(name: str, root: Path, split: str | None) -> Contents:
    folders = class_folders(root)
    skipped: list[str] = []
    images = [each for folder in folders for each in images_below(root / folder, folder, skipped)]
    outside = images_directly_in(root)
    return Contents(
        folders,
        [*images, *((file, (root / file).stat().st_size) for file in outside)],
        sorted(file.name for file in root.glob("*.tar")),
        find_tables(name, root, split) if not images else (),
        left_out_notes(root, skipped, outside),
    )


def _in_s3(name: str, root: S3Path, split: str | None) -> Contents:
    """What a prefix in S3 contains; other files are not opened to see what they are."""
    below = {key: size for key, size in s3_listing(root).items() if not any(map(is_hidden, key.split("/")))}
    images = [(key, size) for key, size in below.items() if os.path.splitext(key)[1].lower() in EXTENSIONS]  # noqa: PTH122
    inside = [key for key, _ in images if "/" in key]
    return Contents(
        sorted({key.partition("/")[0] for key in below if "/" in key}),
        images,
        sorted(key for key in below if "/" not in key and key.endswith(".tar")),
        find_tables(name, root, split) if not inside else (),
        left_out_notes(Path(), (), [key for key, _ in images if "/" not in key]),
    )
