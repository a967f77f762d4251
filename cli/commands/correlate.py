"""`qubastore correlate`."""

from __future__ import annotations

import click

from qubastore.cli.options import output_options, pool_options, store_option
from qubastore.cli.output.heat_map import print_heat_map


@click.command("correlate")
@click.option("--dimensions", metavar="NAME,...", help="Only these dimensions.  [default: all nine]")
@click.option("--where", metavar="SQL", help="Only models that meet an SQL condition on the view `rankable`.")
@pool_options
@store_option
@output_options
def command(
    dimensions: str | None,
    where: str | None,
    source: str,
    suite: str,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Compute Spearman's rank correlation between quality dimensions, over models.

    \b
    Example:
      qubastore correlate
      qubastore correlate --dimensions accuracy,robustness,shape --where "paradigm = 'supervised'" --format csv
    """
    from qubastore.analysis.correlations import correlations
    from qubastore.cli.output.rows import write_rows
    from qubastore.cli.weights import listed
    from qubastore.ranking.request import PoolRequest
    from qubastore.store import open_store

    with open_store(store_path) as store:
        table = correlations(store, PoolRequest(suite, source, where), dimensions=listed(dimensions))
    if format_ == "table" and output is None:
        print_heat_map(table)
    else:
        write_rows(table.columns, table.rows, format_=format_, output=output)
