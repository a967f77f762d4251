"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "csv", "json", "ndjson", "parquet", "markdown")


def store_option(function: F) -> F:
    """`--store PATH`."""
    return click.option(
        "--store",
        "store_path",
        metavar="PATH",
        help="The store's folder.  [default: $QUBASTORE_STORE, else ./store]",
    )(function)


def output_options(function: F) -> F:
    """`--format` and `--output`."""
    function = click.option(
        "--output", "-o", metavar="FILE", type=click.Path(dir_okay=False), help="Write to a file instead of the screen."
    )(function)
    return click.option(
        "--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print rows."
    )(function)
