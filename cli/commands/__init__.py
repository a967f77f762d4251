"""Commands: one file each, named as the command."""
