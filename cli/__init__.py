"""The command line: `main.py` is the entry point, `commands/` has one file per command, `output/` prints results.

No other package imports this one. Modules import at their top only what `qubastore --help` may load; everything else is
imported where it is used, so that the command line starts fast.
"""
