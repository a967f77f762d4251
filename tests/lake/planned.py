"""Runs without shards, and a commit that waits inside its transaction."""

from __future__ import annotations

import threading

from qubastore.runs.commit import commit_shard
from qubastore.runs.removal import SUMMARY_TABLES
from tests.maintenance.small_run import LABELS, logits
from tests.support.runs import add_run


def planned_run(store, values=None, labels=LABELS, **options):
    """A run that is there without any shard."""
    run = add_run(store, logits() if values is None else values, labels, complete=False, **options)
    forget_shards(store)
    return run


def forget_shards(store):
    """Delete all shards with their rows, sums and staged files."""
    store.files.remove_all([store.files.path(file) for (file,) in store.rows("select file from staged_files")])
    tables = ("shards", "staged_files", "run_files", "outputs", "logits", *SUMMARY_TABLES)
    store.write(lambda c: [c.execute(f"delete from {table}") for table in tables])


def stand_still(store, shard, won):
    """Commit as `a` in a thread that waits inside its transaction; the thread, and what lets it go on."""
    inside, go = threading.Event(), threading.Event()

    def stop(connection):
        inside.set()
        assert go.wait(60)

    thread = threading.Thread(target=lambda: won.update(a=commit_shard(store, shard, dataset_id="x", check=stop)))
    thread.start()
    assert inside.wait(60)
    return thread, go
