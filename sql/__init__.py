"""SQL as data: `schema/` (numbered migrations), `views/` and `macros/` (one SELECT a file, named as what it makes).

Views lie in folders by what they are about: `runs` (what every run is called, and whether it is complete), `metrics`
(what a run shows), `dimensions` (what a suite and a ranking are made of) and `operations` (work in progress, and work
to do again).

`qubastore.lake.migrations` applies the first, `qubastore.lake.views` the others.
"""
