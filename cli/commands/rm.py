"""`qubastore rm ...`."""

from __future__ import annotations

import click

from qubastore.cli.options import store_option


@click.group("rm")
def command() -> None:
    """Remove a model or a run with everything computed from it."""


@command.command("run")
@click.argument("run")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@store_option
def run(run: str, yes: bool, store_path: str | None) -> None:
    """Remove a run: its outputs, logits, features and metrics. RUN is its id, or the beginning of it.

    \b
    Example:
      qubastore rm run 1b7b81c2
    """
    from qubastore.runs import lookup
    from qubastore.runs.removal import remove_run
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        run_id = lookup.run_id(store, run)
        query = "select model, dataset, condition, precision, decoder from run_details where run_id = ?"
        model, dataset, condition, precision, decoder = store.rows(query, [run_id])[0]
        title = f"run {run_id}: {model} on {dataset}, {condition}, {precision}, {decoder}"
        if not yes:
            click.confirm(f"remove {title}?", abort=True)
        store.write(lambda connection: remove_run(connection, run_id))
    click.echo(f"removed {title}")


@command.command("model")
@click.argument("model")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@store_option
def model(model: str, yes: bool, store_path: str | None) -> None:
    """Remove a model with all its runs. MODEL is its name or its id.

    \b
    Example:
      qubastore rm model timm:resnet18.a1_in1k
    """
    from qubastore.errors import UsageError, did_you_mean
    from qubastore.runs.removal import remove_model
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        rows = store.rows("select model_id, model, name from model_names order by model")
        chosen = [(identity, shown) for identity, shown, name in rows if model in (identity, name, shown)]
        if len(chosen) != 1:
            raise UsageError(
                f"{len(chosen)} models are called {model!r}",
                expected="the name or the id of one model",
                found=", ".join(identity for identity, _ in chosen) or None,
                hint=did_you_mean(model, [shown for _, shown, _ in rows]) or "qubastore show models",
            )
        identity, name = chosen[0]
        if not yes:
            click.confirm(f"remove {name} ({identity}) with all its runs?", abort=True)
        runs = store.write(lambda connection: remove_model(connection, identity))
    click.echo(f"removed {name} with {runs} runs")
