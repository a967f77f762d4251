"""Metrics: their catalogue, the nine dimensions, suites, what is known of published figures, transforms."""
