"""`qubastore show ...`: list the contents of a store and of this release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from qubastore.cli.options import output_options, store_option

if TYPE_CHECKING:
    from qubastore.analysis.coverage import MissingRun
    from qubastore.store import Store


SHOWN_MISSING = 3
"""Missing runs that the line of a dimension names, at most."""


SHOWN_COMMANDS = 16
"""Missing runs whose command is shown, at most."""


QUERIES = {
    "models": """
        with measured as (
            -- The newest figure of qubastore bench; show benchmarks has all.
            select model_id, round(arg_max(latency_ms, measured_at), 3) as latency_ms,
                arg_max(device || ' ' || precision, measured_at) as latency_on
            from benchmarks group by model_id
        )
        select costs.model as name, costs.model_id, costs.parameters_m, round(costs.macs_g, 3) as macs_g,
            round(costs.activations_m, 2) as activations_m, costs.input_height || ' x ' || costs.input_width as input,
            round(costs.images_per_second) as images_s, costs.device || ' ' || costs.precision as images_s_on,
            measured.latency_ms, measured.latency_on, count(runs.run_id) as runs, model_names.identity
        from costs join model_names using (model_id) left join runs using (model_id) left join measured using (model_id)
        group by all order by name, costs.model_id""",
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
        select run.run_id, run.model, run.dataset, run.condition, run.framing, run.precision, run.decoder,
            coalesce(done.n_done, 0) || '/' || run.n_samples as images, coalesce(done.n_failed, 0) as failed,
            if(run.complete, if(run.subset, 'subset', 'complete'), 'unfinished') as state,
            round(done.speed) as images_s
        from run_details as run left join done using (run_id)
        order by run.model, run.dataset, run.condition, run.precision, run.decoder""",
    "benchmarks": """
        select model, device, runtime, precision, height || ' x ' || width as input, latency_ms, latency_p99_ms,
            batch_size, images_per_second, peak_memory_mb, energy_j, measured_at
        from benchmarks order by model, device, precision, runtime""",
    "trajectory": """
        select suite, training, step, dimension, value from trajectory order by suite, training, dimension, step""",
    "suites": """
        select suite, role, dataset, condition, framing, decoder, n_samples from suites
        order by suite, role, dataset""",
    "attachments": "select name, kind, location, ranked_table, suite, attached_at from attachments order by name",
    "metrics": "select metric, unit, better, over, meaning, reference from metrics",
    "dimensions": """
        select dimension, better, round(default_weight, 4) as weight, unit, roles, meaning,
            (select string_agg(name, ', ') from dimension_names as n
             where n.dimension = d.dimension and n.name <> d.dimension) as aliases
        from dimensions as d""",
}


RUN_COLUMNS = (
    *("run_id", "model", "dataset", "condition", "framing", "precision", "decoder", "n_outputs", "n_failed", "subset"),
)


@click.command("show")
@click.argument("what", type=click.Choice([*QUERIES, "views", "zoo"]))
@click.argument("name", required=False)
@click.option("--model", metavar="NAME", help="With dimensions: the values of this model, and its missing runs.")
@click.option("--suite", metavar="NAME", help="With dimensions --model: the suite.  [default: quba]")
@store_option
@output_options
def command(
    what: str,
    name: str | None,
    model: str | None,
    suite: str | None,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """List models, datasets, runs, benchmarks, trajectory, suites, attachments, views, metrics, dimensions or the zoo.

    `show views NAME` documents one view, `show dimensions --model NAME` lists a model's values and missing runs.

    \b
    Example:
      qubastore show runs
      qubastore show views calibration
      qubastore show dimensions --model timm:resnet50.a1_in1k
      qubastore show zoo cnn
    """
    if what == "views":
        _show_views(name, format_, output)
        return
    if what == "zoo":
        _show_zoo(name, format_, output)
        return
    if name is not None:
        raise click.UsageError(f"show {what} does not take a name")
    if (model or suite) and (what != "dimensions" or not model):
        raise click.UsageError("--model and --suite belong to show dimensions --model NAME [--suite NAME]")
    from qubastore.cli.output.rows import write_rows
    from qubastore.store import open_store

    with open_store(store_path) as store:
        if model is not None:
            _show_dimensions_of(store, model, suite or "quba", format_, output)
            return
        answer = store.sql(QUERIES[what])
        write_rows(answer.columns, answer.fetchall(), format_=format_, output=output)


def _show_dimensions_of(store: Store, model: str, suite: str, format_: str, output: str | None) -> None:
    """Print the value of each dimension, or its missing runs and the command for each of them."""
    from qubastore.analysis.coverage import collapsed, dimension_states, spec_text
    from qubastore.cli.output.rows import write_rows
    from qubastore.metrics.suites import BUILT_IN

    states = dimension_states(store, model, suite)
    if format_ != "table" or output is not None:
        columns = ("dimension", "value", "missing_run", "reason", "command")
        rows: list[tuple[str | float | None, ...]] = []
        for state in states:
            rows += [(state.dimension, None, missing.run, missing.reason, missing.command) for missing in state.lacks]
            if not state.lacks:
                rows.append((state.dimension, state.value, None, None, None))
        write_rows(columns, rows, format_=format_, output=output)
        return
    click.echo(f"{model} in suite {suite}\n")
    all_missing: dict[str, MissingRun] = {}
    for state in states:
        if state.value is not None:
            click.echo(f"  {state.dimension:<23}{state.value:.6g}")
            continue
        runs = [missing.run for missing in collapsed(state.lacks)]
        more = f" and {len(runs) - SHOWN_MISSING} more" if len(runs) > SHOWN_MISSING else ""
        text = f"lacks {', '.join(runs[:SHOWN_MISSING])}{more}"
        click.echo(f"  {state.dimension:<23}" + click.style(text, fg="yellow"))
        all_missing.update({missing.run: missing for missing in state.lacks})
    shown = collapsed(list(all_missing.values()))
    for number, missing in enumerate(shown):
        if number == 0:
            click.echo("")
        if number == SHOWN_COMMANDS:
            click.echo(f"  ... and {len(shown) - number} more: --format json lists all")
            break
        click.echo(f"  {missing.run}: {missing.reason}")
        if missing.command:
            click.echo(click.style(f"    {missing.command}", dim=True))
    if all_missing and suite in BUILT_IN:
        click.echo("")
        click.echo(f"all of them: qubastore ingest --model {spec_text(model)} --suite {suite} --data-root DIR")


def _show_zoo(group: str | None, format_: str, output: str | None) -> None:
    """Print the study's models and their current weights; they come from the package, so no store is needed."""
    from qubastore.cli.output.rows import write_rows
    from qubastore.models.zoo import REFERENCE_SUITES, in_group, whole_zoo

    entries = whole_zoo() if group is None else in_group(group)
    studies = {entry.study for entry in entries if entry.study_preprocess}
    rows = [
        (e.name, e.architecture, e.pretraining, e.paradigm, e.tuning, e.spec or "-", e.status, e.preprocessing)
        for e in entries
    ]
    columns = ("name", "architecture", "pretraining", "paradigm", "tuning", "model", "weights", "preprocessing")
    write_rows(columns, rows, format_=format_, output=output)
    if format_ == "table" and output is None:
        exact = sum(entry.is_exact for entry in entries)
        other = sum(bool(entry.study_preprocess) for entry in entries)
        click.echo(
            f"{exact} of {len(entries)} resolve to the study's own weights; see the column `weights` for the others"
        )
        if other:
            click.echo(
                f"for {other}, the study did not use the model's own preprocessing; to repeat the study: --suite"
                f" {' and '.join(sorted({s for s, study in REFERENCE_SUITES.items() if study in studies}))}"
            )


def _shortened(comment: str) -> list[str]:
    """The lines of a view's comment without blank lines; `*` replaces the columns that most views have."""
    lines = [line for line in comment.splitlines() if line]
    names = [line.partition(":")[0] for line in lines]
    if not set(RUN_COLUMNS) <= set(names):
        return lines
    first = names.index(RUN_COLUMNS[0])
    rest = [line for line, name in zip(lines, names, strict=True) if name not in RUN_COLUMNS]
    return [*rest[:first], "*", *rest[first:]]


def _show_views(name: str | None, format_: str, output: str | None) -> None:
    """Print the documentation of one view or all; views come from the package and are the same in every store."""
    from qubastore.cli.output.rows import write_rows
    from qubastore.errors import UsageError, did_you_mean
    from qubastore.lake.views import all_views

    views = all_views()
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
