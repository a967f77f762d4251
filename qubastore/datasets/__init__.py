"""Datasets: lists of samples, their label spaces, readers of their layouts, and the catalogue of known datasets."""
