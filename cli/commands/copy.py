"""`qubastore copy`."""

from __future__ import annotations

import sys

import click


@click.command("copy")
@click.argument("source")
@click.argument("target")
@click.option("--model", "-m", "models", multiple=True, metavar="NAME", help="Only this model's runs. Repeatable.")
def command(source: str, target: str, models: tuple[str, ...]) -> None:
    """Copy a store, or some of its models, into another, and compare both row by row.

    SOURCE and TARGET are folders or URLs. The target is created if it does not exist; what it already has is left
    unchanged, so an interrupted copy resumes where it stopped.

    \b
    Example:
      qubastore copy store 'postgres://ann@db/quba?data=s3://bucket/quba'
      qubastore copy 'postgres://ann@db/quba' laptop --model timm:resnet50.a1_in1k
    """
    from qubastore.errors import StoreNotFoundError
    from qubastore.maintenance.copy import copy_store
    from qubastore.store import init, open_store

    try:
        here = open_store(source)
    except StoreNotFoundError as error:
        raise StoreNotFoundError(
            error.what,
            expected="the store to copy from",
            hint="qubastore copy SOURCE TARGET: SOURCE is the store that exists",
        ) from None
    with here:
        try:
            there = open_store(target, read_only=False)
        except StoreNotFoundError:
            there = init(target)
            click.echo(f"created {there.location}", err=True)
        with there:
            done = copy_store(here, there, models, report=_report)
            click.echo(
                f"{done.models} new models, {done.shards} shards copied; {done.runs} runs with {done.rows:,} rows are"
                f" identical in {there.location}"
            )


def _report(run: str, done: int, shards: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{run}: {done}/{shards} shards", err=True, nl=done == shards)
    elif done == shards:
        click.echo(f"{run}: {shards} shards", err=True)
