"""The number of threads of computations over arrays, and of DuckDB."""

from __future__ import annotations

import os


def n_threads() -> int:
    """OMP_NUM_THREADS if it is set, which Ray does for tasks that have a part of a node's cores; else all cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else os.cpu_count() or 1
