"""Datasets: ordered lists of images with labels, found in class folders or handed over in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from qubastore.errors import DatasetError, UsageError
from qubastore.identity import content_hash, identifier
from qubastore.labels import IMAGENET_1K, OWN_CLASSES, label_space

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})


@dataclass(frozen=True)
class Sample:
    """One image of a dataset.

    Attributes:
        key: Path relative to the dataset's root, `/`-separated.
        size: Size of the file, bytes.
        label: Its class, an index into the dataset's classes.
        factors: What else is known of it: corruption, severity, texture, ...
        data: The encoded image, for datasets in memory; None where the file is to be read.
    """

    key: str
    size: int
    label: int
    factors: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None


@dataclass(frozen=True)
class Dataset:
    """An ordered list of samples under a name.

    Attributes:
        name: Its name; suites ask for datasets by name.
        samples: In order; a sample's id is its position.
        classes: Class names by label.
        label_space: How a model's outputs map to the classes: `imagenet-1k` or `own-classes`.
        root: Folder that the keys are relative to; None for a dataset in memory.
        framing: How its images become inputs: `model`, or `whole` for sets that come already cropped.
    """

    name: str
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    label_space: str
    root: str | None
    framing: str = "model"

    @cached_property
    def dataset_id(self) -> str:
        """Hash of the name and the ordered (key, byte size), and of what those leave open.

        The name is part of it: sets of uncompressed images can agree in every key and size. So are the classes, but for
        ImageNet's, which never change; and where keys are no paths below class folders, the labels and the content.
        """
        listing: list[list[Any]] = [[s.key, s.size] for s in self.samples]
        if self.root is None:
            listing = [
                [s.key, s.size, s.label, content_hash(s.data) if s.data is not None else None] for s in self.samples
            ]
        classes = None if self.label_space == IMAGENET_1K else list(self.classes)
        return identifier("dataset", self.name, classes, listing)

    def limited(self, limit: int | None) -> Dataset:
        """At most `limit` samples, evenly spaced so that they spread over the classes: a dataset of its own."""
        if limit is None or limit >= len(self.samples):
            return self
        if limit < 1:
            raise UsageError(f"--limit {limit} leaves no image", expected="a number from 1 up")
        chosen = tuple(self.samples[index * len(self.samples) // limit] for index in range(limit))
        return replace(self, samples=chosen)


def image_folder(name: str, path: str | os.PathLike[str]) -> Dataset:
    """The images of an ImageFolder tree: one folder per class, images at any depth below it, sorted by key.

    Args:
        name: Name of the dataset.
        path: Its root.

    Raises:
        DatasetError: where the folder is missing, has no images, or mixes kinds of classes.
    """
    root = Path(path)
    if not root.is_dir():
        raise DatasetError(
            f"dataset {name}: {root} is {'no folder' if root.exists() else 'not there'}",
            expected="a folder with one folder of images per class",
            hint=f"ls {_nearest_parent(root)}",
        )
    try:
        return _read_image_folder(name, root)
    except OSError as error:
        raise DatasetError(
            f"dataset {name}: {error.filename} cannot be read",
            found=error.strerror,
            hint=f"ls -l {error.filename}",
        ) from None


def _read_image_folder(name: str, root: Path) -> Dataset:
    with os.scandir(root) as scan:
        folders = sorted(entry.name for entry in scan if entry.is_dir() and not _hidden(entry.name))
    if not folders:
        raise DatasetError(
            f"dataset {name}: {root} has no class folders",
            expected="one folder of images per class, as in tench/001.jpg",
            found="only files" if any(root.iterdir()) else "an empty folder",
        )
    space, classes = label_space(folders, f"dataset {name}: {root}")
    index = {folder: position for position, folder in enumerate(classes)}
    found = [
        Sample(key, size, index[folder]) for folder in folders for key, size in _images(root / folder, prefix=folder)
    ]
    if not found:
        raise DatasetError(
            f"dataset {name}: no images in the {len(folders)} class folders of {root}",
            expected=f"files that end in {' '.join(sorted(EXTENSIONS))}",
        )
    for sample in found:
        if not sample.key.isprintable() and _undecodable(sample.key):
            raise DatasetError(
                f"dataset {name}: the file name {sample.key.encode(errors='surrogateescape')!r} is not UTF-8",
                hint="rename it: keys are stored as text",
            )
    return Dataset(name, tuple(sorted(found, key=lambda sample: sample.key)), classes, space, str(root.resolve()))


def _undecodable(key: str) -> bool:
    """Whether a file name holds bytes that are no UTF-8: Python marks them with lone surrogates."""
    return any("\ud800" <= character <= "\udfff" for character in key)


def images_in_memory(
    name: str, images: Sequence[bytes], labels: Sequence[int], classes: Sequence[str], *, space: str = OWN_CLASSES
) -> Dataset:
    """A dataset of encoded images (PNG, JPEG, ...) that lie in memory.

    Args:
        name: Name of the dataset.
        images: Encoded images.
        labels: Index of each image's class.
        classes: Class names by index.
        space: `own-classes`, or `imagenet-1k` with the 1,000 synsets as classes.

    Raises:
        DatasetError: where the lengths differ or a label is out of range.
    """
    if len(images) != len(labels) or not images:
        raise DatasetError(
            f"dataset {name}: {len(images)} images and {len(labels)} labels", expected="one each, at least"
        )
    wrong = next((label for label in labels if not 0 <= label < len(classes)), None)
    if wrong is not None:
        raise DatasetError(f"dataset {name}: the label {wrong} is none of the {len(classes)} classes")
    samples = tuple(
        Sample(f"{position:08d}", len(data), int(label), data=data)
        for position, (data, label) in enumerate(zip(images, labels, strict=True))
    )
    return Dataset(name, samples, tuple(classes), space, None)


def parse_dataset(text: str) -> Dataset:
    """Read `NAME=PATH` and look at the folder.

    Raises:
        UsageError: where there is no `=`.
        DatasetError: as `image_folder`.
    """
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise UsageError(
            f"{text!r} names no dataset", expected="NAME=PATH", hint="--dataset imagenet-val=/data/imagenet/val"
        )
    return image_folder(name, path)


def _images(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as scan:
        entries = [entry for entry in scan if not _hidden(entry.name)]
    for entry in entries:
        key = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from _images(Path(entry.path), key)
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:  # noqa: PTH122 - a Path per image doubles the time
            yield key, entry.stat().st_size


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _nearest_parent(path: Path) -> Path:
    return next(parent for parent in path.resolve().parents if parent.is_dir())
