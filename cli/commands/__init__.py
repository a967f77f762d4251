"""Commands: one file each, named like the command; `HEADINGS` in `cli/main.py` lists them."""
