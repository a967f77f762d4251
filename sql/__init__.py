"""SQL as data: `schema/` (numbered migrations), `views/`, `macros/` and `checks/` (one SELECT per file).

A file is named like its view, macro or check (of `qubastore doctor`), and its header is the documentation.

Views are in folders by topic: `runs` (the names of every run, and whether it is complete), `metrics` (figures of a
run), `dimensions` (what a suite and a ranking consist of) and `operations` (work in progress, and work to do again).

`qubastore.lake.migrations` applies the schema, `qubastore.lake.views` creates views and macros, and
`qubastore.maintenance.checks` runs the checks.
"""
