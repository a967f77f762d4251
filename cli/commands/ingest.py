"""`qubastore ingest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from qubastore.cli.options import CountOrAuto, store_option
from qubastore.conditions import DECODERS, PRECISIONS

if TYPE_CHECKING:
    from qubastore.evaluators import IngestReport
    from qubastore.store import Store


@click.command("ingest")
@click.option("--model", "-m", "models", multiple=True, metavar="ID", help="Model, LOADER:NAME; see above. Repeatable.")
@click.option(
    "--dataset", "-d", "datasets", multiple=True, metavar="NAME[=PATH]", help="Dataset; see above. Repeatable."
)
@click.option("--suite", metavar="NAME", help="Run all datasets and conditions of a suite.")
@click.option(
    "--data-root",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Folder with datasets that are known by name, in their original layouts.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    metavar="FILE.toml",
    help="File with models, datasets, a suite and options.",
)
@click.option(
    "--condition",
    "-c",
    "conditions",
    multiple=True,
    metavar="COND",
    help="clean, fgsm(eps=8/255), scale(1.25, 2), ...; see above. Repeatable.  [default: the suite's, else clean]",
)
@click.option(
    "--framing",
    type=click.Choice(["model", "whole"]),
    help="The model's own resize and crop, or the whole image.  [default: the suite's, else the dataset's own]",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    metavar="PRECISION",
    help="Forward pass precision: fp32, bf16 or fp16 (autocast); fp32-compiled, ...: torch.compile.  [default: fp32]",
)
@click.option(
    "--decoder",
    type=click.Choice(DECODERS),
    help="What decodes and resizes images: other pixels, so other runs (docs/decoders.md).  [default: the suite's,"
    " else pillow]",
)
@click.option(
    "--keep",
    metavar="KIND,...",
    help="What to store: outputs, logits, features.  [default: outputs,logits; outputs for ImageNet-C]",
)
@click.option(
    "--batch-size",
    type=CountOrAuto(),
    metavar="N|auto",
    help="Images per forward pass; auto: as many as fit, remembered.  [default: auto on a GPU, else 32]",
)
@click.option("--num-gpus", type=click.IntRange(0), help="GPUs to use; 0 means the CPU.  [default: all]")
@click.option("--num-cpus", type=click.IntRange(1), help="CPUs to use.  [default: all]")
@click.option(
    "--address", metavar="RAY", help="A Ray cluster to join: auto, ray://HOST:PORT.  [default: start one here]"
)
@click.option(
    "--evaluators-per-gpu",
    type=click.IntRange(1),
    metavar="N",
    help="Evaluators that share a GPU, or a node without GPUs.  [default: 1]",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="Only N images of each dataset, evenly spaced; stored as a separate dataset.",
)
@click.option(
    "--intervals",
    is_flag=True,
    help="Also resample each new run, for rank --intervals, report and compare: its accuracy; if it is a suite's clean"
    " run, its calibration and class balance, too.",
)
@click.option("--force", is_flag=True, help="Run everything again and replace existing results.")
@click.option("--strict", is_flag=True, help="Make an image that cannot be decoded an error.")
@click.option("--dry-run", is_flag=True, help="Only show what would be run.")
@store_option
def command(
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    suite: str | None,
    data_root: str | None,
    config: str | None,
    dry_run: bool,
    store_path: str | None,
    **options: Any,
) -> None:
    """Run models over images with Ray, once each, and keep their outputs. What is stored already is not run again.

    \b
    Models:
      timm:NAME.TAG                timm:resnet50.a1_in1k
      torchvision:NAME/WEIGHTS     torchvision:resnet50/IMAGENET1K_V2
      open_clip:ARCH/PRETRAINED    open_clip:ViT-B-16/openai; open_clip:hf-hub:ORG/REPO: zero-shot
      hf:ORG/NAME or hf:FOLDER     transformers: classifiers, vision towers, CLIP and SigLIP (extra hf)
      bcos:NAME                    the study's B-cos networks (extra bcos)
      hub:OWNER/REPO:ENTRY         torch.hub, or hub:FOLDER:ENTRY; runs the repository's code
      export:FILE.pt2              what torch.export saved, with ,preprocess=
      onnx:FILE.onnx               a graph in onnxruntime, with ,preprocess= (extra onnx)
      python:FILE.py:FACTORY       FACTORY() returns (module, timm data config); runs your code
      zoo:NAME or zoo:GROUP        the study's models: zoo:ResNet50-A1, zoo:cnn (qubastore show zoo)
    with ,name=NAME (and ,step=N: a checkpoint of the training NAME) and ,output_type=probabilities (it ends in a
    softmax) or features (open_clip's image tower, or a python network without a head: for tasks to probe) after any of
    them; ,checkpoint=FILE (tensors only, never
    unpickled), ,weights=raw or ema (for a checkpoint with both; default: ema), ,num_classes=N (0 for timm's: no head)
    and ,preprocess=224/0.875/bilinear (size/crop/filter) after all but python's; ,templates=FILE and ,temperature=T
    after open_clip's and hf's, ,pooling=cls, mean, ... after hf's (docs/loaders.md). Models of the zoo have their own
    preprocessing; --suite quba-reference and beyond-imagenet-reference use the study's: separate models.

    \b
    Datasets:
      NAME=PATH                    a folder or s3://BUCKET/PREFIX of class folders, of Hugging Face's tables (Parquet,
                                   or saved to disk; ,split=NAME where there are several), or of tar files
      NAME=PATH,labels=none        images without labels: outputs are kept, and metrics that need labels are absent
      NAME=FILE.csv                a manifest: path, label[, split, attributes...], as CSV, TSV or Parquet
      NAME=PATH,layout=LAYOUT      corruption/severity/class, shape-texture (<shape>/<shape>N-<texture>M.png), or splits
                                   (train, val, test of another task: features are kept, for qubastore probe)
      NAME=PATH,layout=holdout     the same for class folders without splits: about 30 % of the images are the test
      NAME=PATH,order=natural      class folders in timm's order: numbers by value, case-insensitive
      NAME                         a dataset of docs/datasets.md, or a task to probe of docs/vtab.md, under
                                   --data-root

    \b
    Conditions (several values, as in scale(1.25, 2), mean several conditions):
      clean, fgsm(eps=8/255), pgd(eps=8/255, alpha=2/255, steps=10)
      scale(1.25)                  the image resized by that factor, then the standard centre crop
      shift(30)                    the crop moved by that many pixels of the original image along its longer side;
                                   shift(30, direction=right), down or both; order=crop-first: crop before resizing
                                   (after scale and shift: interpolation=bilinear, ...; else the model's own filter)
      resolution(336)              inputs of that many pixels per side
      corrupt(fog, severity=3)     a corruption of ImageNet-C on images of any dataset: made 224 x 224, corrupted, saved
                                   as JPEG; corrupt(fog) means five severities, corrupt(all) all 15 corruptions, 75
                                   conditions (frost needs pip install 'qubastore[frost]')

    \b
    Example:
      qubastore ingest --model timm:resnet18.a1_in1k --dataset imagenet-val=/data/imagenet/val
      qubastore ingest --model timm:resnet18.a1_in1k --suite quba --data-root /data
      qubastore ingest --config suite.toml --dry-run
    """
    from qubastore.evaluators.planning.configuration import read_configuration
    from qubastore.evaluators.planning.find_datasets import find_datasets
    from qubastore.models.zoo import expand_models
    from qubastore.store import open_store

    settings = read_configuration(config)
    settings.options.update(
        {name: value for name, value in options.items() if value is not None and value is not False and value != ()}
    )
    if isinstance(settings.options.get("keep"), str):
        settings.options["keep"] = [kind.strip() for kind in settings.options["keep"].split(",")]
    specs = [*settings.models, *models]
    # Report a misspelt name before listing folders; the driver reports what a group leaves out.
    expand_models([model for model in specs if isinstance(model, str)])
    suite = suite or settings.options.pop("suite", None)
    data_root = data_root or settings.options.pop("data_root", None)
    if suite and settings.suite:
        raise click.UsageError(f"{config} already defines a suite: leave out --suite {suite}")
    if not specs or not (datasets or settings.datasets or suite):
        raise click.UsageError("give at least one --model, and a --dataset or --suite, or a --config that names them")
    if settings.probe is not None and settings.suite is None:
        raise click.UsageError(f"{config} has [probe] and no [suite], which says what the probes are measured by")
    with open_store(store_path, read_only=False) as store:
        sets = [*settings.datasets, *(found for text in datasets for found in find_datasets(text, data_root, _log))]
        if settings.suite is not None and not dry_run:
            from qubastore.runs.records import replace_suite

            own = settings.suite
            store.write(lambda connection: replace_suite(connection, own))
        wanted = {"suite": settings.suite or suite, "data_root": data_root, "probe": settings.probe}
        _run(store, specs, sets, {**settings.options, **wanted}, dry_run=dry_run)


def _log(text: str) -> None:
    click.echo(text, err=True)


def _run(store: Store, specs: list[Any], datasets: list[Any], options: dict[str, Any], *, dry_run: bool) -> None:
    from qubastore.errors import DatasetNotFoundError, IngestError
    from qubastore.evaluators import ingest
    from qubastore.evaluators.probed_ingest import ingest_with_probes
    from qubastore.evaluators.progress import terminal_display

    probe = options.pop("probe")
    how: dict[str, Any] = {**options, "dry_run": dry_run, "display": terminal_display()}
    try:
        if probe is None:
            reports = [ingest(store, specs, datasets, **how)]
        else:
            reports = ingest_with_probes(store, specs, datasets, probe=probe, **how)
    except KeyboardInterrupt:
        click.echo("stopped: committed work is kept; the same command resumes from there", err=True)
        raise
    if dry_run:
        _print_plan(store, reports[0])
        if probe is not None:
            click.echo("then a probe is fitted for each model, and attacked if the suite has attacks")
        return
    for report in reports:
        _print_report(report)
    missing = [each for report in reports for each in report.missing]
    unreadable = [name for name, error in missing if not isinstance(error, DatasetNotFoundError)]
    if unreadable:
        raise IngestError(
            f"{_counted(len(unreadable), 'dataset')} could not be read; the rest is stored",
            found=", ".join(unreadable[:5]),
            hint="fix the errors above, then run the same command again",
        )
    aside = [f"images {first} to {end - 1} of {name}" for report in reports for name, first, end in report.set_aside]
    failed = [f"{model} on {dataset}" for report in reports for model, dataset, _ in report.errors]
    if failed or aside:
        raise IngestError(
            f"{len(failed)} runs failed and {len(aside)} shards were set aside; the rest is stored",
            found="; ".join([*failed, *aside]),
            hint="fix the errors above, then run the same command again",
        )


def _print_report(report: IngestReport) -> None:
    runs = len(report.plan.runs)
    if not runs and not report.errors:
        click.echo("nothing to do: everything requested was left out")
        return
    if not report.plan.todo and not report.errors:
        click.echo(
            f"nothing to do: {'all ' if runs > 1 else ''}{_counted(runs, 'run')} {'are' if runs > 1 else 'is'} complete"
        )
        return
    click.echo(
        f"{_counted(report.images, 'image')} in {report.seconds:.1f} s,"
        f" {len(report.completed)} of {_counted(runs, 'run')} completed"
    )
    for model, place in report.unsupported:
        click.echo(f"recorded: {model} cannot be run on {place}")
    if report.missing:
        names = ", ".join(dict.fromkeys(name.partition("/")[0] for name, _ in report.missing))
        click.echo(f"left out: {names}; qubastore show dimensions --model NAME shows what is missing")
    if report.failures:
        count = _counted(report.failures, "image")
        click.echo(f'{count} could not be decoded: qubastore sql "select distinct key, error from failures"')
    if report.by_pillow:
        click.echo(
            f"{_counted(report.by_pillow, 'image')} decoded by Pillow: not a plain JPEG file, or refused by the decoder"
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _print_plan(store: Store, report: IngestReport) -> None:
    from qubastore.cli.output.rows import write_rows

    speeds = dict(
        store.rows(
            """
            select runs.model_id, sum(shards.n_outputs) / nullif(sum(shards.seconds), 0)
            from shards join runs using (run_id) group by runs.model_id
            """
        )
    )
    rows = []
    for planned in report.plan.runs:
        speed = speeds.get(planned.model.model_id)
        bytes_per_image = _bytes_per_image(planned)
        seconds = planned.n_images / speed if speed else None
        rows.append(
            (
                planned.model.title,
                planned.place,
                f"{planned.n_images}/{len(planned.dataset.samples)}",
                f"{planned.n_images * bytes_per_image / 1e6:.1f}",
                "" if not planned.missing else f"{seconds:.0f}" if seconds is not None else "unknown",
            )
        )
    write_rows(
        ("model", "dataset", "images to run", "MB to store (estimate)", "seconds of forward passes"),
        rows,
        format_="table",
    )
    groups = len(report.plan.groups())
    click.echo(f"{groups} decoding {'pass' if groups == 1 else 'passes'}; nothing was run or stored")


def _bytes_per_image(planned: Any) -> float:
    """Measured on real outputs: about 60 bytes a narrow row, 2.4 bytes a logit or feature at 16 significant bits."""
    vectors = {"logits": planned.model.model.num_classes, "features": planned.model.model.feature_width}
    return 60 + sum(2.4 * (vectors[kind] or 0) for kind in planned.keep if kind in vectors)
