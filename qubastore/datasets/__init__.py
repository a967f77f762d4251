"""Datasets: lists of samples, where they come from, which classes they mean, and which are known by name."""
