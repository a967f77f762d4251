"""The explorer: a local, read-only web server on a store, to look at the images behind the figures.

`selection` turns the address of a page into one SQL query; `samples`, `confusions`, `slices`, `thresholds` and
`catalog` answer the pages' questions. `images` finds and shrinks images, `altered` shows what a condition does to them,
`gallery` chooses some for the report. `server` is the application, `guard` lets only the user in, `serve` starts it;
`stores` has the connections that requests share, `features` the vectors that stay in memory. `pages/` has the pages:
plain scripts, without a build step.
"""
