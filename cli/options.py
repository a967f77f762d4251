"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "csv", "json", "ndjson", "parquet", "markdown")


class CountOrAuto(click.ParamType):  # type: ignore[type-arg]
    """A whole number from 1 up, or `auto`."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Parse, or fail as click does."""
        if value == "auto":
            return "auto"
        return click.IntRange(1).convert(value, param, ctx)


def store_option(function: F) -> F:
    """`--store PATH`."""
    return click.option(
        "--store",
        "store_path",
        metavar="STORE",
        help="The store's folder or URL.  [default: $QUBASTORE_STORE, else ./store]",
    )(function)


def output_options(function: F) -> F:
    """`--format` and `--output`."""
    function = click.option(
        "--output", "-o", metavar="FILE", type=click.Path(dir_okay=False), help="Write to a file instead of the screen."
    )(function)
    return click.option(
        "--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print rows."
    )(function)


def pool_options(function: F) -> F:
    """`--source` and `--suite`: whose figures, and in which suite."""
    function = click.option(
        "--suite", default="quba", show_default=True, metavar="NAME", help="Which datasets play which role."
    )(function)
    return click.option(
        "--source",
        default="auto",
        show_default=True,
        metavar="NAME,...",
        help="Whose figures: measured, published, attached, or sources by name; auto means measured where there are"
        " three such models.",
    )(function)


def refuse_without(mode: str, **options: bool) -> None:
    """Refuse options that were typed and mean nothing without another one.

    Args:
        mode: That other option, for the message.
        options: Name of a parameter -> whether it has a meaning here.

    Raises:
        click.UsageError: naming the first.
    """
    given = click.get_current_context().get_parameter_source
    for name, means_something in options.items():
        if not means_something and given(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} {mode}")
