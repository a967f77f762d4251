"""Metrics that SQL says badly: one module each, with `compute(logits, labels) -> float`.

`qubastore.metrics` names the module; `qubastore.completion` calls it with a run's kept logits:
(n, n_classes) float32, and (n,) int32 labels, in sample order.
"""
