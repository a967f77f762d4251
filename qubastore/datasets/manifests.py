"""Manifests: CSV or Parquet files with a row per image: `path`, `label`, optionally `split`, and attributes.

Paths are relative to the file. Every other column is an attribute, which becomes a factor of the images: accuracy by
its values (`factor_accuracy`), and that of the worst group (`worst_group`). With a column `split`, whose values are
train, val and test, the file is a task to probe: one dataset per split.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.folders import listed
from qubastore.datasets.label_spaces import CODE_POINT, TRANSFER, implied_space
from qubastore.datasets.task_layouts import SPLITS
from qubastore.errors import DatasetError, UsageError, did_you_mean

ENDINGS = (".csv", ".tsv", ".parquet")

_COLUMNS = ("path", "label")


def manifest_images(name: str, file: Path, order: str | None = None) -> list[Dataset]:
    """The images that a manifest lists, sorted by path.

    Args:
        name: Name of the dataset.
        file: The manifest.
        order: Order of the classes, one of `label_spaces.ORDERS`; None means by code points.

    Returns:
        One dataset, or one per split, called `NAME/SPLIT`.

    Raises:
        DatasetError: If a column or an image is missing, or a value is; the error has the line.
    """
    root = file.parent
    rows = list(_rows(name, file))
    if not rows:
        raise DatasetError(f"dataset {name}: {file} lists no images")
    attributes = [column for column in rows[0][1] if column not in (*_COLUMNS, "split")]
    has_splits = "split" in rows[0][1]
    labels = sorted({row["label"] for _, row in rows})
    space, classes = implied_space(labels, f"dataset {name}: {file}", CODE_POINT if has_splits else order)
    if has_splits:
        space, classes = TRANSFER, tuple(labels)
    index = {each: position for position, each in enumerate(classes)}
    if has_splits and order is not None:
        raise UsageError(f"dataset {name}: the classes of a task to probe have no order", hint="leave order= out")
    by_split: dict[str, list[Sample]] = {}
    lines: dict[str, int] = {}
    for line, row in rows:
        if (first := lines.setdefault(row["path"], line)) != line:
            raise DatasetError(f"dataset {name}: lines {first} and {line} of {file} list the same image, {row['path']}")
        size = _size(name, file, root / row["path"], line)
        split = row.get("split", "")
        if has_splits and split not in SPLITS:
            raise DatasetError(
                f"dataset {name}: line {line} of {file} has the split {split!r}", expected=f"one of {', '.join(SPLITS)}"
            )
        factors = {column: row[column] for column in attributes}
        by_split.setdefault(split, []).append(Sample(row["path"], size, index[row["label"]], factors))
    if has_splits and not {"train", "test"} <= {*by_split}:
        raise DatasetError(f"dataset {name}: {file} has no images of both train and test", found=", ".join(by_split))
    found = []
    for split in SPLITS if has_splits else ("",):
        if split in by_split:
            data = listed(f"{name}/{split}" if split else name, root, by_split[split], classes, space)
            keep = ("outputs", "features") if split else None
            found.append(replace(data, listed_labels=True, listed_factors=bool(attributes), keep=keep))
    return found


def _rows(name: str, file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows, each with its line (of a Parquet file, its number from 1), every value as text."""
    try:
        if file.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(file)
            _check_columns(name, file, table.column_names)
            for number, row in enumerate(table.to_pylist(), start=1):
                yield number, _checked(name, file, number, row)
            return
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
            _check_columns(name, file, list(reader.fieldnames or ()))
            for row in reader:
                yield reader.line_num, _checked(name, file, reader.line_num, row)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DatasetError(f"dataset {name}: {file} cannot be read", found=str(error).splitlines()[0]) from None


def _check_columns(name: str, file: Path, columns: list[str]) -> None:
    for column in _COLUMNS:
        if column not in columns:
            raise DatasetError(
                f"dataset {name}: {file} has no column {column!r}",
                expected="path and label, optionally split, and any attributes",
                found=", ".join(columns) or "no header",
                hint=did_you_mean(column, columns),
            )
    if len({*columns}) < len(columns):
        raise DatasetError(f"dataset {name}: {file} has two columns of one name", found=", ".join(columns))


def _checked(name: str, file: Path, line: int, row: dict[str | None, object]) -> dict[str, str]:
    if None in row or any(value is None for value in row.values()):
        gone = [column for column, value in row.items() if value is None]
        what = f"no value for {gone[0]}" if gone else "too many values"
        raise DatasetError(
            f"dataset {name}: line {line} of {file} has {what}",
            expected="a value in every column; an attribute that is not known may be the text unknown",
        )
    values = {str(column): str(value) for column, value in row.items()}
    for column in _COLUMNS:
        if not values[column].strip():
            raise DatasetError(f"dataset {name}: line {line} of {file} has an empty {column}")
    return values


def _size(name: str, file: Path, path: Path, line: int) -> int:
    with contextlib.suppress(OSError):
        if path.is_file():
            return path.stat().st_size
    raise DatasetError(
        f"dataset {name}: line {line} of {file} lists an image that is not there",
        found=str(path),
        expected=f"paths relative to {file.parent}",
    )
