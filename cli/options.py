"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "csv", "json", "ndjson", "parquet", "markdown")


class CountOrAuto(click.ParamType):  # type: ignore[type-arg]
    """A whole number from 1 up, or `auto`."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Parse a value, or fail as click does."""
        if value == "auto":
            return "auto"
        return click.IntRange(1).convert(value, param, ctx)


def store_option(function: F) -> F:
    """Add `--store` to a command."""
    return click.option(
        "--store",
        "store_path",
        metavar="STORE",
        help="The store's folder or URL.  [default: $QUBASTORE_STORE, else ./store]",
    )(function)


def output_options(function: F) -> F:
    """Add `--format` and `--output` to a command."""
    function = click.option(
        "--output", "-o", metavar="FILE", type=click.Path(dir_okay=False), help="Write to a file instead of the screen."
    )(function)
    return click.option(
        "--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print rows."
    )(function)


AUTO = (
    "auto: the first of measured, published and attached that has enough models: one that can be ranked, or three to"
    " correlate"
)
"""What `--source auto` means, in every command."""


def pool_options(function: F) -> F:
    """Add `--source` and `--suite` to a command: which figures, and in which suite."""
    function = click.option(
        "--suite", default="quba", show_default=True, metavar="NAME", help="Suite: which datasets play which role."
    )(function)
    return click.option(
        "--source",
        default="auto",
        show_default=True,
        metavar="NAME,...",
        help=f"Sources of the figures: measured, published, attached, all, or names; {AUTO}.",
    )(function)


def bootstrap_options(function: F) -> F:
    """Add `--resamples`, `--level` and `--seed` to a command: how intervals and tests are computed."""
    for option in (
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap."),
        click.option(
            "--level", type=float, default=0.95, show_default=True, help="Confidence level of intervals and tests."
        ),
        click.option(
            "--resamples", type=click.IntRange(2), default=1000, show_default=True, help="Bootstrap resamples."
        ),
    ):
        function = option(function)
    return function


def ranking_options(function: F) -> F:
    """Add the options of a ranking (weights, models, normalisation); the command gets them as one `request`."""
    options = (
        click.option(
            "--weight",
            "-w",
            "weights",
            multiple=True,
            metavar="NAME=FACTOR",
            help="Multiply the default weight of a dimension, alias or group; 0 drops it. Repeatable.",
        ),
        click.option("--where", metavar="SQL", help="Only models that meet an SQL condition on the view `rankable`."),
        click.option(
            "--normalize",
            type=click.Choice(["published", "store"]),
            help="The study's constants, or the trimmed mean and std of the ranked models.  [default: published for"
            " quba and quba-reference without --cost, else store]",
        ),
        pool_options,
        click.option("--dimensions", metavar="NAME,...", help="Rank by these dimensions only."),
        click.option(
            "--partial", is_flag=True, help="Also rank models with missing dimensions, by those that they have."
        ),
        click.option(
            "--without-known-faults",
            is_flag=True,
            help="Leave out published figures that are known or likely to be wrong; docs/published.md lists them.",
        ),
    )

    @functools.wraps(function)
    def with_request(
        *args: Any,
        weights: tuple[str, ...],
        where: str | None,
        normalize: str | None,
        source: str,
        suite: str,
        dimensions: str | None,
        partial: bool,
        without_known_faults: bool,
        **others: Any,
    ) -> Any:
        from qubastore.cli.weights import listed, parse_weights
        from qubastore.ranking.request import RankRequest

        request = RankRequest(
            weights=parse_weights(weights),
            suite=suite,
            source=source,
            normalize=normalize or "auto",
            partial=partial,
            where=where,
            dimensions=listed(dimensions),
            without_known_faults=without_known_faults,
        )
        return function(*args, request=request, **others)

    wrapped: Any = with_request
    for option in reversed(options):
        wrapped = option(wrapped)
    return cast(F, wrapped)


cost_option = click.option(
    "--cost",
    metavar="NAME[@DEVICE]",
    help="Rank by this cost instead of the number of parameters: macs_g, activations_m; or latency_ms, latency_p99_ms,"
    " ms_per_image, peak_memory_mb, energy_j @DEVICE[:PRECISION] (fp32 by default), as qubastore bench measured it.",
)
"""The option for a cost in place of the number of parameters."""


def image_options(purpose: str) -> Callable[[F], F]:
    """Add `--dataset` and `--data-root` to a command: where the images of the store's datasets are now.

    Args:
        purpose: The end of their help: what they are for, where the command has other uses.
    """

    def add(function: F) -> F:
        function = click.option(
            "--data-root",
            metavar="DIR",
            type=click.Path(file_okay=False, exists=True),
            help=f"Folder with the datasets that are known by name{purpose}.",
        )(function)
        return click.option(
            "--dataset",
            "-d",
            "datasets",
            multiple=True,
            metavar="NAME=PATH",
            help=f"Where a dataset's images are now, with the options of ingest{purpose}. Repeatable.",
        )(function)

    return add


def refuse_without(mode: str, **options: bool) -> None:
    """Refuse options on the command line that have no effect without another one.

    Args:
        mode: The end of the message, after the name of the option: what it needs.
        options: Name of a parameter -> whether it has an effect here.

    Raises:
        click.UsageError: naming the first such option.
    """
    context = click.get_current_context()
    typed = {parameter.name: max(parameter.opts, key=len) for parameter in context.command.params}
    for name, has_effect in options.items():
        if not has_effect and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{typed[name]} {mode}")
