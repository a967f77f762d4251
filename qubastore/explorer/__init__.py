"""The explorer: a local, read-only web server on a store, to look at the images behind the figures.

`selection` turns the address of a page into one SQL query; `samples`, `confusions`, `slices`, `thresholds` and
`catalog` answer the pages' questions; `images` finds and shrinks images; `server` is the application with its guard,
`stores` the connections that its requests share. `pages/` has the pages: plain scripts, without a build step.
"""
