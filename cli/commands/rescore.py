"""`qubastore rescore`."""

from __future__ import annotations

import click

from qubastore.cli.options import store_option


@click.command("rescore")
@click.argument("model")
@click.option(
    "--templates",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="File of prompts, one per line; {} stands for the class.",
)
@click.option("--temperature", type=click.FloatRange(0, min_open=True), metavar="T", help="Divide the logits by T.")
@store_option
def command(model: str, templates: str | None, temperature: float | None, store_path: str | None) -> None:
    """Apply other prompts or another temperature to a zero-shot MODEL, from kept image features. No image pass.

    MODEL is an open_clip model that was ingested with --keep outputs,logits,features. The result is a new model, with a
    run for every complete run of MODEL that kept features.

    \b
    Example:
      qubastore rescore open_clip:ViT-B-16/openai --templates prompts.txt
      qubastore rescore open_clip:ViT-B-16/openai --temperature 1.2
    """
    from qubastore.evaluators.rescore import rescore
    from qubastore.store import open_store

    with open_store(store_path, read_only=False) as store:
        result = rescore(
            store,
            model,
            templates=templates,
            temperature=temperature,
            log=lambda text: click.echo(text, err=True),
        )
    click.echo(f"{result.model}: {len(result.runs)} runs, without an image pass")
    for dataset, condition in result.skipped:
        click.echo(f"left out: {dataset} ({condition}) kept no features")
