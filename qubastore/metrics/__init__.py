"""Metrics: their catalogue, the nine dimensions, suites, known differences of published figures, transforms."""
