"""Listing folders of images: class folders, splits, and files that are left out."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from qubastore.datasets.dataset import NOTHING, Dataset, Sample
from qubastore.datasets.places import Place
from qubastore.errors import DatasetError, DatasetNotFoundError, check_text

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})


SPLITS = ("val", "validation", "valid", "test", "testing", "dev", "eval", "train", "training")
"""Names of the folders of a dataset's splits, in the order in which one of them is suggested."""


_SPLIT = re.compile(rf"({'|'.join(SPLITS)})(?:[-_ ]?(?:set|split|data|images?|\d+))?", re.IGNORECASE)
"""The same with common suffixes, as in val2017 and test_set."""


def check_no_splits(
    name: str, root: Place, folders: Sequence[str], has_folders: Callable[[str], bool] | None = None
) -> None:
    """Reject a root that contains the splits of a dataset instead of class folders.

    Args:
        name: Name of the dataset.
        root: Its root.
        folders: The names of the folders in it.
        has_folders: Whether one of them has folders in it; None looks at the disk.

    Raises:
        DatasetError: If it does; the error lists the splits and suggests one.
    """
    matches = [(match[1].lower(), folder) for folder in folders if (match := _SPLIT.fullmatch(folder))]
    splits = [folder for _, folder in sorted(matches, key=lambda found: SPLITS.index(found[0]))]
    nested = has_folders or (lambda folder: any(Path(str(root), folder).glob("*/")))
    alone = len(splits) == 1 == len(folders) and nested(splits[0])
    if len(splits) < 2 and not alone:
        return
    found = [folder for folder in folders if folder in splits]
    fits = {"train", "test"} <= set(folders)
    raise DatasetError(
        f"dataset {name}: {root} contains splits instead of classes",
        expected="one split: a folder with one folder of images per class",
        found=f"the folders {', '.join(found)}",
        hint=f"--dataset {shlex.quote(f'{name}={root / splits[0]}')}"
        + (f"; {name}={root},layout=splits, to fit probes" if fits else "")
        + "; layout=class, if these are the names of classes",
    )


def check_folder(name: str, root: Place, *, expected: str = "a folder with one folder of images per class") -> None:
    """Reject a path that is not a folder.

    Raises:
        DatasetNotFoundError: If it is not; the error names the path.
    """
    if "\0" in str(root):
        raise DatasetNotFoundError(f"dataset {name}: the path {str(root)!r} contains a zero byte", expected=expected)
    check_text(f"dataset {name}: its path", str(root.resolve()))
    if not root.is_dir():
        raise DatasetNotFoundError(
            f"dataset {name}: {root} {'is not a folder' if root.exists() else 'does not exist'}",
            expected=expected,
            hint=f"ls {shlex.quote(str(_nearest_parent(root)))}"
            if isinstance(root, Path)
            else f"aws s3 ls {shlex.quote(str(root.parent))}/",
        )


@contextlib.contextmanager
def readable(name: str) -> Iterator[None]:
    """Translate the operating system's errors while a dataset is listed into `DatasetError`."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"dataset {name}: {error.filename or 'it'} cannot be read",
            found=error.strerror or str(error).splitlines()[0],
            hint=f"ls -l {shlex.quote(str(error.filename))}" if error.filename else None,
        ) from None


def class_folders(root: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without hidden ones."""
    with os.scandir(root) as scan:
        return sorted(entry.name for entry in scan if entry.is_dir() and not is_hidden(entry.name))


def has_images(folder: Path) -> bool:
    """Whether a folder contains an image, at any depth."""
    return next(images_below(folder, ""), None) is not None


LOOKED_INTO = 2_000
"""Maximum number of files without an image's extension that are opened to see whether they are images."""


def left_out_notes(root: Path, skipped: Sequence[str], outside: Sequence[str] = ()) -> list[str]:
    """Messages about images that are left out.

    Args:
        root: The dataset's folder.
        skipped: Files in class folders without an image's extension, relative to the root.
        outside: Images that are in the root, outside the class folders.
    """
    notes = []
    inside = sorted(key for key in skipped[:LOOKED_INTO] if _holds_image(root / key))
    if inside:
        endings = ", ".join(sorted({PurePath(key).suffix or "no extension" for key in inside}))
        more = "at least " if len(skipped) > LOOKED_INTO else ""
        notes.append(
            f"{more}{len(inside)} files left out: they are images without an image's extension"
            f" ({endings}; for example {inside[0]}); rename them to include them"
        )
    if outside:
        are = "images are" if len(outside) > 1 else "image is"
        notes.append(f"{len(outside)} {are} outside the class folders, left out (for example {sorted(outside)[0]})")
    return notes


def images_directly_in(root: Path) -> list[str]:
    """The names of the images directly in a folder, not in its subfolders."""
    with os.scandir(root) as scan:
        return [
            entry.name
            for entry in scan
            if PurePath(entry.name).suffix.lower() in EXTENSIONS and not is_hidden(entry.name) and entry.is_file()
        ]


def _holds_image(path: Path) -> bool:
    """Whether Pillow recognises a file's first bytes as an image."""
    from PIL import Image

    try:
        with Image.open(path):
            return True
    except Exception:  # not an image, for whatever reason
        return False


def listed(
    name: str,
    root: Place,
    samples: Iterable[Sample],
    classes: Sequence[str],
    space: str,
    *,
    factors: Mapping[str, str] = NOTHING,
) -> Dataset:
    """A dataset of samples, sorted by key.

    Raises:
        DatasetError: If a key is not UTF-8, or two samples have the same key.
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
                f"dataset {name}: two images are called {one.key}", expected="a different key for every image"
            )
    return Dataset(name, ordered, tuple(classes), space, str(root.resolve()), factors=dict(factors))


def _undecodable(key: str) -> bool:
    """Whether a file name contains bytes that are not UTF-8: Python decodes them as lone surrogates."""
    return any("\ud800" <= character <= "\udfff" for character in key)


def images_below(folder: Path, prefix: str, skipped: list[str] | None = None) -> Iterator[tuple[str, int]]:
    """Yield key and size of every image in a folder, at any depth; in the keys, `prefix` replaces the folder's path.

    Keys of files without an image's extension are added to `skipped`.
    """
    with os.scandir(folder) as scan:
        entries = [entry for entry in scan if not is_hidden(entry.name)]
    for entry in entries:
        key = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_dir():
            yield from images_below(Path(entry.path), key, skipped)
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:  # noqa: PTH122 - a Path per image doubles the time
            yield key, entry.stat().st_size
        elif skipped is not None:
            skipped.append(key)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that operating systems leave beside what people see."""
    return name.startswith(".") or name == "__MACOSX"


def _nearest_parent(path: Path) -> Path:
    return next(parent for parent in path.resolve().parents if parent.is_dir())
