"""Readers of datasets in the layouts that their authors distribute, and in those of the user's own datasets.

Each `read_...` takes the name of a dataset, its folder and its label space; each `..._layout` a name and a folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from qubastore.datasets.csv_files import read_csv
from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.devkit import FOLDER as DEVKIT
from qubastore.datasets.devkit import ground_truth
from qubastore.datasets.folders import (
    check_folder,
    check_no_splits,
    class_folders,
    images_below,
    images_directly_in,
    left_out_notes,
    listed,
    readable,
)
from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.label_spaces import (
    LABEL_SPACES,
    check_classes,
    implied_space,
    own_order_notes,
)
from qubastore.errors import DatasetError


def read_classes(name: str, folder: Path, space: str, factors: Mapping[str, str] | None = None) -> Dataset:
    """Read class folders or Parquet files; `factors` are those that all images share."""
    return image_folder(name, folder, space=space, factors=factors or {})


def read_imagenet_val(name: str, folder: Path, space: str) -> Dataset:
    """Read synset folders, Parquet files, or the 50,000 official files in one folder, with the devkit next to it."""
    with readable(name):
        folders = [each for each in class_folders(folder) if each != DEVKIT]
        check_no_splits(name, folder, folders)
        flat = [] if folders else [(key, size) for key, size in images_below(folder, "") if "/" not in key]
    if not flat:
        return read_classes(name, folder, space)
    classes = LABEL_SPACES[space].classes
    labels = ground_truth(name, folder)
    index = {synset: position for position, synset in enumerate(classes)}
    samples = []
    for file, size in flat:
        match = re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", file)
        number = int(match[1]) if match else 0
        if not 1 <= number <= len(labels):
            raise DatasetError(
                f"dataset {name}: {folder / file} is not an official validation file",
                expected="ILSVRC2012_val_00000001.JPEG to ILSVRC2012_val_00050000.JPEG",
            )
        synset = labels[number - 1]
        # The key as in the synset layout, so that both are the same dataset.
        samples.append(Sample(f"{synset}/{file}", size, index[synset], path=file))
    return listed(name, folder, samples, classes, space)


def read_numbered_classes(name: str, folder: Path, space: str) -> Dataset:
    """Read folders `0` to `999`, named by class index as in ImageNet-V2, or synset folders."""
    check_folder(name, folder)
    with readable(name):
        folders = class_folders(folder)
    if not folders or not all(each.isdecimal() for each in folders):
        return read_classes(name, folder, space)
    classes, skipped = LABEL_SPACES[space].classes, list[str]()
    numbers = [str(index) for index in range(len(classes))]
    check_classes(folders, numbers, f"dataset {name}: {folder}", f"folders 0 to {len(classes) - 1}")
    with readable(name):
        samples = [
            Sample(f"{classes[int(each)]}/{key.partition('/')[2]}", size, int(each), path=key)
            for each in folders
            for key, size in images_below(folder / each, each, skipped)
        ]
        notes = left_out_notes(folder, skipped, images_directly_in(folder))
    if not samples:
        raise DatasetError(f"dataset {name}: {folder} has no images", expected=f"folders 0 to {len(classes) - 1}")
    return replace(listed(name, folder, samples, classes, space), notes=tuple(notes))


PUG_FILE = "labels_pug_imagenet.csv"


def read_pug(name: str, folder: Path, space: str, column: str) -> Dataset:
    """Read a factor set of PUG: ImageNet: class folders, with the factor's values in `labels_pug_imagenet.csv`.

    Args:
        name: Name of the dataset.
        folder: The set's folder, as in `PUG_ImageNet/Worlds`; the CSV file is next to it.
        space: Its label space.
        column: Column of the CSV file with the factor's value.

    Raises:
        DatasetError: If the CSV file is missing, or does not list an image.
    """
    data = read_classes(name, folder, space)
    file = folder.parent / PUG_FILE
    if not file.is_file():
        raise DatasetError(
            f"dataset {name}: {file} does not exist",
            expected=f"the annotations of PUG, with the {column} of each image",
        )
    values: dict[str, str | None] = {}
    for _, row in read_csv(file, ("filename", column)):
        parts = PurePosixPath(row["filename"]).parts
        for length in range(1, min(len(parts), 3) + 1):
            place = "/".join(parts[-length:])
            # A file name of several images with different values is ambiguous.
            values[place] = row[column] if values.get(place, row[column]) == row[column] else None
    samples = []
    for sample in data.samples:
        places = (f"{folder.name}/{sample.key}", sample.key, PurePosixPath(sample.key).name)
        value = next((values[place] for place in places if values.get(place) is not None), None)
        if value is None:
            raise DatasetError(f"dataset {name}: {file} does not list {sample.key}", expected=f"its {column}")
        samples.append(replace(sample, factors={column: value}))
    return replace(data, samples=tuple(samples), listed_factors=True)


def read_model_vs_human(name: str, folder: Path, space: str) -> Dataset:
    """Read category folders, or model-vs-human's `dnn/session-1/0001_<set>_dnn_0_<category>_00_<name>.png`."""
    with readable(name):
        sessions = folder / "dnn"
        if not sessions.is_dir() or "dnn" in LABEL_SPACES[space].classes:
            return read_classes(name, folder, space)
        found = list(images_below(sessions, "dnn"))
    classes = LABEL_SPACES[space].classes
    index = {category: position for position, category in enumerate(classes)}
    samples = []
    for key, size in found:
        parts = PurePosixPath(key).name.split("_")
        category = parts[4] if len(parts) > 6 else ""
        if category not in index:
            raise DatasetError(
                f"dataset {name}: the file name {folder / key} does not contain its category",
                expected="NUMBER_SET_dnn_CONDITION_CATEGORY_00_NAME.png, as model-vs-human names its files",
                found=f"{category!r} as category" if category else None,
            )
        samples.append(Sample(f"{category}/{PurePosixPath(key).name}", size, index[category], path=key))
    if not samples:
        raise DatasetError(f"dataset {name}: no images in {sessions}", expected="session-1 with PNG files")
    return listed(name, folder, samples, classes, space)


def read_cue_conflict(name: str, folder: Path, space: str) -> Dataset:
    """Read images with two cues: see `cue_conflict`."""
    return cue_conflict(name, folder, space)


def read_backgrounds(name: str, folder: Path, space: str) -> Dataset:
    """Read the nine class folders of the backgrounds challenge, `00_dog` to `08_fish`."""
    check_folder(name, folder)
    classes = LABEL_SPACES[space].classes
    where = f"dataset {name}: {folder}"
    with readable(name):
        folders = class_folders(folder)
        check_no_splits(name, folder, folders)
        known = {f"{label:02d}_{each}": label for label, each in enumerate(classes)}
        spelled = {each: each.replace("_", " ").replace(" ", "_", 1) for each in folders}
        check_classes(list(spelled.values()), list(known), where, "the nine folders 00_dog to 08_fish")
        samples = [
            Sample(key, size, known[spelled[each]])
            for each in folders
            for key, size in images_below(folder / each, each)
        ]
    if not samples:
        raise DatasetError(f"{where} has no images", expected="the nine folders 00_dog to 08_fish")
    return listed(name, folder, samples, classes, space)


def cue_conflict(name: str, folder: Path, space: str | None, order: str | None = None) -> Dataset:
    """Read images with the shape of one class and the texture of another, named `<shape>N-<texture>M`.

    They are in one folder per shape, or in one folder under model-vs-human's names (`..._<shape>_00_<shape>N-...`).

    Args:
        name: Name of the dataset.
        folder: Its folder.
        space: Label space of shapes and textures; None means that the names of the folders are the classes.
        order: Order of these classes, as in `datasets.image_folder`.

    Raises:
        DatasetError: On a file name that does not contain both classes.
    """
    check_folder(name, folder, expected="images named <shape>N-<texture>M.png, as in cat7-clock2.png")
    with readable(name):
        folders, found = class_folders(folder), sorted(images_below(folder, ""))
    where = f"dataset {name}: {folder}"
    space, classes = (space, LABEL_SPACES[space].classes) if space else implied_space(folders, where, order)
    notes = own_order_notes(space, classes, order)
    if not found:
        raise DatasetError(f"{where} has no images", expected="<shape>/<shape>N-<texture>M.png")
    samples = []
    for key, size in found:
        cues = _cues(key, classes)
        if len(cues) != 1:
            raise DatasetError(
                f"dataset {name}: the file name {folder / key} does not contain its shape and texture",
                expected=f"<shape>N-<texture>M, as in {classes[0]}7-{classes[-1]}2.png",
                found=f"it could be {' or '.join(map(str, cues))}" if cues else None,
                hint="a class name that is the beginning of another is ambiguous" if cues else None,
            )
        ((shape, texture),) = cues
        factors = {"shape": shape, "texture": texture}
        samples.append(Sample(_cue_key(key, shape), size, classes.index(shape), factors, path=key))
    return replace(listed(name, folder, samples, classes, space), notes=notes)


def _cues(key: str, classes: Sequence[str]) -> list[tuple[str, str]]:
    """Every (shape, texture) pair that a file name can mean."""
    path = PurePosixPath(key)
    shapes = [path.parts[0]] if path.parts[0] in classes else classes
    return [
        (shape, texture)
        for shape in shapes
        for texture in classes
        if re.fullmatch(rf"(?:.*_)?{re.escape(shape)}\d+-{re.escape(texture)}\d+", path.stem)
    ]


def _cue_key(key: str, shape: str) -> str:
    """The key `<shape>/<shape>N-<texture>M.png` in either layout, without the numbers of model-vs-human's sessions."""
    name = PurePosixPath(key).name
    found = re.search(rf"(?:^|_)({re.escape(shape)}\d+-.*)$", name)
    return f"{shape}/{found[1] if found else name}"


def corruption_layout(name: str, folder: Path, order: str | None = None) -> list[Dataset]:
    """Read one dataset per corruption and severity: `NAME/corruption/severity`."""
    check_folder(name, folder, expected="folders corruption/severity/class")
    with readable(name):
        cells = [(c, s) for c in class_folders(folder) for s in class_folders(folder / c)]
    if not cells:
        raise DatasetError(
            f"dataset {name}: {folder} is not laid out as corruption/severity/class", expected="as in fog/3/cat/1.png"
        )
    return [
        image_folder(f"{name}/{c}/{s}", folder / c / s, factors={"corruption": c, "severity": s}, order=order)
        for c, s in cells
    ]


def shape_texture_layout(name: str, folder: Path, order: str | None = None) -> list[Dataset]:
    """Read images with two cues, in folders named as the classes."""
    return [cue_conflict(name, folder, None, order)]
