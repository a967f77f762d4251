"""Images in Hugging Face-style Parquet files: a column `image` (struct of `bytes` and `path`) and a column `label`, a
whole number or a list of them.

Keys are the same as with class folders, `<class>/<file name>`, so that a dataset has the same identity in both layouts.
The key of a row without a path has its number, in the order of the files, instead of a file name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.folders import listed
from qubastore.datasets.label_spaces import IMAGENET_1K, LABEL_SPACES, NATURAL, OWN_CLASSES, implied_space, in_order
from qubastore.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def parquet_images(
    name: str,
    root: Path,
    tables: Sequence[Path],
    *,
    space: str | None,
    factors: Mapping[str, str],
    order: str | None = None,
) -> Dataset:
    """The images of Parquet files, sorted by key.

    All files are read once, because the sizes of the images are part of the dataset's identity.

    Args:
        name: Name of the dataset.
        root: Folder to which the paths of the files are relative.
        tables: The files.
        space: Label space of the labels; None means the one that the files' class names imply.
        factors: Factors that all its images share.
        order: Order of the user's own classes, as in `datasets.image_folder`.

    Raises:
        DatasetError: If columns or class names are missing, or a label is out of range.
    """
    _check_one_split(name, root, tables)
    chosen, classes, label_of = _classes(name, tables[0], space, order)
    names = _names(name, tables[0])
    others = [table for table in tables[1:] if _names(name, table) != names]
    if others:
        raise DatasetError(f"dataset {name}: {others[0]} has other classes than {tables[0]}")
    samples: list[Sample] = []
    for table in tables:
        place = table.relative_to(root).as_posix()
        for row, (found, path, size) in enumerate(_rows(name, table)):
            several = isinstance(found, list)
            labels: list[int | None] = list(found) if isinstance(found, list) else [found]
            right = [label for label in labels if label is not None and 0 <= label < len(label_of)]
            if len(right) < len(labels) or not labels:
                raise DatasetError(
                    f"dataset {name}: row {row} of {table} has the label {found}",
                    expected=f"0 to {len(label_of) - 1}, a class of the label space {chosen}",
                )
            label, *more = dict.fromkeys(label_of[each] for each in right)
            # An image with several correct classes belongs to no single class folder: its key has its number.
            key = _key(classes[label], None if several else path, len(samples))
            samples.append(Sample(key, size, label, factors, path=place, row=row, others=tuple(more)))
    if not samples:
        raise DatasetError(f"dataset {name}: the Parquet files in {root} have no rows")
    return listed(name, root, samples, classes, chosen, factors=factors)


def read_image(path: str, row: int) -> bytes:
    """The encoded image in a row of a Parquet file."""
    file = _open(path)
    group = 0
    while row >= file.metadata.row_group(group).num_rows:
        row -= file.metadata.row_group(group).num_rows
        group += 1
    data: bytes = _row_group(path, group).field("bytes")[row].as_py()
    return data


@lru_cache(maxsize=8)
def _open(path: str) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path)


@lru_cache(maxsize=2)
def _row_group(path: str, group: int) -> pa.StructArray:
    return _open(path).read_row_group(group, columns=["image"]).column("image").combine_chunks()


def _rows(name: str, table: Path) -> Iterator[tuple[int | list[int] | None, str | None, int]]:
    """Yield the label (or several correct ones), the path and the size in bytes of every row."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(table).iter_batches(batch_size=256, columns=["image", "label"]):
            image = batch.column("image")
            sizes = pc.binary_length(image.field("bytes")).to_pylist()
            has_path = "path" in {field.name for field in image.type}
            paths = image.field("path").to_pylist() if has_path else [None] * len(sizes)
            for label, path, size in zip(batch.column("label").to_pylist(), paths, sizes, strict=True):
                if size is None:
                    raise DatasetError(f"dataset {name}: {table} has rows without image bytes", found=f"path {path!r}")
                yield label, path, size
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DatasetError(f"dataset {name}: {table} cannot be read", found=str(error).splitlines()[0]) from None


def _classes(name: str, table: Path, space: str | None, order: str | None) -> tuple[str, tuple[str, ...], list[int]]:
    """Label space, class names, and the class of each label in the files."""
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(table)
    except (OSError, ValueError) as error:
        raise DatasetError(f"dataset {name}: {table} is not a Parquet file", found=str(error).splitlines()[0]) from None
    image = schema.field("image").type if "image" in schema.names else None
    if image is None or "label" not in schema.names or not hasattr(image, "fields") or "bytes" not in image.names:
        raise DatasetError(
            f"dataset {name}: {table} does not contain labelled images",
            expected="columns image (struct with bytes) and label (whole numbers), as Hugging Face datasets have",
            found=", ".join(schema.names),
        )
    names = _names(name, table)
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


_SPLIT = re.compile(r"(train|validation|valid|val|dev|test)\b", re.IGNORECASE)


def _check_one_split(name: str, root: Path, tables: Sequence[Path]) -> None:
    """Reject the files of several splits as one dataset."""
    parts = [part for table in tables for part in table.relative_to(root).parts]
    splits = sorted({match[1].lower() for part in parts if (match := _SPLIT.match(part))})
    if len(splits) > 1:
        raise DatasetError(
            f"dataset {name}: {root} contains the Parquet files of several splits",
            expected="one split",
            found=", ".join(splits),
            hint="move the files of one split into a separate folder",
        )


def _names(name: str, table: Path) -> tuple[str, ...] | None:
    import pyarrow.parquet as pq

    names = _class_names(pq.read_schema(table))
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
