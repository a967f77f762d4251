"""Runs: shards and their commit, kept outputs and vectors, summaries, metrics, lookup, ingest sessions."""
