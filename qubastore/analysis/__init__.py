"""Analyses: correlations, groups, agreement and differences of models, and what a model still lacks."""
