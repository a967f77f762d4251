"""`qubastore compare`."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import click

from qubastore.cli.options import bootstrap_options, output_options, refuse_without, store_option

if TYPE_CHECKING:
    from qubastore.statistics.options import BootstrapOptions
    from qubastore.store import Store

SHOWN = ("figures", "agreement", "classes", "factors", "flips", "paths")


@click.command("compare")
@click.argument("names", nargs=-1, metavar="A B ...")
@click.option(
    "--show",
    type=click.Choice(SHOWN),
    help="For two models or two runs: figures with paired intervals and tests; agreement and McNemar's test;"
    " differences by class or factor; the images that flip, or only their paths.  [default: agreement]",
)
@click.option("--dataset", "-d", metavar="NAME", help="For models: only this dataset.")
@click.option(
    "--against",
    type=click.Choice(["published"]),
    help="Compare measured models, all or the named ones, with the study's table.",
)
@click.option(
    "--by", metavar="COLUMN", help="A and B are values of this column of `rankable`; without them, all pairs."
)
@click.option(
    "--groups",
    metavar="NAME",
    help="One of the study's comparisons over its listed pairs: adversarial-training, ...; or all.",
)
@click.option(
    "--suite",
    metavar="NAME",
    help="For figures and groups: the suite of the dimensions.  [default: quba; with --against published"
    " quba-reference, or quba for models with nothing else]",
)
@click.option(
    "--source",
    default="auto",
    show_default=True,
    metavar="NAME,...",
    help="For groups: sources of the figures, as in qubastore rank.",
)
@bootstrap_options
@store_option
@output_options
def command(
    names: tuple[str, ...],
    show: str | None,
    dataset: str | None,
    against: str | None,
    by: str | None,
    groups: str | None,
    suite: str | None,
    source: str,
    resamples: int,
    level: float,
    seed: int,
    store_path: str | None,
    format_: str,
    output: str | None,
) -> None:
    """Compare models, runs, groups of models, or measured with published values. No inference.

    Given models of the store (or zoo:NAME), or the beginnings of the ids of two runs: how often each two give the same
    answer, which images only one of them gets right, and McNemar's test. --show figures: the quality dimensions (for
    runs: accuracy, calibration, balance) of two, with intervals and tests over the same resamples of the images. --show
    paths prints the paths of images, the most confident mistakes first, for another program.

    --against published compares in the suite quba-reference, which resizes and crops every image as the study does;
    figures that only quba has are shown and marked, and known faults of published figures are noted.

    Given two SQL conditions on the view `rankable`, or with --by two values of a column (or of tuning: supervised,
    fine-tuned, linear probe, zero-shot): medians, effect size, and a test corrected for nine comparisons. If at least
    half of the smaller group belongs to listed pairs of one backbone (qubastore sql "from study_pairs"), the pairs are
    compared, with Wilcoxon's test and their medians; otherwise the test is Mann-Whitney's.

    With --groups, the study's own comparisons over such pairs: adversarial-training, self-supervised-end-to-end,
    self-supervised-linear-probe, linear-probe, semi-supervised, vision-language, imagenet-21k, transformer, b-cos,
    recipe-a1, recipe-a2, recipe-a3, recipe-a1-a2, recipe-a1-a3, recipe-a2-a3.

    \b
    Example:
      qubastore compare timm:resnet50.a1_in1k zoo:deit3-base-21k --dataset imagenet-val
      qubastore compare timm:resnet50.a1_in1k timm:resnet50.a2_in1k --show figures
      qubastore compare 3f2a 91bc --show flips
      qubastore compare A B --show paths --dataset imagenet-val | head -50
      qubastore compare --against published
      qubastore compare "architecture = 'cnn'" "architecture = 'transformer'"
      qubastore compare supervised self-supervised --by paradigm
      qubastore compare --groups self-supervised-linear-probe
    """
    from qubastore.statistics.options import BootstrapOptions
    from qubastore.store import open_store

    drawn = show == "figures" or against is not None
    refuse_without("goes with --show figures or --against published", resamples=drawn, level=drawn, seed=drawn)
    options = BootstrapOptions(resamples, level, seed)
    if against is not None:
        if show not in (None, "figures") or dataset is not None or by or groups:
            raise click.UsageError(
                "the published table has only figures: leave out --show, --dataset, --by and --groups"
            )
        with open_store(store_path) as store:
            _against_published(store, names, suite, options, format_, output)
        return
    if groups is not None and (names or by or dataset is not None or show is not None):
        raise click.UsageError("--groups takes no models or groups, and no --by, --dataset or --show")
    if groups is None and len(names) < 2 and not (by and not names):
        raise click.UsageError(
            "give two models or more, two runs, two groups, --by COLUMN to compare all its values, --groups NAME, or"
            " --against published"
        )
    with open_store(store_path) as store:
        meant = "groups" if groups is not None or by is not None else _meaning(store, names)
        if meant == "groups" and show is None and dataset is None:
            _compare_groups(store, names, by, groups, suite or "quba", source, format_, output)
        elif by is not None:
            raise click.UsageError("--dataset and --show are for models and runs: leave out --by")
        else:
            runs_asked = meant != "models"
            _compare_models(
                store, names, dataset, show or "agreement", suite, options, format_, output, runs_asked=runs_asked
            )


def _against_published(
    store: Store,
    names: tuple[str, ...],
    suite: str | None,
    options: BootstrapOptions,
    format_: str,
    output: str | None,
) -> None:
    from qubastore.analysis.against_published import against_published
    from qubastore.cli.output.differences import print_difference
    from qubastore.cli.output.rows import log_resampling

    table = against_published(store, names, suite=suite, options=options, log=log_resampling)
    print_difference(table, format_, output)


def _meaning(store: Store, names: tuple[str, ...]) -> str:
    """What the names refer to: `models` if one belongs to the store, a loader or the zoo; `runs`; else `groups`.

    One known model is enough, so that a misspelt second one is reported as an unknown model.
    """
    from qubastore.models.loaders import loader_names

    known = {row[0] for row in store.rows("select model from model_names union select name from models")}
    prefixes = ("zoo:", *(f"{loader}:" for loader in loader_names()))
    if len(names) > 2 or any(name in known or name.startswith(prefixes) for name in names):
        return "models"
    query = "select count(*) from runs where starts_with(run_id, ?)"
    are_runs = all(name.isalnum() and store.rows(query, [name])[0][0] for name in names)
    return "runs" if are_runs else "groups"


def _compare_models(
    store: Store,
    names: tuple[str, ...],
    dataset: str | None,
    show: str,
    suite: str | None,
    options: BootstrapOptions,
    format_: str,
    output: str | None,
    *,
    runs_asked: bool,
) -> None:
    from qubastore.analysis import agreement, differences
    from qubastore.analysis.pairs import pair
    from qubastore.cli.output.agreement import print_pairs
    from qubastore.cli.output.differences import print_difference
    from qubastore.cli.output.rows import log_resampling, write_rows

    refuse_without(
        "is for groups and figures; models are compared on the runs that both have",
        source=False,
        suite=show == "figures",
    )
    runs = differences.named_pair(store, names[0], names[1]) if runs_asked else None
    if runs is not None and dataset is not None:
        raise click.UsageError("two runs are of one dataset: leave out --dataset")
    if show == "figures":
        if len(names) != 2 or dataset is not None:
            raise click.UsageError("--show figures takes two models or two runs, and no --dataset")
        if runs is not None:
            table = differences.of_runs(store, *runs, options=options)
        else:
            a, b = names
            table = differences.of_models(store, a, b, suite=suite or "quba", options=options, log=log_resampling)
        print_difference(table, format_, output)
        return
    if runs is not None:
        pairs = [differences.run_pair(*runs)]
    else:
        pairs = [pair(store, a, b, dataset=dataset) for a, b in combinations(names, 2)]
    table = agreement.TABLES[show](store, pairs)
    if format_ != "table" or output is not None:
        write_rows(table.columns, table.rows, format_=format_, output=output)
    elif show == "paths":
        click.echo("\n".join(row[0] for row in table.rows))
    else:
        print_pairs(pairs, table)


def _compare_groups(
    store: Store,
    names: tuple[str, ...],
    by: str | None,
    groups: str | None,
    suite: str,
    source: str,
    format_: str,
    output: str | None,
) -> None:
    from qubastore.analysis.groups import comparison, study_comparison, values_of
    from qubastore.cli.output.groups import write_comparisons
    from qubastore.errors import check_name
    from qubastore.metrics.study_pairs import COMPARISONS

    if groups is not None:
        chosen = tuple(COMPARISONS) if groups == "all" else (check_name("comparison", groups, tuple(COMPARISONS)),)
        found = [(*COMPARISONS[name], study_comparison(store, name, suite=suite, source=source)) for name in chosen]
        write_comparisons(found, format_, output)
        return
    if len(names) > 2:
        raise click.UsageError("with --by, give two values of the column, or none to compare all of them")
    if names:
        pairs = [(names[0], names[1])]
    else:
        pairs = list(combinations(values_of(store, str(by), suite, source), 2))
        if not pairs:
            raise click.UsageError(f"{by} does not have two values with at least two models each")
    found = [(a, b, comparison(store, a, b, by=by, suite=suite, source=source)) for a, b in pairs]
    write_comparisons(found, format_, output)
