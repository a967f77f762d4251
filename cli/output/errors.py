"""Print errors."""

from __future__ import annotations

import click

from qubastore.errors import QubastoreError


def report(error: QubastoreError) -> None:
    """Print a qubastore error on stderr."""
    head, *rest = str(error).splitlines()
    click.echo(click.style("error: ", fg="red", bold=True) + head, err=True)
    for line in rest:
        click.echo(line, err=True)
