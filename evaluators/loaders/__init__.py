"""Loaders: one module each, with `revision(spec)` and `load(spec, source)`; `LOADERS` in `models/spec.py` names them.

A loader never returns another model than the one asked for: what cannot be had is an error with the nearest names.
"""
