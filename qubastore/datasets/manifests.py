"""Manifests: CSV or Parquet files with a row per image: `path`, optionally `label` and `split`, and attributes.

Paths are relative to the file. Every other column is an attribute, which becomes a factor of the images: accuracy by
its values (`factor_accuracy`), and that of the worst group (`worst_group`). With a column `split`, whose values are
train, val and test, the file is a task to probe: one dataset per split. Without a column `label`, its images have none.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from qubastore.datasets.dataset import Dataset, Sample
from qubastore.datasets.folders import listed
from qubastore.datasets.label_spaces import CODE_POINT, TRANSFER, UNLABELLED, implied_space
from qubastore.datasets.places import Place, S3Path, open_file, s3_listing
from qubastore.datasets.task_layouts import SPLITS
from qubastore.errors import DatasetError, UsageError, did_you_mean

ENDINGS = (".csv", ".tsv", ".parquet")

_PATH, _LABEL, _SPLIT = "path", "label", "split"


def manifest_images(name: str, file: Place, order: str | None = None, *, labelled: bool = True) -> list[Dataset]:
    """The images that a manifest lists, sorted by path.

    Args:
        name: Name of the dataset.
        file: The manifest.
        order: Order of the classes, one of `label_spaces.ORDERS`; None means by code points.
        labelled: False leaves labels out.

    Returns:
        One dataset, or one per split, called `NAME/SPLIT`.

    Raises:
        DatasetError: If a column or an image is missing, or a value is; the error has the line.
    """
    root = file.parent
    rows = list(_rows(name, file))
    if not labelled:
        rows = [(line, {column: row[column] for column in row if column != _LABEL}) for line, row in rows]
    if not rows:
        raise DatasetError(f"dataset {name}: {file} lists no images")
    columns = rows[0][1]
    attributes = [column for column in columns if column not in (_PATH, _LABEL, _SPLIT)]
    has_splits, is_labelled = _SPLIT in columns, _LABEL in columns
    if has_splits and order is not None:
        raise UsageError(f"dataset {name}: the classes of a task to probe have no order", hint="leave order= out")
    space, classes = _classes(name, file, rows, order)
    index = {each: position for position, each in enumerate(classes)}
    size_of = _sizes(name, file)
    by_split: dict[str, list[Sample]] = {}
    lines: dict[str, int] = {}
    for line, row in rows:
        if (first := lines.setdefault(row[_PATH], line)) != line:
            raise DatasetError(f"dataset {name}: lines {first} and {line} of {file} list the same image, {row[_PATH]}")
        size = size_of(row[_PATH], line)
        split = row.get(_SPLIT, "")
        if has_splits and split not in SPLITS:
            raise DatasetError(
                f"dataset {name}: line {line} of {file} has the split {split!r}", expected=f"one of {', '.join(SPLITS)}"
            )
        factors = {column: row[column] for column in attributes}
        label = index[row[_LABEL]] if is_labelled else None
        by_split.setdefault(split, []).append(Sample(row[_PATH], size, label, factors))
    if has_splits and not {"train", "test"} <= {*by_split}:
        raise DatasetError(f"dataset {name}: {file} has no images of both train and test", found=", ".join(by_split))
    notes = () if is_labelled or not labelled else (_no_labels(file, columns),)
    found = []
    for split in SPLITS if has_splits else ("",):
        if split in by_split:
            data = listed(f"{name}/{split}" if split else name, root, by_split[split], classes, space)
            keep = ("outputs", "features") if split else None
            found.append(
                replace(data, listed_labels=is_labelled, listed_factors=bool(attributes), keep=keep, notes=notes)
            )
    return found


def _no_labels(file: Place, columns: Iterable[str]) -> str:
    """The note on a manifest that does not say that its images have no labels."""
    return (
        f"{file} has no column {_LABEL!r} ({', '.join(columns)}), so its images have no labels, and no accuracy can be"
        " had of them; labels=none says that this is meant"
    )


def _classes(
    name: str, file: Place, rows: Sequence[tuple[int, dict[str, str]]], order: str | None
) -> tuple[str, tuple[str, ...]]:
    """The label space, and the classes by label."""
    has_splits, is_labelled = (column in rows[0][1] for column in (_SPLIT, _LABEL))
    if not is_labelled and has_splits:
        raise DatasetError(
            f"dataset {name}: {file} has splits, and no labels to fit a probe on", expected="a column label"
        )
    if not is_labelled and order is not None:
        raise UsageError(f"dataset {name}: images without labels have no classes to order", hint="leave order= out")
    if not is_labelled:
        return UNLABELLED, ()
    labels = sorted({row[_LABEL] for _, row in rows})
    space, classes = implied_space(labels, f"dataset {name}: {file}", CODE_POINT if has_splits else order)
    return (TRANSFER, tuple(labels)) if has_splits else (space, classes)


def _rows(name: str, file: Place) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows, each with its line (of a Parquet file, its number from 1), every value as text."""
    try:
        with open_file(str(file)) as data:
            if file.suffix.lower() == ".parquet":
                import pyarrow.parquet as pq

                table = pq.read_table(data)
                _check_columns(name, file, table.column_names)
                for number, row in enumerate(table.to_pylist(), start=1):
                    yield number, _checked(name, file, number, row)
                return
            text = io.TextIOWrapper(data, encoding="utf-8-sig", newline="")
            reader = csv.DictReader(text, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
            _check_columns(name, file, list(reader.fieldnames or ()))
            for row in reader:
                yield reader.line_num, _checked(name, file, reader.line_num, row)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DatasetError(f"dataset {name}: {file} cannot be read", found=str(error).splitlines()[0]) from None


def _check_columns(name: str, file: Place, columns: list[str]) -> None:
    if _PATH not in columns:
        raise DatasetError(
            f"dataset {name}: {file} has no column {_PATH!r}",
            expected="path, optionally label and split, and any attributes",
            found=", ".join(columns) or "no header",
            hint=did_you_mean(_PATH, columns),
        )
    if _LABEL not in columns and (meant := did_you_mean(_LABEL, columns)):
        raise DatasetError(f"dataset {name}: {file} has no column {_LABEL!r}", found=", ".join(columns), hint=meant)
    if len({*columns}) < len(columns):
        raise DatasetError(f"dataset {name}: {file} has two columns of one name", found=", ".join(columns))


def _checked(name: str, file: Place, line: int, row: dict[str | None, object]) -> dict[str, str]:
    if None in row or any(value is None for value in row.values()):
        gone = [column for column, value in row.items() if value is None]
        what = f"no value for {gone[0]}" if gone else "too many values"
        raise DatasetError(
            f"dataset {name}: line {line} of {file} has {what}",
            expected="a value in every column; an attribute that is not known may be the text unknown",
        )
    values = {str(column): str(value) for column, value in row.items()}
    for column in (_PATH, _LABEL):
        if not values.get(column, "-").strip():
            raise DatasetError(f"dataset {name}: line {line} of {file} has an empty {column}")
    return values


def _sizes(name: str, file: Place) -> Callable[[str, int], int]:
    """A function from the path of an image, and its line, to its size in bytes."""
    in_s3 = s3_listing(file.parent) if isinstance(file, S3Path) else None

    def size_of(path: str, line: int) -> int:
        if in_s3 is not None and path in in_s3:
            return in_s3[path]
        with contextlib.suppress(OSError):
            if in_s3 is None and (there := Path(str(file.parent), path)).is_file():
                return there.stat().st_size
        raise DatasetError(
            f"dataset {name}: line {line} of {file} lists an image that is not there",
            found=f"{file.parent}/{path}",
            expected=f"paths relative to {file.parent}",
        )

    return size_of
