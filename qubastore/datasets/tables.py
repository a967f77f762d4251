"""Tables of images as Hugging Face writes them: Parquet files, and the Arrow files of `save_to_disk`.

Each row has a column `image`: a struct of the encoded `bytes` and the `path` that the file had.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qubastore.datasets.places import Place, S3Path, asked, read_file, s3_listing
from qubastore.errors import DatasetError, did_you_mean
from qubastore.s3 import is_s3, s3_files, s3_key

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


ENDINGS = (".parquet", ".arrow")


DICTIONARY, STATE = "dataset_dict.json", "state.json"
"""What `save_to_disk` writes beside the splits of a `DatasetDict`, and beside the files of a `Dataset`."""


_OF_SPLIT = re.compile(r"([\w.-]+?)(?:-\d+-of-\d+)?(?:-[0-9a-f]{16})?(?:\.parquet)?")
"""The name of a file of a split, or of its folder: `train-00000-of-00002.parquet`, `train.parquet`, `train`."""


_USUAL = re.compile(r"(?:partial-)?(train|validation|valid|val|dev|test)\b", re.IGNORECASE)
"""The beginning of such a name, for splits that are recognised without being asked for."""


def find_tables(name: str, root: Place, split: str | None) -> list[str]:
    """The names, relative to a folder, of its tables; none if it has none.

    Args:
        name: Name of the dataset, for messages.
        root: The folder.
        split: The split to take; None where there is only one.

    Raises:
        DatasetError: If there are several splits and none is chosen, or the chosen one is not there.
    """
    inside = _files_below(root)
    if DICTIONARY in inside:
        splits = [str(each) for each in _json(name, root, DICTIONARY)["splits"]]
        chosen = _chosen(name, root, splits, split)
        return [f"{chosen}/{file}" for file in _saved(name, root, chosen)]
    if STATE in inside:
        saved = _json(name, root, STATE)
        _chosen(name, root, [str(saved.get("_split") or "train")], split)
        return _saved(name, root, "")
    tables = sorted(file for file in inside if file.lower().endswith(".parquet"))
    of_split: dict[str, list[str]] = {}
    for table in tables:
        of_split.setdefault(_split_of(table, split), []).append(table)
    if split is None and len({each for each in of_split if each}) < 2:
        return tables
    return of_split[_chosen(name, root, sorted(filter(None, of_split)), split)] if tables else []


def _split_of(table: str, wanted: str | None) -> str:
    """The split that the path of a Parquet file names; empty for none."""
    parts = table.split("/")
    if wanted and any((match := _OF_SPLIT.fullmatch(part)) and match[1] == wanted for part in parts):
        return wanted
    found = (match[1].lower() for part in reversed(parts) if (match := _USUAL.match(part)))
    return next(found, "")


def _chosen(name: str, root: Place, splits: Sequence[str], split: str | None) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split in splits:
        return str(split)
    tested = next((each for each in splits if each != "train"), "train")
    raise DatasetError(
        f"dataset {name}: {root} contains {'tables of several splits' if split is None else f'no split {split!r}'}",
        expected="one of them, with split=NAME" if split is None else "one of its splits",
        found=", ".join(splits) or "no names of splits",
        hint=f"--dataset {name}={root},split={tested}" if split is None else did_you_mean(split, splits),
    )


def _saved(name: str, root: Place, folder: str) -> list[str]:
    """The files of a dataset that was saved to a folder, in their order."""
    state = _json(name, root, f"{folder}/{STATE}" if folder else STATE)
    if state.get("_indices_data_files"):
        raise DatasetError(
            f"dataset {name}: {root} has an index beside its files, as old releases of `datasets` wrote",
            hint="load it with datasets.load_from_disk, and save it again",
        )
    return [str(each["filename"]) for each in state.get("_data_files") or ()]


def _json(name: str, root: Place, file: str) -> dict[str, Any]:
    try:
        found = json.loads(read_file(f"{root}/{file}"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"dataset {name}: {root}/{file} cannot be read", found=str(error).splitlines()[0]) from None
    if not isinstance(found, dict):
        raise DatasetError(f"dataset {name}: {root}/{file} is not what datasets.save_to_disk writes")
    return found


def _files_below(root: Place) -> set[str]:
    if isinstance(root, S3Path):
        return set(s3_listing(root))
    top = {file for file in (DICTIONARY, STATE) if (root / file).is_file()}
    return top | {file.relative_to(root).as_posix() for file in root.rglob("*.parquet")}


def schema_of(name: str, path: str) -> pa.Schema:
    """The schema of a table.

    Raises:
        DatasetError: If the file is not such a table.
    """
    import pyarrow as pa

    try:
        return _open_parquet(path).schema_arrow if _is_parquet(path) else _open_arrow(path)[0].schema
    except (OSError, ValueError, pa.ArrowInvalid, IndexError) as error:
        kind = "Parquet" if _is_parquet(path) else "Arrow"
        raise DatasetError(
            f"dataset {name}: {path} is not {'a' if kind == 'Parquet' else 'an'} {kind} file with images",
            found=(str(error).splitlines() or ["no rows"])[0],
        ) from None


def rows_of(name: str, path: str, column: str | None) -> Iterator[tuple[Any, str | None, int]]:
    """Yield the value of a column, the path and the size in bytes of the image of every row.

    Raises:
        DatasetError: If a row has no image, or the file cannot be read.
    """
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
    except (OSError, ValueError, KeyError, AttributeError) as error:
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

    return pq.ParquetFile(asked(path, lambda: s3_files().open_input_file(s3_key(path))) if is_s3(path) else path)


# A reader asks for the rows of a few files again and again.
_parquet = lru_cache(maxsize=8)(_open_parquet)


@lru_cache(maxsize=2)
def _row_group(path: str, group: int) -> pa.StructArray:
    return _parquet(path).read_row_group(group, columns=["image"]).column("image").combine_chunks()


def _open_arrow(path: str) -> list[pa.RecordBatch]:
    """The batches of an Arrow file, which stay on the disk: it is mapped into memory. In S3, the whole file is read."""
    import pyarrow as pa

    with pa.ipc.open_stream(pa.py_buffer(read_file(path)) if is_s3(path) else pa.memory_map(path)) as stream:
        return list(stream)


_batches = lru_cache(maxsize=8)(_open_arrow)
