"""`qubastore bench`."""

from __future__ import annotations

import click

from qubastore.cli.options import output_options, store_option
from qubastore.conditions import PRECISIONS


@click.command("bench")
@click.option("--model", "-m", "models", multiple=True, metavar="ID", required=True, help="Model, as for ingest.")
@click.option(
    "--device", type=click.Choice(["gpu", "cpu"]), help="What to measure.  [default: the GPU, where torch finds one]"
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(PRECISIONS),
    metavar="PRECISION",
    help="fp32, bf16 or fp16 (autocast); fp32-compiled, ...: torch.compile. Repeatable.  [default: fp32]",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads, on a CPU.  [default: all cores]")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Time for the latency (at least 100 passes in any case), and for each batch size.",
)
@store_option
@output_options
def command(
    models: tuple[str, ...],
    device: str | None,
    precisions: tuple[str, ...],
    threads: int | None,
    seconds: float,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Measure what forward passes of models cost on this machine's device, and keep the figures in the store.

    Latency (median and 99th percentile of passes of one image), images per second at the best batch size, memory and
    energy. The networks run as in an ingest, on random inputs that are on the device already. Nothing else should run
    on the device meanwhile. Measuring a model again replaces its figures on that device, runtime and precision.

    See also: qubastore show benchmarks, qubastore rank --cost.

    \b
    Example:
      qubastore bench --model timm:resnet50.a1_in1k --model timm:vit_base_patch16_224.augreg2_in21k_ft_in1k
      qubastore bench --model timm:resnet50.a1_in1k --precision fp32 --precision bf16
      qubastore bench --model timm:mobilenetv3_large_100.ra_in1k --device cpu --threads 1
    """
    from qubastore.cli.output.rows import write_rows
    from qubastore.errors import IngestError
    from qubastore.evaluators import bench
    from qubastore.models.zoo import expand_models
    from qubastore.store import open_store

    expand_models(models)
    with open_store(store_path, read_only=False) as store:
        report = bench(
            store,
            models,
            device=device,
            precisions=precisions or ("fp32",),
            threads=threads,
            seconds=seconds,
            log=lambda text: click.echo(text, err=True),
        )
    rows = [
        (
            name,
            found.device,
            found.precision,
            found.latency_p50_ms,
            found.latency_p99_ms,
            found.batch_size,
            found.images_per_second,
            found.peak_memory_mb,
            found.energy_j,
        )
        for name, found in report.benchmarks
    ]
    columns = ("model", "device", "precision", "latency_ms", "latency_p99_ms", "batch_size", "images_per_second")
    if rows:
        write_rows((*columns, "peak_memory_mb", "energy_j"), rows, format_=format_, output=output)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    if report.errors:
        n_models = len(report.errors) + len({name for name, _ in report.benchmarks})
        for name, error in report.errors:
            click.echo(f"{name}: failed\n{error}", err=True)
        raise IngestError(
            f"{len(report.errors)} of {n_models} models could not be measured; the others are stored",
            found="; ".join(name for name, _ in report.errors),
            hint="fix the errors above, then run the same command for these models",
        )
