"""The manifest of an export: a description of its files, and checking the files against it."""

from __future__ import annotations

import json

from qubastore.attachments.attached import MANIFEST
from qubastore.errors import StoreError
from qubastore.hashing import checksum
from qubastore.lake.migrations import migrations
from qubastore.lake.object_storage import DataFiles
from qubastore.lake.snapshot import OF_RUNS, Snapshot
from qubastore.metrics.catalogue import METRICS

FORMAT = "qubastore export"


FORMAT_VERSION = 1


TABLES = ("models", "datasets", "own_suites", *OF_RUNS)


LATER_COLUMNS = {
    "runs": {"decoder": "'pillow'", "answer_space": "null::varchar"},
    "own_suites": {"decoder": "'pillow'"},
}
"""Table -> column that exports of schemas before 9 or 10 do not have -> its value in them, as SQL."""


DIMENSIONS_TABLE = "dimensions"
"""The table of an export with the quality dimensions, in addition to the store's tables in `TABLES`."""


def is_export(location: str) -> bool:
    """Whether the manifest in a folder is that of an export, possibly damaged, and not another program's."""
    root = DataFiles(location)
    try:
        manifest = json.loads(root.read(root.path(MANIFEST)))
    except (OSError, ValueError):
        return True
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def outdated_metrics(copy: Snapshot) -> list[str]:
    """The metrics in a snapshot's `run_metrics` that another release computed by another definition."""
    versions = {metric.name: metric.version for metric in METRICS}
    found = copy.rows("select distinct metric, metric_version from run_metrics order by all")
    return sorted({metric for metric, version in found if versions.get(metric, version) != version})


def checked_files(location: str, *, thorough: bool = False) -> dict[str, str]:
    """The file of each table of an export, checked against the manifest.

    Args:
        location: Absolute folder, or `s3://bucket/prefix`.
        thorough: Whether to compare hashes in addition to sizes.

    Raises:
        StoreError: If the manifest cannot be read or is of a newer release, or a file is missing or differs.
    """
    root = DataFiles(location)
    try:
        manifest = json.loads(root.read(root.path(MANIFEST)))
        tables = {name: (str(table["file"]), int(table["bytes"]), table) for name, table in manifest["tables"].items()}
        if manifest["format"] != FORMAT or not set(TABLES) <= set(tables) <= {*TABLES, DIMENSIONS_TABLE}:
            raise ValueError(f"it lists {', '.join(map(repr, tables)) or 'no table'}")
        version, schema = int(manifest["format_version"]), int(manifest["schema_version"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{root.path(MANIFEST)} is not a valid manifest of an export", found=repr(error)) from None
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
            raise StoreError(f"{path} does not match the manifest", expected=f"{size:,} bytes", found=there)
        if thorough and checksum(root.read(path)) != table.get("blake2b"):
            raise StoreError(f"{path} does not match the manifest", found="other content: the hash differs")
        found[name] = path
    return found
