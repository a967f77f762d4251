"""Images in tables as Hugging Face writes them: a column `image` (struct of `bytes` and `path`) and a column `label`, a
whole number or a list of them. `tables` reads the files.

Keys are the same as with class folders, `<class>/<file name>`, so that a dataset has the same identity in both layouts.
The key of a row without a path has its number, in the order of the files, instead of a file name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.folders import listed
from qubastore.datasets.label_spaces import IMAGENET_1K, LABEL_SPACES, NATURAL, OWN_CLASSES, implied_space, in_order
from qubastore.datasets.places import Place
from qubastore.datasets.tables import rows_of, schema_of
from qubastore.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa


def table_images(
    name: str,
    root: Place,
    tables: Sequence[str],
    *,
    space: str | None,
    factors: Mapping[str, str],
    order: str | None = None,
) -> Dataset:
    """The images of tables, sorted by key.

    All files are read once, because the sizes of the images are part of the dataset's identity.

    Args:
        name: Name of the dataset.
        root: Folder to which the names of the files are relative.
        tables: The files.
        space: Label space of the labels; None means the one that the files' class names imply.
        factors: Factors that all its images share.
        order: Order of the user's own classes, as in `datasets.image_folder`.

    Raises:
        DatasetError: If columns or class names are missing, or a label is out of range.
    """
    paths = [f"{root}/{table}" for table in tables]
    schema = schema_of(name, paths[0])
    chosen, classes, label_of = _classes(name, paths[0], schema, space, order)
    names = _names(name, paths[0], schema)
    others = [path for path in paths[1:] if _names(name, path, schema_of(name, path)) != names]
    if others:
        raise DatasetError(f"dataset {name}: {others[0]} has other classes than {paths[0]}")
    samples: list[Sample] = []
    for table, whole in zip(tables, paths, strict=True):
        for row, (found, path, size) in enumerate(rows_of(name, whole, "label")):
            several = isinstance(found, list)
            labels: list[int | None] = list(found) if isinstance(found, list) else [found]
            right = [label for label in labels if label is not None and 0 <= label < len(label_of)]
            if len(right) < len(labels) or not labels:
                raise DatasetError(
                    f"dataset {name}: row {row} of {whole} has the label {found}",
                    expected=f"0 to {len(label_of) - 1}, a class of the label space {chosen}",
                    hint="labels=none, if the images have no labels, as test sets often do",
                )
            label, *more = dict.fromkeys(label_of[each] for each in right)
            # An image with several correct classes belongs to no single class folder: its key has its number.
            key = _key(classes[label], None if several else path, len(samples))
            samples.append(Sample(key, size, label, factors, path=table, row=row, others=tuple(more)))
    if not samples:
        raise DatasetError(f"dataset {name}: the tables in {root} have no rows")
    return listed(name, root, samples, classes, chosen, factors=factors)


def _classes(
    name: str, table: str, schema: pa.Schema, space: str | None, order: str | None
) -> tuple[str, tuple[str, ...], list[int]]:
    """Label space, class names, and the class of each label in the files."""
    if "label" not in schema.names or not _is_whole(schema.field("label").type):
        raise DatasetError(
            f"dataset {name}: {table} does not contain labelled images",
            expected="columns image (struct with bytes) and label (whole numbers), as Hugging Face datasets have",
            found=", ".join(f"{field.name} ({field.type})" for field in schema if field.name != "image"),
            hint=f"--dataset {name}=PATH,labels=none, if they have no labels",
        )
    names = _names(name, table, schema)
    if space is None and names is None:
        raise DatasetError(
            f"dataset {name}: {table} does not contain the names of its classes",
            expected="the class names in the file's metadata, as Hugging Face datasets write them",
            hint="export it with datasets.Dataset.to_parquet, with a ClassLabel feature",
        )
    if space is None and names is not None:
        space, classes = implied_space(names, f"dataset {name}: {table}", order)
        if space == OWN_CLASSES and order is None and tuple(names) == in_order(names, NATURAL):
            # The files define their order, and class folders can have it.
            classes = tuple(names)
        if space == OWN_CLASSES and tuple(names) != classes:
            # The outputs of a model trained on these files are in the files' order.
            raise DatasetError(
                f"dataset {name}: the classes of {table} are in an order that class folders cannot have",
                expected=", ".join(classes[:4]),
                found=", ".join(names[:4]),
                hint="for ImageNet, use --dataset imagenet-val=PATH; otherwise rename the classes, as in 00_zebra",
            )
        return space, classes, [classes.index(each) for each in names]
    assert space is not None
    classes = LABEL_SPACES[space].classes
    if names is not None and set(names) <= set(classes):
        return space, classes, [classes.index(each) for each in names]
    # ImageNet's labels are always 0 to 999, whatever its classes are called; a subset could use either numbering.
    if space == IMAGENET_1K and (names is None or len(names) == len(classes)):
        return space, classes, list(range(len(classes)))
    raise DatasetError(
        f"dataset {name}: the class names of {table} are not those of the label space {space}",
        expected=f"class names such as {', '.join(classes[:3])}",
        found=", ".join((names or ("none",))[:3]),
        hint="export the images as class folders",
    )


def _is_whole(kind: pa.DataType) -> bool:
    """Whether a column has whole numbers, or lists of them."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind.value_type if pa.types.is_dictionary(kind) else kind))


def _names(name: str, table: str, schema: pa.Schema) -> tuple[str, ...] | None:
    names = _class_names(schema)
    if names is not None and len(set(names)) < len(names):
        raise DatasetError(f"dataset {name}: {table} has two classes of the same name")
    return names


def _class_names(schema: pa.Schema) -> tuple[str, ...] | None:
    """The class names by label, from the metadata that Hugging Face datasets write; None if it is missing."""
    try:
        features: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(map(str, features["label"]["names"]))
    except (KeyError, TypeError, ValueError):
        return None


def _key(folder: str, path: str | None, number: int) -> str:
    if not path:
        return f"{folder}/{number:08d}"
    file = PurePosixPath(path)
    # Hugging Face's ImageNet appends the synset to the file's own name.
    stem = re.sub(rf"_{re.escape(folder)}$", "", file.stem)
    return f"{folder}/{stem}{file.suffix}"
