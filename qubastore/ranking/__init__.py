"""Rankings: the request, the pool of models, weighted QUBA scores, intervals, sensitivity to weights."""
