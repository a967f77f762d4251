"""Analyses: correlations, groups, agreement and differences of models, and which runs a model is missing."""
