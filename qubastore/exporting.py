"""An export: the tables at run grain of a store as Parquet files, and a manifest, for others to attach and to read.

    manifest.json       what the files are: rows, sizes, hashes; versions; the protocol behind the figures
    dimensions.csv      the quality dimensions, one row per suite and model: for people and spreadsheets
    dimensions.parquet  the same
    runs.parquet, ...   the store's tables of these names, complete runs alone; without what says where files lay

An export has no samples: it is small, and ranks like the store; `qubastore copy` carries samples.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qubastore import __version__
from qubastore.attached_tables import FIGURES
from qubastore.attachments import MANIFEST
from qubastore.boundary import translated
from qubastore.dimensions import DIMENSIONS
from qubastore.engine import quote
from qubastore.errors import StoreError, UsageError
from qubastore.files import DataFiles
from qubastore.hashing import checksum
from qubastore.metrics import METRICS
from qubastore.naming import named_model
from qubastore.run_grain import OF_RUNS, RunGrain
from qubastore.schema import migrations
from qubastore.store import Store

FORMAT = "qubastore export"
FORMAT_VERSION = 1

TABLES = ("models", "datasets", "own_suites", *OF_RUNS)
DIMENSIONS_TABLE = "dimensions"
"""Tables of an export: those of the store, and one for people."""


@dataclass(frozen=True)
class Exported:
    """What an export holds.

    Attributes:
        folder: Where it is.
        models: Number of models.
        runs: Number of complete runs.
        unfinished: Runs left out, because they are not complete.
        outdated: Metrics left out, because another release computed them by another definition.
        size: Bytes of all files.
    """

    folder: Path
    models: int
    runs: int
    unfinished: int
    outdated: list[str]
    size: int


def export(store: Store, folder: str | os.PathLike[str], models: Sequence[str] = ()) -> Exported:
    """Write the export of a store, or of some of its models: all of it appears at once, or nothing does.

    Args:
        store: An open store.
        folder: A new or empty folder.
        models: Names; none means all.

    Raises:
        UsageError: on an unknown model, a folder that holds something, or where there is nothing to export.
        StoreError: where it cannot be written.
    """
    if not os.fspath(folder).strip():
        raise UsageError("there is no folder to export to", hint="qubastore export DIR")
    where = Path(folder).resolve()
    if any((parent / "catalog.sqlite").exists() for parent in (where, *where.parents)):
        raise UsageError(f"{where} lies in a store", expected="a folder of its own", hint="choose another one")
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise UsageError(f"{where} is not empty", expected="a new or empty folder", hint="choose another one")
    chosen = sorted({named_model(store, name)[1] for name in models})
    with RunGrain(store, ["measured_dimensions", "dimension_runs"], tables=OF_RUNS) as copy, translated():
        of_models = f"list_contains({_listed(chosen)}, model_id)" if chosen else "true"
        # What another release computed by another definition has no place under this one's.
        outdated = outdated_metrics(copy)
        copy.forget_metrics(outdated)
        copy.keep("chosen_models", f"select model_id from models where {of_models}")
        copy.keep("chosen_runs", f"select run_id from runs join run_summary using (run_id) where {of_models}")
        ((n_models, n_runs, total),) = copy.rows(
            "select (select count(*) from chosen_models), (select count(*) from chosen_runs),"
            f" (select count(*) from runs where {of_models})"
        )
        if not n_runs:
            raise UsageError("there is no complete run to export", hint="qubastore show runs")
        where.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{where.name}-", dir=where.parent))
        try:
            tables = _write_tables(copy, new)
            manifest = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "written_by": f"qubastore {__version__}",
                "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "schema_version": max(migrations()),
                "models": n_models,
                "runs": n_runs,
                "tables": tables,
                "protocol": _protocol(copy),
            }
            (new / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")
            size = sum(file.stat().st_size for file in new.iterdir())
            _flush(new)
            new.chmod(0o755)
            # An empty folder gives way to a rename; one that was filled meanwhile does not.
            new.rename(where)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    return Exported(where, n_models, n_runs, total - n_runs, outdated, size)


def is_export(location: str) -> bool:
    """Whether the manifest at a place is one of an export, be it damaged; other programs write files of that name."""
    root = DataFiles(location)
    try:
        manifest = json.loads(root.read(root.path(MANIFEST)))
    except (OSError, ValueError):
        return True
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def outdated_metrics(copy: RunGrain) -> list[str]:
    """Metrics in a copy of `run_metrics` that another release computed by another definition."""
    versions = {metric.name: metric.version for metric in METRICS}
    found = copy.rows("select distinct metric, metric_version from run_metrics order by all")
    return sorted({metric for metric, version in found if versions.get(metric, version) != version})


def checked_files(location: str, *, thorough: bool = False) -> dict[str, str]:
    """Table -> file of an export, whose files are what its manifest says.

    Args:
        location: Absolute folder, or `s3://bucket/prefix`.
        thorough: Compare hashes; else sizes alone.

    Raises:
        StoreError: where the manifest cannot be read, is of a newer release, or a file is missing or another one.
    """
    root = DataFiles(location)
    try:
        manifest = json.loads(root.read(root.path(MANIFEST)))
        tables = {name: (str(table["file"]), int(table["bytes"]), table) for name, table in manifest["tables"].items()}
        if manifest["format"] != FORMAT or not set(TABLES) <= set(tables) <= {*TABLES, DIMENSIONS_TABLE}:
            raise ValueError(f"it lists {', '.join(map(repr, tables)) or 'no table'}")
        version, schema = int(manifest["format_version"]), int(manifest["schema_version"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{root.path(MANIFEST)} is no manifest of an export", found=repr(error)) from None
    if version > FORMAT_VERSION or schema > max(migrations()):
        raise StoreError(
            f"the export was written by a newer release: {manifest.get('written_by')}",
            hint="pip install --upgrade qubastore",
        )
    sizes = root.sizes()
    found = {}
    for name, (file, size, table) in tables.items():
        path = root.path(file)
        if "/" in file or sizes.get(path) != size:
            there = f"{sizes[path]:,} bytes" if path in sizes else "no such file"
            raise StoreError(f"{path} is not what the manifest says", expected=f"{size:,} bytes", found=there)
        if thorough and checksum(root.read(path)) != table.get("blake2b"):
            raise StoreError(f"{path} is not what the manifest says", found="other bytes: the hash differs")
        found[name] = path
    return found


def _write_tables(copy: RunGrain, folder: Path) -> dict[str, dict[str, Any]]:
    """Write every table; return what the manifest says of them."""
    of_models, of_runs = "where model_id in (from chosen_models)", "where run_id in (from chosen_runs)"
    columns = ", ".join(("suite", "model", *FIGURES))
    queries = {
        # Models of one name are told apart as in this store, whatever part of them is exported.
        "models": "select models.* replace (model_names.model as name) from models"
        f" join model_names using (model_id) {of_models} order by model_id",
        # Where images lay is nobody else's business.
        "datasets": "select * replace (null::varchar as root) from datasets"
        f" where dataset_id in (select dataset_id from runs {of_runs}) order by dataset_id",
        "own_suites": "from own_suites order by all",
        **{table: f"from {table} {of_runs} order by all" for table in OF_RUNS},
        DIMENSIONS_TABLE: f"select {columns} from measured_dimensions {of_models} order by suite, model",
    }
    written = {}
    for name, query in queries.items():
        path = folder / f"{name}.parquet"
        copy.write(query, path, "format parquet, compression zstd")
        ((rows,),) = copy.rows(f"select count(*) from ({query})")
        written[name] = {"rows": rows, **_described(path)}
        if name == DIMENSIONS_TABLE:
            text = path.with_suffix(".csv")
            copy.write(query, text, "format csv, header")
            written[name]["as_csv"] = _described(text)
    return written


def _described(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"file": path.name, "bytes": len(data), "blake2b": checksum(data)}


def _protocol(copy: RunGrain) -> dict[str, Any]:
    """What stands behind the figures: definitions, suites, images, precisions, packages."""
    of_runs = "runs join chosen_runs using (run_id)"
    roles = copy.rows(
        "select distinct suites.suite, suites.role, suites.dataset, suites.condition, suites.framing, suites.n_samples"
        " from suites join dimension_runs as run on run.suite = suites.suite and run.role = suites.role"
        " and run.dataset = suites.dataset and run.condition = suites.condition and run.framing = suites.framing"
        " where run.run_id in (from chosen_runs) order by all"
    )
    suites: dict[str, list[dict[str, Any]]] = {}
    for suite, *role in roles:
        named = dict(zip(("role", "dataset", "condition", "framing", "samples"), role, strict=True))
        suites.setdefault(suite, []).append(named)
    datasets = copy.rows(
        f"select distinct name, dataset_id, n_samples, label_space from datasets join {of_runs} using (dataset_id)"
        " order by all"
    )
    packages = copy.rows(
        "select entry.key, list(distinct entry.value order by entry.value)"
        f" from (select unnest(map_entries(versions)) as entry from {of_runs}) group by 1 order by 1"
    )
    return {
        "suites": suites,
        "datasets": [dict(zip(("name", "id", "samples", "label_space"), row, strict=True)) for row in datasets],
        "precisions": [row[0] for row in copy.rows(f"select distinct precision from {of_runs} order by 1")],
        "packages": dict(packages),
        "dimensions": {d.name: {"better": d.better, "unit": d.unit, "meaning": d.meaning} for d in DIMENSIONS},
        "metrics": {
            m.name: {
                "version": m.version,
                "unit": m.unit,
                "better": m.better,
                "meaning": m.meaning,
                "source": m.reference,
            }
            for m in METRICS
            if m.over == "run"
        },
    }


def _flush(folder: Path) -> None:
    """Have files on the disk before their folder gets its name: a name in front of half a file would be a lie."""
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _listed(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(quote, texts))}]"
