"""`qubastore show ...`: what there is."""

from __future__ import annotations

import click

from qubastore.cli.options import output_options, store_option

QUERIES = {
    "models": """
        select models.name, models.model_id, models.parameters / 1e6 as parameters_m,
            models.input_height || ' x ' || models.input_width as input, models.num_classes as classes,
            models.feature_width, count(runs.run_id) as runs
        from models left join runs using (model_id)
        group by all order by models.name, models.model_id""",
    "datasets": """
        select datasets.name, datasets.dataset_id, datasets.n_samples, datasets.label_space,
            len(datasets.classes) as classes, count(runs.run_id) as runs, datasets.root
        from datasets left join runs using (dataset_id)
        group by all order by datasets.name, datasets.n_samples""",
    "runs": """
        with done as (
            select run_id, sum(n_samples)::bigint as n_done, sum(n_failed)::bigint as n_failed,
                sum(n_outputs) / nullif(sum(seconds), 0) as speed
            from shards group by run_id
        )
        select run.run_id, run.model, run.dataset, run.condition, run.framing, run.precision,
            coalesce(done.n_done, 0) || '/' || run.n_samples as images, coalesce(done.n_failed, 0) as failed,
            if(run.complete, if(run.subset, 'subset', 'complete'), 'unfinished') as state,
            round(done.speed) as images_s
        from run_details as run left join done using (run_id)
        order by run.model, run.dataset, run.condition, run.precision""",
    "suites": "select suite, role, dataset, condition, framing, n_samples from suites order by suite, role, dataset",
    "metrics": "select metric, unit, better, meaning, reference from metrics",
    "dimensions": """
        select dimension, better, round(default_weight, 4) as weight, unit, meaning,
            (select string_agg(name, ', ') from dimension_names as n
             where n.dimension = d.dimension and n.name <> d.dimension) as aliases
        from dimensions as d""",
}


RUN_COLUMNS = ("run_id", "model", "dataset", "condition", "framing", "precision", "n_outputs", "n_failed", "subset")


@click.command("show")
@click.argument("what", type=click.Choice([*QUERIES, "views"]))
@click.argument("name", required=False)
@store_option
@output_options
def command(what: str, name: str | None, store_path: str | None, format_: str, output: str | None) -> None:
    """List models, datasets, runs, suites, views, metrics or dimensions; `show views NAME` tells all about one view.

    \b
    Example:
      qubastore show runs
      qubastore show views calibration
    """
    if what == "views":
        _show_views(name, format_, output)
        return
    if name is not None:
        raise click.UsageError(f"show {what} takes no name")
    from qubastore.cli.present import write_rows
    from qubastore.store import open_store

    with open_store(store_path) as store:
        answer = store.sql(QUERIES[what])
        write_rows(answer.columns, answer.fetchall(), format_=format_, output=output)


def _shortened(comment: str) -> list[str]:
    """A view's comment without blank lines, the columns that most views have in one star."""
    lines = [line for line in comment.splitlines() if line]
    names = [line.partition(":")[0] for line in lines]
    if not set(RUN_COLUMNS) <= set(names):
        return lines
    first = names.index(RUN_COLUMNS[0])
    rest = [line for line, name in zip(lines, names, strict=True) if name not in RUN_COLUMNS]
    return [*rest[:first], "*", *rest[first:]]


def _show_views(name: str | None, format_: str, output: str | None) -> None:
    """Views come from the package: they are the same in every store that this release opens."""
    from qubastore.cli.present import write_rows
    from qubastore.errors import UsageError, did_you_mean
    from qubastore.views import all_views

    views = {view.name: view for view in sorted(all_views(), key=lambda view: view.name)}
    if name is None and format_ == "table":
        for view in views.values():
            click.echo(click.style(view.name, bold=True) + ("(...)" if view.parameters else ""))
            click.echo("".join(f"  {line}\n" for line in _shortened(view.comment)))
        click.echo(f"* the columns of a run: {', '.join(RUN_COLUMNS)}")
        click.echo("qubastore show views NAME: all of one view, with its SQL")
    elif name is None:
        rows = [(view.name, view.comment) for view in views.values()]
        write_rows(("view", "comment"), rows, format_=format_, output=output)
    elif name in views:
        view = views[name]
        click.echo(click.style(name, bold=True) + "\n")
        click.echo(view.comment)
        click.echo(click.style(f"\n{view.select}", dim=True))
    else:
        raise UsageError(f"there is no view {name!r}", hint=did_you_mean(name, views) or "qubastore show views")
