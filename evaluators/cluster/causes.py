"""What went wrong in a Ray task, as an error for the user."""

from __future__ import annotations

from typing import Any

from qubastore.errors import IngestError, QubastoreError


def cause_of(error: Any) -> QubastoreError:
    """The `QubastoreError` inside an error of Ray, or another cause as one."""
    cause = error.cause
    if isinstance(cause, QubastoreError):
        return cause
    if isinstance(cause, OSError):
        disk = "No space left" in str(cause)
        return IngestError(
            f"an evaluator could not write: {cause}",
            hint="free some space, then run the same command again: committed work is kept" if disk else None,
        )
    text = str(cause).strip().splitlines()
    return IngestError(
        f"a worker failed: {type(cause).__name__}: {text[-1] if text else ''}", hint="qubastore ingest --limit 8 ..."
    )
