"""Finding datasets: those known by name under a data root, and the user's own folders.

Errors name every path that was tried, and what was expected there.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qubastore.conditions import FRAMINGS
from qubastore.datasets.catalogue import KNOWN_DATASETS, KnownDataset, known_dataset, known_names
from qubastore.datasets.dataset import Dataset
from qubastore.datasets.folders import check_folder
from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.label_spaces import ORDERS
from qubastore.datasets.manifests import ENDINGS, manifest_images
from qubastore.datasets.places import Place, S3Path, place
from qubastore.datasets.readers import (
    corruption_layout,
    read_classes,
    read_imagenet_val,
    shape_texture_layout,
)
from qubastore.datasets.task_layouts import holdout_layout, splits_layout
from qubastore.errors import DatasetError, DatasetNotFoundError, QubastoreError, UsageError, check_name
from qubastore.s3 import is_s3


def locate(name: str, data_root: str | os.PathLike[str]) -> Dataset:
    """Find and read a dataset that is known by name under a folder.

    Raises:
        UsageError: On an unknown name.
        DatasetNotFoundError: If it is not there; the error names every path that was tried.
        DatasetError: If it has another layout.
    """
    known = known_dataset(check_name("dataset", name, known_names()))
    assert known is not None
    root = Path(data_root)
    check_folder(name, root, expected="the folder with the datasets")
    tried = [root / place for place in known.folders]
    found = next((place for place in tried if place.is_dir()), None)
    if found is None:
        raise DatasetNotFoundError(
            f"dataset {name}: {tried[0]} does not exist",
            expected=f"{known.about} ({known.get})",
            found=f"none of {', '.join(map(str, tried[1:]))} either" if tried[1:] else None,
            hint=f"--dataset {name}=PATH, if it is elsewhere; see docs/datasets.md",
        )
    return read_known(known, found)


def read_known(known: KnownDataset, folder: Place, split: str | None = None) -> Dataset:
    """Read a known dataset from its folder, or from a split of the tables in it.

    Raises:
        DatasetError: If it has another layout, or its images have another size.
    """
    in_classes = getattr(known.read, "func", known.read) in _IN_CLASSES
    _check_on_disk(known.name, folder, in_classes, f"{known.name}")
    if isinstance(folder, S3Path) or (split is not None and in_classes):
        dataset = image_folder(known.name, folder, space=known.label_space, factors=known.factors, split=split)
    elif split is not None:
        raise UsageError(f"dataset {known.name}: its authors distribute no tables", hint="leave split= out")
    else:
        dataset = known.read(known.name, folder, known.label_space)
    if known.image_size is not None:
        _check_size(dataset, known.image_size)
    return replace(
        dataset, framing=known.framing, image_size=known.image_size, factors=dict(known.factors), keep=known.keep
    )


_IN_CLASSES = (read_classes, read_imagenet_val)
"""Readers of class folders, which can be tables, or in S3, too."""


def _check_size(dataset: Dataset, expected: tuple[int, int]) -> None:
    """Check the size of the first image; the others are checked when they are decoded."""
    from PIL import Image

    first = dataset.samples[0]
    path = f"{dataset.root}/{first.path or first.key}"
    if first.row is not None or is_s3(path):
        return
    try:
        with Image.open(path) as image:
            found = image.size
    except Exception:  # an image that cannot be decoded is recorded as a failure during ingest
        return
    if found != expected:
        raise DatasetError(
            f"dataset {dataset.name}: {path} is not of the size that the dataset's authors distribute",
            expected=f"{expected[0]} x {expected[1]} pixels",
            found=f"{found[0]} x {found[1]}",
            hint=f"give your own images another name than {dataset.name}",
        )


def locate_suite(
    names: Sequence[str], given: Sequence[str], data_root: str | os.PathLike[str] | None
) -> tuple[list[Dataset], list[tuple[str, QubastoreError]]]:
    """Look under a folder for the datasets of a suite that are not given.

    Args:
        names: Names of the suite's datasets.
        given: Names of those that need not be looked for.
        data_root: The folder; None means that there is none.

    Returns:
        The datasets that were found, and (name, error) for the others.

    Raises:
        DatasetNotFoundError: If the folder itself does not exist.
    """
    if data_root is not None:
        check_folder("root", Path(data_root), expected="the folder with the datasets")
    found: list[Dataset] = []
    missing: list[tuple[str, QubastoreError]] = []
    for name in names:
        if name in given:
            continue
        try:
            if data_root is None or known_dataset(name) is None:
                raise DatasetNotFoundError(
                    f"dataset {name}: no path was given",
                    expected=f"--dataset {name}=PATH" + (", or --data-root DIR" if known_dataset(name) else ""),
                )
            found.append(locate(name, data_root))
        except DatasetError as error:
            missing.append((name, error))
    return found, missing


def expand(name: str) -> list[str]:
    """The names of the datasets that a name means: `imagenet-c` means its 75 cells, `pug` its ten factor sets."""
    cells = [each for each in KNOWN_DATASETS if each.startswith(f"{name}/")]
    return cells or [name]


def parse_dataset(
    text: str, data_root: str | os.PathLike[str] | None = None, log: Callable[[str], None] = lambda _: None
) -> list[Dataset]:
    """Parse `NAME=PATH[,OPTION=VALUE]...` with the options `OPTIONS`, or a known `NAME` under `data_root`.

    If parts of a dataset such as `imagenet-c` are missing, they are logged and the others are returned.

    Raises:
        UsageError: If a name without a path is not a known one, or there is no data root.
        DatasetError: As `locate` and `own_datasets`.
    """
    head, *pairs = re.split(rf",(?=(?:{'|'.join(OPTIONS)})=)", text)
    options = dict(pair.split("=", 1) for pair in pairs)
    name, equals, path = head.partition("=")
    if not name or (equals and not path):
        raise UsageError(
            f"{text!r} does not name a dataset", expected="NAME=PATH", hint="--dataset imagenet-val=/data/imagenet/val"
        )
    if equals:
        return own_datasets(name, path, log=log, **options)
    for option in OPTIONS:
        if option in options and option != "framing":
            raise UsageError(
                f"{text!r} has the option {option}, but no path",
                hint=f"--dataset {name}=PATH,{option}={options[option]}",
            )
    if "framing" in options:
        check_name("framing", options["framing"], FRAMINGS)
    known = {each.partition("/")[0] for each in KNOWN_DATASETS} | set(known_names())
    if name not in known:
        check_name("dataset", name, sorted(each for each in known if "/" not in each))
    if data_root is None:
        raise UsageError(
            f"{text!r} has no path, and there is no --data-root to look in",
            expected="NAME=PATH, or a known NAME with --data-root DIR",
            hint=f"--dataset {name} --data-root /data",
        )
    found, missing = locate_suite(expand(name), [], data_root)
    _log_missing(found, missing, log)
    return [replace(dataset, framing=options.get("framing", dataset.framing)) for dataset in found]


def _log_missing(
    found: Sequence[Dataset], missing: Sequence[tuple[str, QubastoreError]], log: Callable[[str], None]
) -> None:
    """Log the missing parts of a dataset.

    Raises:
        DatasetError: If no part was found, or a part cannot be read.
    """
    unreadable = [error for _, error in missing if not isinstance(error, DatasetNotFoundError)]
    if missing and (unreadable or not found):
        raise (unreadable or [missing[0][1]])[0]
    if missing:
        log(left_out([error for _, error in missing], len(missing) + len(found)))


def left_out(missing: Sequence[QubastoreError], n_parts: int) -> str:
    """A message about the missing parts of a dataset of `n_parts`: the first with its path, the number of others."""
    more = f", and {len(missing) - 1} more of its {n_parts} parts" if len(missing) > 1 else ""
    return f"left out: {missing[0].what}{more}"


def own_datasets(
    name: str,
    path: str | os.PathLike[str],
    layout: str | None = None,
    framing: str | None = None,
    log: Callable[[str], None] = lambda _: None,
    *,
    order: str | None = None,
    split: str | None = None,
    labels: str | None = None,
) -> list[Dataset]:
    """Read the dataset, or the datasets, in a folder.

    Args:
        name: Its name. The name of a known dataset is read as that dataset, unless `layout` is given.
        path: Its folder, or a prefix in S3; or a manifest, a CSV or Parquet file (`qubastore.datasets.manifests`).
        layout: One of `LAYOUTS`; None means class folders.
        framing: How its images become inputs; None means `model`, or the default of a known dataset.
        log: Called with a message about missing parts of a dataset such as `imagenet-c`.
        order: Order of the user's own class folders, one of `label_spaces.ORDERS`; None means by code points.
        split: The split of tables to read (Parquet files, or what `datasets.save_to_disk` writes).
        labels: `none` for images without labels.

    Raises:
        UsageError: On an unknown option, or one that the layout does not have.
        DatasetError: If the folder does not have the layout.
    """
    if framing is not None:
        check_name("framing", framing, FRAMINGS)
    where = place(path)
    # A layout says that the images are one's own, whatever they are called.
    known = known_dataset(name) if layout is None else None
    is_whole = layout is None and len(expand(name)) > 1
    is_manifest = layout is None and known is None and where.suffix.lower() in ENDINGS and where.is_file()
    in_folders = layout in (None, "class") and not is_whole
    if order is not None:
        check_name("order", order, ORDERS)
        is_own = known is None and not is_whole and layout not in ("splits", "holdout")
        _check_option(name, "order", is_own and labels is None)
    if split is not None:
        _check_option(name, "split", in_folders and not is_manifest)
    if labels is not None:
        check_name("labels", labels, ("none",))
        _check_option(name, "labels", in_folders and known is None)
    if layout not in (None, "class"):
        read = OWN_LAYOUTS[check_name("layout", layout, LAYOUTS)]
        _check_on_disk(name, where, read in (splits_layout, holdout_layout), f"the layout {layout}")
        found = read(name, where, order)
    elif known is not None:
        found = [read_known(known, where, split)]
    elif is_whole:
        found = []
        missing: list[tuple[str, QubastoreError]] = []
        check_folder(name, where)
        for cell in map(KNOWN_DATASETS.__getitem__, expand(name)):
            tried = [where / each for each in cell.parts]
            part = next((each for each in tried if each.is_dir()), tried[0])
            try:
                check_folder(cell.name, part)
                found.append(read_known(cell, part))
            except DatasetError as error:
                missing.append((cell.name, error))
        _log_missing(found, missing, log)
    elif is_manifest:
        found = manifest_images(name, where, order, labelled=labels is None)
    else:
        options: dict[str, Any] = {"order": order, "split": split, "labelled": labels is None}
        found = [image_folder(name, where, **options, may_be_splits=layout == "class")]
    return [replace(dataset, framing=framing) for dataset in found] if framing else found


def _check_on_disk(name: str, where: Place, reads_s3: bool, what: str) -> None:
    """Refuse a URL for what is read from folders alone."""
    if isinstance(where, S3Path) and not reads_s3:
        raise UsageError(
            f"dataset {name}: {what} is read from a folder, not from {where}",
            expected="a folder on a disk; from S3, class folders, tar files, tables and manifests are read",
            hint=f"aws s3 cp --recursive {shlex.quote(str(where))}/ FOLDER",
        )


def _check_option(name: str, option: str, fits: bool) -> None:
    """Refuse an option that a dataset does not have."""
    if not fits:
        raise UsageError(f"dataset {name}: {option}= is only for {_TAKERS[option]}", hint=f"leave {option}= out")


_TAKERS = {
    "order": "your own class folders",
    "split": "tables: a folder of Parquet files, or what datasets.save_to_disk writes",
    "labels": "your own images: folders, tar files, tables and manifests",
}
"""Option -> the datasets that it is for."""


OPTIONS = ("layout", "framing", "order", "split", "labels")
"""What may follow the path of a dataset, as in `NAME=PATH,order=natural`."""


OWN_LAYOUTS: dict[str, Callable[[str, Any, str | None], list[Dataset]]] = {
    "corruption/severity/class": corruption_layout,
    "shape-texture": shape_texture_layout,
    "splits": splits_layout,
    "holdout": holdout_layout,
}
"""Layouts for the user's own datasets besides class folders: corruptions at severities;
`<shape>/<shape>N-<texture>M.png`; train, val and test of another task, for probes; class folders of which a part is
held out as its test."""


LAYOUTS = ("class", *OWN_LAYOUTS)
"""The names of all layouts; `class` are class folders, whatever they are called."""
