"""Tables of images as Hugging Face writes them: Parquet files, and the Arrow files of `save_to_disk`.

Each row has a column `image`: a struct of the encoded `bytes` and the `path` that the file had.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qubastore.datasets.folders import SPLITS
from qubastore.datasets.places import Place, read_file, s3_file
from qubastore.errors import DatasetError, did_you_mean
from qubastore.s3 import is_s3

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


DICTIONARY, STATE = "dataset_dict.json", "state.json"
"""What `save_to_disk` writes beside the splits of a `DatasetDict`, and beside the files of a `Dataset`."""


_OF_SPLIT = re.compile(r"([\w.-]+?)(?:-\d+-of-\d+)?(?:-[0-9a-f]{16})?(?:\.parquet)?")
"""The name of a file of a split, or of its folder: `train-00000-of-00002.parquet`, `train.parquet`, `train`."""


_USUAL = re.compile(r"(?:partial-)?(train|validation|valid|val|dev|test)\b", re.IGNORECASE)
"""The beginning of such a name, for splits that are recognised without being asked for."""


def find_tables(name: str, root: Place, inside: Collection[str], split: str | None) -> list[str]:
    """The names, relative to a folder, of its tables; none if it has none.

    Args:
        name: Name of the dataset, for messages.
        root: The folder.
        inside: The names of the files below it, at least those of `tables_below`.
        split: The split to take; None where there is only one.

    Raises:
        DatasetError: If there are several splits and none is chosen, or the chosen one is not there.
    """
    tables = sorted(file for file in inside if file.lower().endswith(".parquet"))
    splits = _noted(name, root, DICTIONARY, "splits") if DICTIONARY in inside else None
    if splits is not None:
        chosen = _chosen(name, root, [str(each) for each in splits], split)
        return [f"{chosen}/{file}" for file in _saved(name, root, chosen)]
    if STATE in inside and _noted(name, root, STATE, "_data_files") is not None:
        files = _saved(name, root, "")
        _chosen(name, root, [str(_json(name, f"{root}/{STATE}").get("_split") or "train")], split)
        return files
    of_split: dict[str, list[str]] = {}
    for table in tables:
        of_split.setdefault(_split_of(table, split), []).append(table)
    if split is None and len({each for each in of_split if each}) < 2:
        return tables
    return of_split[_chosen(name, root, sorted(filter(None, of_split)), split)] if tables else []


def _split_of(table: str, wanted: str | None) -> str:
    """The split that the path of a Parquet file names; empty for none."""
    for part in reversed(table.split("/")):
        if wanted and (match := _OF_SPLIT.fullmatch(part)) and match[1] == wanted:
            return wanted
        if match := _USUAL.match(part):
            return match[1].lower()
    return ""


def _chosen(name: str, root: Place, splits: Sequence[str], split: str | None) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split in splits:
        return str(split)
    tested = min(splits, key=lambda each: (SPLITS.index(each) if each in SPLITS else len(SPLITS), each), default="NAME")
    raise DatasetError(
        f"dataset {name}: {root} contains {'tables of several splits' if split is None else f'no split {split!r}'}",
        expected="one of them, with split=NAME" if split is None else "one of its splits",
        found=", ".join(splits) or "no names of splits",
        hint=f"--dataset {name}={root},split={tested}" if split is None else did_you_mean(split, splits),
    )


def _saved(name: str, root: Place, folder: str) -> list[str]:
    """The files of a dataset that was saved to a folder, in their order.

    Raises:
        DatasetError: If it has no rows, or an index.
    """
    place = f"{root}/{folder}" if folder else str(root)
    state = _json(name, f"{place}/{STATE}")
    if state.get("_indices_data_files"):
        raise DatasetError(
            f"dataset {name}: {place} has an index beside its files, as old releases of `datasets` wrote",
            hint="load it with datasets.load_from_disk, and save it again",
        )
    files = [each.get("filename") for each in state.get("_data_files") or () if isinstance(each, dict)]
    if not files or not all(files):
        raise DatasetError(
            f"dataset {name}: {place}/{STATE} names no files", expected="what datasets.save_to_disk writes"
        )
    return [str(file) for file in files]


def _noted(name: str, root: Place, file: str, key: str) -> list[Any] | None:
    """What a file of `save_to_disk` lists under a key; None if it is another file of that name."""
    found = _json(name, f"{root}/{file}").get(key)
    return found if isinstance(found, list) else None


def _json(name: str, path: str) -> dict[str, Any]:
    try:
        found = json.loads(read_file(path))
    except (OSError, ValueError) as error:
        raise DatasetError(f"dataset {name}: {path} cannot be read", found=str(error).splitlines()[0]) from None
    return found if isinstance(found, dict) else {}


def tables_below(root: Path) -> set[str]:
    """The names of the files in a folder by which `find_tables` finds tables."""
    top = {file for file in (DICTIONARY, STATE) if (root / file).is_file()}
    return top | {file.relative_to(root).as_posix() for file in root.rglob("*.parquet")}


def schema_of(name: str, path: str) -> pa.Schema:
    """The schema of a table with images.

    Raises:
        DatasetError: If the file is no such table.
    """
    import pyarrow as pa

    try:
        schema = _open_parquet(path).schema_arrow if _is_parquet(path) else _arrow_schema(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        kind = "Parquet" if _is_parquet(path) else "Arrow"
        raise DatasetError(
            f"dataset {name}: {path} is not {'a' if kind == 'Parquet' else 'an'} {kind} file with images",
            found=(str(error).splitlines() or ["no rows"])[0],
        ) from None
    image = schema.field("image").type if "image" in schema.names else None
    data = (
        image.field("bytes").type if isinstance(image, pa.StructType) and image.get_field_index("bytes") >= 0 else None
    )
    if data is None or not (pa.types.is_binary(data) or pa.types.is_large_binary(data)):
        raise DatasetError(
            f"dataset {name}: {path} does not contain images",
            expected="a column image (struct with bytes), as Hugging Face datasets have",
            found=", ".join(f"{field.name} ({field.type})" for field in schema)[:300],
        )
    return schema


def rows_of(name: str, path: str, column: str | None) -> Iterator[tuple[Any, str | None, int]]:
    """Yield the value of a column, the path and the size in bytes of the image of every row.

    Args:
        name: Name of the dataset, for messages.
        path: A table whose schema `schema_of` has checked.
        column: The column; None yields None in place of its values.

    Raises:
        DatasetError: If a row has no image, or the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = ["image", column] if column else ["image"]
    try:
        batches: Any = (
            _open_parquet(path).iter_batches(batch_size=256, columns=columns)
            if _is_parquet(path)
            else _open_arrow(path)
        )
        for batch in batches:
            image = batch.column("image")
            sizes = pc.binary_length(image.field("bytes")).to_pylist()
            has_path = "path" in {field.name for field in image.type}
            paths = image.field("path").to_pylist() if has_path else [None] * len(sizes)
            values = batch.column(column).to_pylist() if column else [None] * len(sizes)
            for value, file, size in zip(values, paths, sizes, strict=True):
                if size is None:
                    raise DatasetError(
                        f"dataset {name}: {path} has rows without image bytes",
                        found=f"path {file!r}",
                        hint="save it with datasets.Dataset.save_to_disk, which writes the images themselves",
                    )
                yield value, file, size
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DatasetError(f"dataset {name}: {path} cannot be read", found=str(error).splitlines()[0]) from None


def read_image(path: str, row: int) -> bytes:
    """The encoded image in a row of a table."""
    if not _is_parquet(path):
        return _in_batches(path, row)
    file = _parquet(path)
    group = 0
    while row >= file.metadata.row_group(group).num_rows:
        row -= file.metadata.row_group(group).num_rows
        group += 1
    data: bytes = _row_group(path, group).field("bytes")[row].as_py()
    return data


def _in_batches(path: str, row: int) -> bytes:
    for batch in _batches(path):
        if row < batch.num_rows:
            data: bytes = batch.column("image").field("bytes")[row].as_py()
            return data
        row -= batch.num_rows
    raise OSError(f"{path} has no row {row}")


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


def _open_parquet(path: str) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    return pq.ParquetFile(s3_file(path) if is_s3(path) else path)


# A reader asks for the rows of a few files again and again.
_parquet = lru_cache(maxsize=8)(_open_parquet)


@lru_cache(maxsize=2)
def _row_group(path: str, group: int) -> pa.StructArray:
    return _parquet(path).read_row_group(group, columns=["image"]).column("image").combine_chunks()


def _arrow_schema(path: str) -> pa.Schema:
    """The schema of an Arrow file, of which only the beginning is read."""
    import pyarrow as pa

    if not is_s3(path):
        return _reader(pa.memory_map(path)).schema
    with s3_file(path) as source:
        return _reader(source).schema


def _open_arrow(path: str) -> list[pa.RecordBatch]:
    """The batches of an Arrow file, which stay on the disk: it is mapped into memory. In S3, the whole file is read."""
    import pyarrow as pa

    found = _reader(pa.BufferReader(read_file(path)) if is_s3(path) else pa.memory_map(path))
    if isinstance(found, pa.RecordBatchFileReader):
        return [found.get_batch(number) for number in range(found.num_record_batches)]
    return list(found)


def _reader(source: pa.NativeFile) -> pa.RecordBatchStreamReader | pa.RecordBatchFileReader:
    """A reader of Arrow's stream format, which `datasets` writes, or of its file format."""
    import pyarrow as pa

    is_file = source.read(6) == b"ARROW1"
    source.seek(0)
    return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)


_batches = lru_cache(maxsize=2)(_open_arrow)
