"""Outputs of models: the tables `outputs`, `logits` and `features` as Arrow tables, and the staged files of shards."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qubastore.hashing import checksum
from qubastore.lake.ducklake import WHOLE_FILES
from qubastore.lake.object_storage import DataFiles

if TYPE_CHECKING:
    import pyarrow as pa


KINDS = WHOLE_FILES
"""The kinds of output that a run can keep; `outputs` is always kept."""


DEFAULT_KEEP = ("outputs", "logits")


_OUTPUT_COLUMNS = {
    "label": "int32",
    "prediction": "int32",
    "confidence": "float64",
    "label_probability": "float64",
    "label_logit": "float32",
    "logsumexp": "float64",
    "sum_squared_probability": "float64",
    "top5_class": "int32",
    "top5_logit": "float32",
}
"""Columns of the table `outputs` after run_id and sample_id -> Arrow type (of the elements, for the top five)."""


def outputs_table(run_id: str, sample_ids: NDArray[np.int32], columns: dict[str, NDArray[np.generic]]) -> pa.Table:
    """The rows of the table `outputs` as Arrow; columns that are not given are null."""
    import pyarrow as pa

    n = len(sample_ids)
    filled = {"run_id": _constant(run_id, n), "sample_id": pa.array(sample_ids, pa.int32())}
    for name, kind in _OUTPUT_COLUMNS.items():
        values, type_ = columns.get(name), pa.type_for_alias(kind)
        if name.startswith("top5"):
            filled[name] = pa.nulls(n, pa.list_(type_)) if values is None else _list_array(values, type_)
        else:
            filled[name] = pa.nulls(n, type_) if values is None else pa.array(values, type_)
    return pa.table(filled)


def vectors_table(run_id: str, sample_ids: NDArray[np.int32], vectors: NDArray[np.float32]) -> pa.Table:
    """The rows of the tables `logits` and `features` as Arrow: one float32 list a row."""
    import pyarrow as pa

    values = _list_array(vectors, pa.float32())
    return pa.table({"run_id": _constant(run_id, len(sample_ids)), "sample_id": sample_ids, "values": values})


def partition(table: str, run_id: str) -> tuple[str, ...]:
    """The folders below the data path that contain a run's files: partitioned tables store them in `key=value/`."""
    return ("main", table, f"run_id={run_id}")


@dataclass(frozen=True)
class Written:
    """The paths and checksums of a shard's files, by kind of output."""

    files: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)


STAGED = "staged"
"""The folder below the data path with the files of shards until their run is published."""


def write_shard(data: DataFiles, run_id: str, number: int, tables: Mapping[str, pa.Table]) -> Written:
    """Write the staged files of a shard, one per kind of output, under unique names: either all of them or none."""
    unique = uuid.uuid4().hex[:12]
    files: dict[str, str] = {}
    checksums: dict[str, str] = {}
    try:
        for kind, table in tables.items():
            files[kind] = data.path(STAGED, f"{run_id}-{number:05d}-{kind}-{unique}.parquet")
            content = parquet_bytes(table)
            checksums[kind] = checksum(content)
            data.write(files[kind], content)
    except BaseException:
        for written in files.values():
            # A file that cannot be removed is an orphan for gc; the error to report is why writing failed.
            with contextlib.suppress(OSError):
                data.remove(written)
        raise
    return Written(files, checksums)


def parquet_bytes(table: pa.Table) -> bytes:
    """A table of outputs, logits or features as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **parquet_options(vectors="values" in table.column_names))
    return bytes(sink.getvalue())


def parquet_options(*, vectors: bool) -> dict[str, Any]:
    """Options of pyarrow's Parquet writers for a table of outputs, or of vectors."""
    return {
        "compression": "zstd",
        # zstd compresses runs of equal bytes (exponents, zeroed ends of mantissas) best.
        "use_dictionary": ["run_id"],
        "use_byte_stream_split": ["values.list.element"] if vectors else False,
    }


def schema_of(kind: str) -> pa.Schema:
    """The Arrow schema of a kind of output."""
    import pyarrow as pa

    columns = {"run_id": pa.string(), "sample_id": pa.int32()}
    if kind == "outputs":
        for name, alias in _OUTPUT_COLUMNS.items():
            type_ = pa.type_for_alias(alias)
            columns[name] = pa.list_(type_) if name.startswith("top5") else type_
    else:
        columns["values"] = pa.list_(pa.float32())
    return pa.schema(list(columns.items()))


def _constant(value: str, length: int) -> pa.Array:
    import pyarrow as pa

    return pa.array([value] * length, pa.string())


def _list_array(matrix: NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    rows, width = matrix.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(matrix).reshape(-1), kind))
