"""Datasets: ordered lists of images with labels, found in class folders or handed over in memory."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from qubastore.errors import DatasetError, DatasetNotFoundError, UsageError, check_text
from qubastore.identity import content_hash, identifier
from qubastore.labels import IMAGENET_1K, LABEL_SPACES, OWN_CLASSES, check_classes, implied_space, own_order_notes

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})


_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset.

    Attributes:
        key: Path relative to the dataset's root, `/`-separated, as in class folders, whatever the layout on the disk.
        size: Size of the encoded image, bytes.
        label: Its class, an index into the dataset's classes.
        others: More classes that are right too.
        factors: What else is known of it: corruption, severity, texture, ...
        data: The encoded image, for datasets in memory; None where a file is to be read.
        path: The file relative to the root where it is not the key.
        row: The row of the Parquet file `path` that holds the image; None for an image file.
    """

    key: str
    size: int
    label: int
    factors: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    data: bytes | None = None
    path: str | None = None
    row: int | None = None
    others: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """All right classes, `label` first."""
        return (self.label, *self.others)


@dataclass(frozen=True)
class Dataset:
    """An ordered list of samples under a name.

    Attributes:
        name: Its name; suites ask for datasets by name.
        samples: In order; a sample's id is its position.
        classes: Class names by label.
        label_space: How a model's outputs map to the classes: a name of `qubastore.labels.LABEL_SPACES`.
        root: Folder that the keys are relative to; None for a dataset in memory.
        framing: How its images become inputs: `model`, or `whole` for sets that come already cropped.
        factors: What all samples share: corruption and severity of a cell of a corruption set.
        image_size: Width and height that every image must have, pixels; None where they vary.
        keep: What is kept of its runs unless another choice is made; None means `qubastore.outputs.DEFAULT_KEEP`.
        listed_factors: Whether the samples' factors come from a list of their own, so that keys do not imply them.
        notes: What users should know of how it was read: files left out, the order of its classes.
    """

    name: str
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    label_space: str
    root: str | None
    framing: str = "model"
    factors: Mapping[str, str] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    keep: tuple[str, ...] | None = None
    listed_factors: bool = False
    notes: tuple[str, ...] = ()

    @cached_property
    def dataset_id(self) -> str:
        """Hash of the name and the ordered (key, byte size), and of what those leave open.

        The name is part of it: sets of uncompressed images can agree in every key and size. So are the classes, for
        ImageNet's label spaces by name, for those never change; and where keys are no paths below class folders, the
        labels and the content.
        """
        listing: list[list[Any]] = [[s.key, s.size] for s in self.samples]
        if self.root is None:
            listing = [
                [s.key, s.size, s.label, content_hash(s.data) if s.data is not None else None] for s in self.samples
            ]
        # The label space `imagenet-1k` adds nothing, so that ids from before there were others stay what they are.
        space = {IMAGENET_1K: None, OWN_CLASSES: list(self.classes)}.get(self.label_space, self.label_space)
        # Factors that keys imply need their names alone; those that all samples share stand nowhere else.
        names = sorted(self.samples[0].factors) if self.samples else []
        factors: list[Any] = [names, dict(self.factors)] if names else []
        if self.listed_factors:
            factors.append([dict(s.factors) for s in self.samples])
        # Several right classes are no part of a key.
        several = [[s.others for s in self.samples]] if any(s.others for s in self.samples) else []
        return identifier("dataset", self.name, space, listing, *factors, *several)

    def limited(self, limit: int | None) -> Dataset:
        """At most `limit` samples, evenly spaced so that they spread over the classes: a dataset of its own."""
        if limit is None or limit >= len(self.samples):
            return self
        if limit < 1:
            raise UsageError(f"--limit {limit} leaves no image", expected="a number from 1 up")
        chosen = tuple(self.samples[index * len(self.samples) // limit] for index in range(limit))
        return replace(self, samples=chosen)


def image_folder(
    name: str,
    path: str | os.PathLike[str],
    *,
    space: str | None = None,
    factors: Mapping[str, str] = _NOTHING,
    order: str | None = None,
    may_be_splits: bool = False,
) -> Dataset:
    """The images of an ImageFolder tree: one folder per class, images at any depth below it, sorted by key.

    A folder that holds Parquet files (at any depth) instead of class folders is read as `qubastore.parquet` says.

    Args:
        name: Name of the dataset.
        path: Its root.
        space: Label space that the class folders must belong to; None takes the one that they imply.
        factors: What is known of all its images.
        order: Of classes of one's own, one of `labels.ORDERS`; None means by code points, with a note where timm's
            order is another.
        may_be_splits: Whether folders called train, val and the like are taken for classes.

    Raises:
        DatasetError: where the folder is missing, has no images, mixes kinds of classes, or holds splits.
    """
    root = Path(path)
    check_folder(name, root)
    with readable(name):
        folders = class_folders(root)
        if not may_be_splits:
            check_no_splits(name, root, folders)
        tables = sorted(root.rglob("*.parquet")) if not any(map(has_images, [root / f for f in folders])) else []
        if tables:
            from qubastore.parquet import parquet_images

            return parquet_images(name, root, tables, space=space, factors=factors, order=order)
        return _read_image_folder(name, root, folders, space, factors, order)


SPLITS = ("val", "validation", "valid", "test", "testing", "dev", "eval", "train", "training")
"""What folders of the splits of a dataset are called, in the order in which one of them is suggested."""
_SPLIT = re.compile(rf"({'|'.join(SPLITS)})(?:[-_ ]?(?:set|split|data|images?|\d+))?", re.IGNORECASE)
"""The same with what is often added, as in val2017 and test_set."""


def check_no_splits(name: str, root: Path, folders: Sequence[str]) -> None:
    """Refuse a root that holds the splits of a dataset in place of class folders.

    Raises:
        DatasetError: naming them and the split that may be meant.
    """
    matches = [(match[1].lower(), folder) for folder in folders if (match := _SPLIT.fullmatch(folder))]
    splits = [folder for _, folder in sorted(matches, key=lambda found: SPLITS.index(found[0]))]
    alone = len(splits) == 1 == len(folders) and any((root / splits[0]).glob("*/"))
    if len(splits) < 2 and not alone:
        return
    found = [folder for folder in folders if folder in splits]
    fits = {"train", "test"} <= set(folders)
    raise DatasetError(
        f"dataset {name}: {root} holds splits in place of classes",
        expected="one split: a folder with one folder of images per class",
        found=f"the folders {', '.join(found)}",
        hint=f"--dataset {shlex.quote(f'{name}={root / splits[0]}')}"
        + (f"; {name}={root},layout=splits, to fit probes" if fits else "")
        + "; layout=class, if these are the names of classes",
    )


def check_folder(name: str, root: Path, *, expected: str = "a folder with one folder of images per class") -> None:
    """Refuse what is no folder.

    Raises:
        DatasetNotFoundError: naming the path that was tried.
    """
    if "\0" in str(root):
        raise DatasetNotFoundError(f"dataset {name}: the path {str(root)!r} has a zero byte in it", expected=expected)
    check_text(f"dataset {name}: its path", str(root.resolve()))
    if not root.is_dir():
        raise DatasetNotFoundError(
            f"dataset {name}: {root} is {'no folder' if root.exists() else 'not there'}",
            expected=expected,
            hint=f"ls {shlex.quote(str(_nearest_parent(root)))}",
        )


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """Turn the system's errors while a dataset is listed into one of ours."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"dataset {name}: {error.filename} cannot be read",
            found=error.strerror,
            hint=f"ls -l {shlex.quote(str(error.filename))}",
        ) from None


def class_folders(root: Path) -> list[str]:
    """The folders in a folder, sorted, hidden ones left out."""
    with os.scandir(root) as scan:
        return sorted(entry.name for entry in scan if entry.is_dir() and not _hidden(entry.name))


def has_images(folder: Path) -> bool:
    """Whether there is an image in a folder, at any depth."""
    return next(images_below(folder, ""), None) is not None


def _read_image_folder(
    name: str, root: Path, folders: list[str], space: str | None, factors: Mapping[str, str], order: str | None
) -> Dataset:
    where = f"dataset {name}: {root}"
    if not folders:
        raise DatasetError(
            f"{where} has no class folders",
            expected="one folder of images per class, as in tench/001.jpg",
            found="only files" if any(root.iterdir()) else "an empty folder",
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
    notes += left_out_notes(root, skipped, images_beside(root))
    if not found:
        raise DatasetError(
            f"dataset {name}: no images in the {len(folders)} class folders of {root}",
            expected=f"files that end in {' '.join(sorted(EXTENSIONS))}",
            found="; ".join(notes) or None,
        )
    if len(folders) == 1:
        notes.append(f"it has one class folder only, {folders[0]}: is {root / folders[0]} meant?")
    return replace(listed(name, root, found, classes, space, factors=factors), notes=tuple(notes))


LOOKED_INTO = 2_000
"""Files without an image's ending that are looked into, at most: whether an image is inside."""


def left_out_notes(root: Path, skipped: Sequence[str], beside: Sequence[str] = ()) -> list[str]:
    """Lines about images that are left out.

    Args:
        root: The dataset's folder.
        skipped: Files in class folders whose names do not end as an image's, relative to it.
        beside: Images beside the class folders.
    """
    notes = []
    inside = sorted(key for key in skipped[:LOOKED_INTO] if _holds_image(root / key))
    if inside:
        endings = ", ".join(sorted({PurePath(key).suffix or "no ending" for key in inside}))
        more = "at least " if len(skipped) > LOOKED_INTO else ""
        notes.append(
            f"{more}{len(inside)} files left out: an image is inside, but their names do not end as an image's"
            f" ({endings}; {inside[0]} for one); rename them to take them in"
        )
    if beside:
        are = "images lie" if len(beside) > 1 else "image lies"
        notes.append(f"{len(beside)} {are} beside the class folders, left out ({sorted(beside)[0]} for one)")
    return notes


def images_beside(root: Path) -> list[str]:
    """The images that lie in a folder itself."""
    with os.scandir(root) as scan:
        return [
            entry.name
            for entry in scan
            if PurePath(entry.name).suffix.lower() in EXTENSIONS and not _hidden(entry.name) and entry.is_file()
        ]


def _holds_image(path: Path) -> bool:
    """Whether Pillow knows what is in a file by its first bytes."""
    from PIL import Image

    try:
        with Image.open(path):
            return True
    except Exception:  # whatever it is, no image
        return False


def listed(
    name: str,
    root: Path,
    samples: Iterable[Sample],
    classes: Sequence[str],
    space: str,
    *,
    factors: Mapping[str, str] = _NOTHING,
) -> Dataset:
    """A dataset of samples in the order of their keys.

    Raises:
        DatasetError: where a key is not UTF-8, or stands twice.
    """
    ordered = tuple(sorted(samples, key=lambda sample: sample.key))
    for sample in ordered:
        if not sample.key.isprintable() and _undecodable(sample.key):
            raise DatasetError(
                f"dataset {name}: the file name {sample.key.encode(errors='surrogateescape')!r} is not UTF-8",
                hint="rename it: keys are stored as text",
            )
    for one, other in itertools.pairwise(ordered):
        if one.key == other.key:
            raise DatasetError(
                f"dataset {name}: two images are called {one.key}", expected="a key of its own for every image"
            )
    return Dataset(name, ordered, tuple(classes), space, str(root.resolve()), factors=dict(factors))


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


def images_below(folder: Path, prefix: str, skipped: list[str] | None = None) -> Iterator[tuple[str, int]]:
    """Key and size of every image in a folder, at any depth; `prefix` takes the folder's place in the keys.

    Keys of files whose names do not end as an image's go into `skipped`.
    """
    with os.scandir(folder) as scan:
        entries = [entry for entry in scan if not _hidden(entry.name)]
    for entry in entries:
        key = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_dir():
            yield from images_below(Path(entry.path), key, skipped)
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:  # noqa: PTH122 - a Path per image doubles the time
            yield key, entry.stat().st_size
        elif skipped is not None:
            skipped.append(key)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _nearest_parent(path: Path) -> Path:
    return next(parent for parent in path.resolve().parents if parent.is_dir())
