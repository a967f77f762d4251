"""Benchmarks of qubastore against lower bounds and common practice: `make bench` writes RESULTS.md."""
