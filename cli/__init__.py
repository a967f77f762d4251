"""The command line: `main.py` is the door, one file per command, `options.py` and `present.py` are shared.

Modules of commands end in an underscore, because `import` cannot be the name of one. Nothing imports this package, and
a module here imports at its top only what `qubastore --help` may load.
"""
