"""SQL as data: `schema/` (numbered migrations), `views/` and `macros/` (one SELECT a file, named as what it makes).

`qubastore.schema` applies the first, `qubastore.views` the others.
"""
