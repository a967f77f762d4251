"""`qubastore new-suite`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new-suite")
@click.argument("folder", metavar="DIR")
@click.option("--output", "-o", metavar="FILE", help="The file to write.  [default: print it]")
@click.option("--name", metavar="NAME", help="Name of the suite and of its dataset.  [default: that of DIR]")
def command(folder: str, output: str | None, name: str | None) -> None:
    """Write a suite for a folder of your own images: which model is the best one for them?

    DIR has train and test (and perhaps val), each with one folder of images per class; or class folders alone, of which
    about 30 % of the images are then held out for testing. The suite has all that these images can tell: accuracy,
    calibration, class balance, corruption and adversarial robustness, and the size of the model. ingest --config runs
    it: features, a probe per model, corruptions and attacks. docs/own-images.md shows an example.

    \b
    Example:
      qubastore new-suite /data/flowers -o flowers.toml
      qubastore ingest --config flowers.toml --model timm:resnet50.a1_in1k --model timm:convnext_tiny.fb_in1k
      qubastore rank --suite flowers
    """
    from qubastore.metrics.new_suite import new_suite

    file = Path(output) if output else None
    if file is not None and file.exists():
        raise click.UsageError(f"{file} exists: give another name, or remove it first")
    made = new_suite(folder, name, file=file)
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    if file is None:
        click.echo(made.text, nl=False)
        return
    from qubastore.cli.output.files import write_text

    write_text(made.text, str(file))
    click.echo(f"wrote {file}: suite {made.name}")
    click.echo(f"next: qubastore ingest --config {file} --model LOADER:NAME --model ...")
