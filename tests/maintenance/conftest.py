"""A run in three shards."""

from __future__ import annotations

import pytest

from tests.maintenance.small_run import LABELS, logits
from tests.support.runs import add_run


@pytest.fixture
def run(store):
    return add_run(store, logits(), LABELS, shard_size=4)
