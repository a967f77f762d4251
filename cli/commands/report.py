"""`qubastore report`."""

from __future__ import annotations

import click

from qubastore.cli.options import image_options, refuse_without, store_option


@click.command("report")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    default="report.html",
    show_default=True,
    metavar="FILE",
    help="Where to write the page.",
)
@click.option("--where", metavar="SQL", help="Only models that meet an SQL condition on the view `rankable`.")
@click.option("--model", "-m", "models", multiple=True, metavar="NAME", help="Only this model. Repeatable.")
@click.option("--models", "listed_models", metavar="NAME,...", help="Only these models.")
@click.option("--suite", default="quba", show_default=True, help="Suite: which datasets play which role.")
@click.option(
    "--resamples",
    type=click.IntRange(0),
    default=400,
    show_default=True,
    help="Bootstrap resamples for the intervals of measured models; 0 omits intervals.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "--without-known-faults",
    is_flag=True,
    help="Hide published figures that are known or likely to be wrong when the page opens; it has a switch for them.",
)
@click.option(
    "--images",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    metavar="N",
    help="Add a gallery with up to N images per part, as small thumbnails of at most 6 kB; mind the images' licences.",
)
@image_options(", for --images")
@click.option(
    "--static", metavar="DIR", help="Write figures (SVG, PNG) and tables (Markdown, LaTeX) to this folder instead."
)
@store_option
def command(
    output: str,
    where: str | None,
    models: tuple[str, ...],
    listed_models: str | None,
    suite: str,
    resamples: int,
    seed: int,
    without_known_faults: bool,
    images: int,
    datasets: tuple[str, ...],
    data_root: str | None,
    static: str | None,
    store_path: str | None,
) -> None:
    """Write an interactive report: one HTML file that needs no network and can be mailed.

    It ranks in the browser as `qubastore rank` does, with sliders for the weights; it plots any two dimensions, and
    shows what the store has for each measured model. --images adds a gallery: the most confident mistakes, flips
    between two models, cue conflicts, suspected labels. --static writes the key figures and tables for papers.

    \b
    Example:
      qubastore report
      qubastore report -o cnns.html --where "architecture = 'cnn'"
      qubastore report -m ConvNext-T -m ViT-s-16
      qubastore report --suite digits --images 12
      qubastore report --static figures
    """
    from pathlib import Path

    from qubastore.cli.output.files import check_writable, write_text
    from qubastore.cli.output.rows import log_resampling
    from qubastore.report.collect import collect, split_names
    from qubastore.report.page import render
    from qubastore.store import open_store

    if resamples == 1:
        raise click.UsageError("one resample is not enough for an interval: --resamples 0 omits intervals")
    is_page = static is None
    refuse_without("has no effect with --static", output=is_page, resamples=is_page, seed=is_page, images=is_page)
    refuse_without("needs --images", datasets=images > 0, data_root=images > 0)
    if static is None:
        check_writable(output)
    with open_store(store_path) as store:
        chosen = [*models, *(split_names(store, listed_models, suite) if listed_models else [])]
        if static is not None:
            from qubastore.report.static import write_static

            written = write_static(
                store,
                Path(static),
                where=where,
                models=chosen,
                suite=suite,
                without_known_faults=without_known_faults,
            )
            for path in written:
                click.echo(path)
            return
        data = collect(
            store,
            suite=suite,
            where=where,
            models=chosen,
            resamples=resamples,
            seed=seed,
            without_known_faults=without_known_faults,
            log=log_resampling,
        )
        if images:
            import contextlib

            from qubastore.explorer.gallery import gallery
            from qubastore.explorer.images import Images

            data["gallery"] = gallery(
                store,
                Images(lambda: contextlib.nullcontext(store), datasets, data_root),
                suite,
                list(data["details"]),
                images,
                log=lambda text: click.echo(text, err=True),
            )
    page = render(data)
    write_text(page, output)
    click.echo(f"{output}: {len(data['rows'])} rows, {len(page.encode()) / 1e6:.1f} MB; open it in a browser")
