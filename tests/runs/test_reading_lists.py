"""Kept logits are read by executing queries: reading lists from a relation takes twenty times as long."""

from __future__ import annotations

import numpy as np
import pytest

from qubastore.derived.recipe import read_vectors
from qubastore.lake.database import Database
from qubastore.maintenance.run_rows import rows_of_shard
from qubastore.runs.publish import reader
from qubastore.runs.resampled import Confidences
from qubastore.runs.vectors import kept_logits
from tests.maintenance.small_run import LABELS, logits
from tests.support.runs import add_run


def test_no_list_is_read_from_a_relation(store, monkeypatch):
    run = add_run(store, logits(), LABELS, shard_size=4)
    monkeypatch.setattr(Database, "sql", lambda *_: pytest.fail("a relation"))
    found = kept_logits(store, run)[0]
    np.testing.assert_array_equal(found, Confidences.of(store, run, with_logits=True).logits)
    np.testing.assert_array_equal(found, read_vectors(store, "logits", [run], 0, 12)[1][0])
    for table in (reader(store)(run, "logits", 4, 8), rows_of_shard(store, run, 1, 4, 8)["logits"]):
        np.testing.assert_array_equal(found[4:8], np.array(table.column("values").to_pylist()))
