"""`qubastore explain`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from qubastore.cli.options import cost_option, output_options, ranking_options, store_option

if TYPE_CHECKING:
    from qubastore.ranking.request import RankRequest


@click.command("explain")
@click.argument("model", metavar="MODEL")
@ranking_options
@cost_option
@store_option
@output_options
def command(
    model: str, request: RankRequest, cost: str | None, store_path: str | None, format_: str, output: str | None
) -> None:
    """Show what each dimension contributes to a model's score and place in a ranking.

    \b
    Example:
      qubastore explain ConvNextV2-B-21k
      qubastore explain ConvNextV2-B-21k --weight calibration=2
      qubastore explain python:models.py:robust --suite digits --format json
    """
    from qubastore.cli.output.explanation import print_explanation
    from qubastore.cli.output.rows import write_rows
    from qubastore.ranking.explain import explain
    from qubastore.store import open_store

    with open_store(store_path) as store:
        explanation = explain(store, model, replace(request, cost=cost))
    if format_ == "table" and output is None:
        print_explanation(model, explanation)
    else:
        write_rows(explanation.columns, explanation.rows, format_=format_, output=output)
