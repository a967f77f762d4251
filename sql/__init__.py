"""SQL as data: `schema/` (numbered migrations), `views/` and `macros/` (one SELECT a file, named as what it makes).

`qubastore.lake.migrations` applies the first, `qubastore.lake.views` the others.
"""
