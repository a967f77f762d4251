"""Rankings: the request, the pool of candidate models, weighted QUBA scores, intervals, sensitivity to weights."""
