"""ImageNet-X: how each validation image of ImageNet differs from the prototypes of its class.

The annotations come from the PyPI package `imagenet-x`, which the user installs: their licence is non-commercial, so
they are not distributed with qubastore. Only its annotation files are read; its code needs an old NumPy.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.datasets.csv_files import read_csv
from qubastore.datasets.label_spaces import VALIDATION_FILE
from qubastore.errors import ImportDataError
from qubastore.lake.database import Database
from qubastore.lake.rows import insert
from qubastore.runs import records

if TYPE_CHECKING:
    import duckdb


FACTORS = (
    "pose",
    "background",
    "pattern",
    "color",
    "smaller",
    "shape",
    "partial_view",
    "subcategory",
    "texture",
    "larger",
    "darker",
    "object_blocking",
    "person_blocking",
    "style",
    "brighter",
    "multiple_objects",
)
"""The 16 factors (Idrissi et al., arXiv 2211.01866)."""


METACLASSES = frozenset(
    (
        "device",
        "dog",
        "commodity",
        "bird",
        "structure",
        "covering",
        "wheeled_vehicle",
        "food",
        "equipment",
        "insect",
        "vehicle",
        "furniture",
        "primate",
        "vessel",
        "snake",
        "natural_object",
    )
)
"""Groups of classes that are kept as they are; the classes of smaller groups become `other`."""


OTHER = "other"


KINDS = ("top", "multi")
"""Kinds of annotations: with the most prominent factor only, and with every factor that applies."""


_INSTALL = "pip install 'qubastore[imagenet-x]'; its annotations are for non-commercial use"


def import_imagenet_x(store: Database, folder: Path | None = None) -> dict[str, int]:
    """Store the annotations, replacing any stored before.

    Args:
        store: A store open for writing.
        folder: The folder `annotations` of the package; None means that of the installed one.

    Returns:
        Kind of annotation -> images with it.

    Raises:
        ImportDataError: if the package is not installed, a file is malformed, or the classes differ from those of the
            imagenet-val in the store; nothing is stored then.
    """
    where = folder or _installed()
    metaclasses = _metaclasses(where / "imagenet_1k_classes_to_100_metaclasses.csv")
    prototypes = {row["file_name"] for _, row in read_csv(where / "prototypical_paths.csv", ("file_name",))}
    labels = dict(
        store.rows(
            """
            select distinct on (file) regexp_extract(samples.key, '[^/]+$') as file, label_sets.labels[1]
            from samples
            join datasets using (dataset_id)
            join label_sets using (dataset_id, sample_id)
            where datasets.name = 'imagenet-val' and label_sets.label_set = ?
            order by file
            """,
            [records.DATASET_LABELS],
        )
    )
    rows: list[tuple[Any, ...]] = []
    counts = {}
    for kind in KINDS:
        file = where / f"imagenet_x_val_{kind}_factor.jsonl"
        before = len(rows)
        for line, name, label, factors in _annotations(file):
            if labels.get(name, label) != label:
                raise ImportDataError(
                    f"{file}, line {line}: {name} is of class {label}",
                    expected=f"class {labels[name]}, as in the store's imagenet-val",
                    hint="these are the annotations of another dataset",
                )
            rows.append((f"imagenet-x/{kind}", name, label, factors, metaclasses[label], name in prototypes))
        counts[kind] = len(rows) - before

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("delete from annotations where starts_with(scheme, 'imagenet-x/')")
        insert(connection, "annotations", rows)

    store.write(work)
    return counts


def _installed() -> Path:
    package = importlib.util.find_spec("imagenet_x")
    if package is None or package.origin is None:
        raise ImportDataError("the package imagenet-x is not installed", expected="its annotation files", hint=_INSTALL)
    return Path(package.origin).parent / "annotations"


def _metaclasses(file: Path) -> list[str]:
    """The metaclass of each of the 1,000 classes."""
    names = [row["name"] for _, row in read_csv(file, ("name",))]
    if len(names) != 1000:
        raise ImportDataError(f"{file} has {len(names)} rows", expected="1,000, one per class of ImageNet")
    return [name if name in METACLASSES else OTHER for name in names]


def _annotations(file: Path) -> Iterator[tuple[int, str, int, list[str]]]:
    """Line, file name, class and factors of every annotated image."""
    seen: set[str] = set()
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImportDataError(f"{file} cannot be read", found=str(error), hint=_INSTALL) from None
    for number, text in enumerate(lines, start=1):
        place = f"{file}, line {number}"
        try:
            entry = json.loads(text)
            name, label = str(entry["file_name"]), entry["class"]
            flags = {factor: entry[factor] for factor in FACTORS}
        except (ValueError, KeyError, TypeError) as error:
            raise ImportDataError(
                f"{place} is not a valid annotation of an image",
                expected=f"JSON with file_name, class and {', '.join(FACTORS)}",
                found=f"{type(error).__name__}: {error}",
            ) from None
        if not VALIDATION_FILE.search(name):
            raise ImportDataError(
                f"{place}: {name!r} is not a validation image of ImageNet", expected="ILSVRC2012_val_00000001.JPEG"
            )
        if name in seen:
            raise ImportDataError(f"{place}: a second annotation of {name}", expected="one per image")
        seen.add(name)
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < 1000:
            raise ImportDataError(f"{place}: {label!r} is not a class", expected="an integer from 0 to 999")
        wrong = next((factor for factor, flag in flags.items() if flag not in (0, 1)), None)
        if wrong:
            raise ImportDataError(f"{place}: {wrong} is {flags[wrong]!r}", expected="0 or 1")
        yield number, name, label, [factor for factor, flag in flags.items() if flag]
    if not seen:
        raise ImportDataError(f"{file} is empty", expected="one annotation per line")
