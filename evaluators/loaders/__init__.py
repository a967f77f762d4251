"""Loaders: one module each, with `revision(spec)` and `load(spec, source)`; `LOADERS` in `models/spec.py` lists them.

A loader that needs the text of a file on every node also has `read_source(spec)`, which reads it in the driver.

A loader never substitutes another model: if the requested one is not available, it raises an error with similar names.
"""
