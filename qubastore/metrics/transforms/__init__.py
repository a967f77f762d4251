"""Metrics that are impractical in SQL: one module each, with `compute(logits, labels) -> float`.

`qubastore.metrics.catalogue` names the module; `qubastore.runs.metrics` calls it with a run's kept logits:
(n, n_classes) float32, and (n,) int32 labels, in sample order. If the catalogue names a label space, it is the third
argument.
"""
