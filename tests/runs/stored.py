"""What a store has of its runs: rows, figures, and files on the disk."""

from __future__ import annotations

ANSWERS = (
    "from outputs order by run_id, sample_id",
    "from logits order by run_id, sample_id",
    "select * exclude (computed_at) from run_summary order by all",
    "from class_summary order by all",
    "from bin_summary order by all",
    "from run_metrics order by all",
    "select run_id, kind, part, n_rows, checksum from run_files order by all",
)


def answers(store):
    return [str(store.rows(query)) for query in ANSWERS]


def staged(store):
    return sorted((store.data_path / "staged").glob("*"))


def published(store, run_id, kind):
    return sorted((store.data_path / "main" / kind / f"run_id={run_id}").glob("*"))
