"""Zero-shot heads in the store: computed once per model, read by every evaluator and by `rescore`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from qubastore.evaluators.loaders.loaded import Head
from qubastore.lake.rows import exists, insert
from qubastore.store import Store

if TYPE_CHECKING:
    import duckdb


def read_head(store: Store, model_id: str) -> Head | None:
    """The stored head of a model, or None if it has not been computed yet."""
    rows = store.rows(
        "select logit_scale, logit_bias, class_names, templates from heads where model_id = ?", [model_id]
    )
    if not rows:
        return None
    vectors = store.rows("select values from head_vectors where model_id = ? order by class", [model_id])
    scale, bias, names, templates = rows[0]
    return Head(np.array([row[0] for row in vectors], np.float32), scale, bias, tuple(names), tuple(templates))


def store_head(store: Store, model_id: str, head: Head) -> None:
    """Store the head of a model, unless it is stored already."""

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        if exists(connection, "heads", "model_id", model_id):
            return
        row = (
            model_id,
            list(head.class_names),
            list(head.templates),
            head.logit_scale,
            head.logit_bias,
            datetime.now(UTC),
        )
        insert(connection, "heads", [row])
        vectors = [(model_id, index, vector.tolist()) for index, vector in enumerate(head.vectors)]
        insert(connection, "head_vectors", vectors)

    store.write(work)
