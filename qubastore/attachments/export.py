"""Exporting a store: its per-run tables as Parquet files with a manifest, for others to attach and read.

    manifest.json       description of the files: rows, sizes, hashes; versions; the protocol of the measurements
    dimensions.csv      the quality dimensions, one row per suite and model: for people and spreadsheets
    dimensions.parquet  the same
    runs.parquet, ...   the store's tables of these names, with complete runs only and without paths of images

An export does not contain samples: it is small, and ranks like the store; `qubastore copy` copies samples too.
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

from qubastore.attachments.attached import MANIFEST
from qubastore.attachments.columns import FIGURES
from qubastore.attachments.manifest import DIMENSIONS_TABLE, FORMAT, FORMAT_VERSION, outdated_metrics
from qubastore.errors import UsageError
from qubastore.hashing import checksum
from qubastore.lake.database import Database
from qubastore.lake.duckdb_errors import translate_errors
from qubastore.lake.ducklake import quote
from qubastore.lake.migrations import migrations
from qubastore.lake.snapshot import OF_RUNS, Snapshot
from qubastore.metrics.catalogue import METRICS
from qubastore.metrics.dimensions import DIMENSIONS
from qubastore.runs.lookup import named_model
from qubastore.version import __version__


@dataclass(frozen=True)
class Exported:
    """The contents of an export.

    Attributes:
        folder: The export's folder.
        models: Number of models.
        runs: Number of complete runs.
        unfinished: Number of runs left out because they are not complete.
        outdated: Metrics left out because another release computed them by another definition.
        size: Total size of the files in bytes.
    """

    folder: Path
    models: int
    runs: int
    unfinished: int
    outdated: list[str]
    size: int


def export(store: Database, folder: str | os.PathLike[str], models: Sequence[str] = ()) -> Exported:
    """Export a store, or some of its models; the folder appears only once it is complete.

    Args:
        store: An open store.
        folder: A new or empty folder.
        models: Names of models; empty means all.

    Raises:
        UsageError: On an unknown model, a folder that is not empty, or if there is nothing to export.
        StoreError: If it cannot be written.
    """
    if not os.fspath(folder).strip():
        raise UsageError("the name of the folder to export to is empty", hint="qubastore export DIR")
    where = Path(folder).resolve()
    if any((parent / "catalog.sqlite").exists() for parent in (where, *where.parents)):
        raise UsageError(f"{where} is in a store", expected="a separate folder", hint="choose another one")
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise UsageError(f"{where} is not empty", expected="a new or empty folder", hint="choose another one")
    chosen = sorted({named_model(store, name)[1] for name in models})
    with Snapshot(store, ["measured_dimensions", "dimension_runs"], tables=OF_RUNS) as copy, translate_errors():
        of_models = f"list_contains({_listed(chosen)}, model_id)" if chosen else "true"
        # Leave out metrics that another release computed by another definition.
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
            # A rename replaces an empty folder, but not one that was filled in the meantime.
            new.rename(where)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
    return Exported(where, n_models, n_runs, total - n_runs, outdated, size)


def _write_tables(copy: Snapshot, folder: Path) -> dict[str, dict[str, Any]]:
    """Write every table; return their descriptions for the manifest."""
    of_models, of_runs = "where model_id in (from chosen_models)", "where run_id in (from chosen_runs)"
    columns = ", ".join(("suite", "model", *FIGURES))
    queries = {
        # Models of the same name get the same distinguishing names as in this store, whichever of them are exported.
        "models": "select models.* replace (model_names.model as name) from models"
        f" join model_names using (model_id) {of_models} order by model_id",
        # The paths of images are private.
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


def _protocol(copy: Snapshot) -> dict[str, Any]:
    """The protocol of the measurements: definitions, suites, datasets, precisions, decoders, packages."""
    of_runs = "runs join chosen_runs using (run_id)"
    roles = copy.rows(
        "select distinct suites.suite, suites.role, suites.dataset, suites.condition, suites.framing, suites.decoder,"
        " suites.n_samples"
        " from suites join dimension_runs as run on run.suite = suites.suite and run.role = suites.role"
        " and run.dataset = suites.dataset and run.condition = suites.condition and run.framing = suites.framing"
        " where run.run_id in (from chosen_runs) order by all"
    )
    suites: dict[str, list[dict[str, Any]]] = {}
    for suite, *role in roles:
        named = dict(zip(("role", "dataset", "condition", "framing", "decoder", "samples"), role, strict=True))
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
        "decoders": [row[0] for row in copy.rows(f"select distinct decoder from {of_runs} order by 1")],
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
    """Flush the files to the disk before their folder gets its final name, so that no partial export has that name."""
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _listed(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(quote, texts))}]"
