"""Runs: committing shards, kept outputs and vectors, summaries, metrics, lookup, ingest sessions."""
