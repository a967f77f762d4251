"""Looking up models and runs of the store by the names that users type."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from qubastore.conditions import CLEAN, PILLOW
from qubastore.datasets.label_spaces import UNLABELLED, label_space
from qubastore.errors import UsageError, did_you_mean
from qubastore.lake.database import Database
from qubastore.models.zoo import PREFIX, in_group
from qubastore.runs.run import place


@dataclass(frozen=True)
class RunName:
    """A complete run, with its dataset, framing, condition, precision and decoder.

    Attributes:
        run_id: Its id.
        dataset_id: Id of its dataset.
        dataset: Name of its dataset.
        framing: How images became inputs.
        condition: How inputs were altered.
        precision: Precision of the forward passes.
        decoder: What decoded its images.
        label_space: How the model's outputs map to the dataset's classes.
        kept: Kinds of output that every shard kept.
    """

    run_id: str
    dataset_id: str
    dataset: str
    framing: str
    condition: str
    precision: str
    decoder: str
    label_space: str
    kept: frozenset[str]

    @property
    def place(self) -> str:
        """The dataset, with the framing and condition if they are not the defaults."""
        return place(self.dataset, self.framing, self.condition)

    def check_has_answers(self, name: str) -> None:
        """Refuse a run whose outputs can be neither right nor wrong.

        Args:
            name: The model, for the message.

        Raises:
            UsageError: If its images have no labels, or no output of the model is one of their classes.
        """
        if label_space(self.label_space).rule != "none":
            return
        unlabelled = self.label_space == UNLABELLED
        raise UsageError(
            f"{name} is neither right nor wrong on {self.place}: "
            + ("its images have no labels" if unlabelled else "no output is one of its classes"),
            expected="a dataset with labels in the model's own classes, such as imagenet-val",
            hint=None if unlabelled else f"qubastore probe fits classifiers for {shlex.quote(self.dataset)}",
        )

    @property
    def has_logits(self) -> bool:
        """Whether it kept logits that correspond to the dataset's classes."""
        return "logits" in self.kept and label_space(self.label_space).rule != "none"

    @property
    def way(self) -> str:
        """The precision, with the decoder if it is not the default."""
        return self.precision if self.decoder == PILLOW else f"{self.precision}, {self.decoder}"

    @property
    def task(self) -> tuple[str, str, str, str, str]:
        """The attributes that runs of several models must have in common to be compared image by image."""
        return self.dataset_id, self.framing, self.condition, self.precision, self.decoder


def model_ids(store: Database) -> dict[str, str]:
    """Name -> id of every model in the store, by the names that `qubastore show models` shows."""
    return dict(store.rows("select model, model_id from model_names"))


def named_model(store: Database, text: str, suite: str | None = None) -> tuple[str, str]:
    """The name and id of a model in the store; `zoo:NAME` means the study's model as it was measured here.

    Args:
        store: An open store.
        text: Its name as shown by `qubastore show models`, or `zoo:NAME`.
        suite: The suite for which it is looked up. It decides whether `zoo:NAME` means the model with its own
            preprocessing or with the study's. Without a suite, or if that model is not in the store, it means the one
            that is.

    Raises:
        UsageError: If there is no such model (the error suggests similar names), or `zoo:NAME` is ambiguous.
    """
    names = model_ids(store)
    if text not in names and text.startswith(PREFIX):
        found = _of_zoo(text, names, suite)
        if len(found) == 1:
            return found[0], names[found[0]]
        if len(found) > 1:
            raise UsageError(
                f"{text} means {len(found)} models of the store",
                expected="one of them, by its name",
                found=" and ".join(found),
                hint=f"type {found[0]}",
            )
    if text not in names:
        raise UsageError(
            f"there is no measured model {text!r}", hint=did_you_mean(text, names) or "qubastore show models"
        )
    return text, names[text]


def _of_zoo(text: str, names: Collection[str], suite: str | None) -> list[str]:
    """The names of the stored models that a `zoo:` name can mean: with the model's own or the study's preprocessing."""
    entries = in_group(text.removeprefix(PREFIX))
    if len(entries) != 1:
        return [entry.stored_as for entry in entries if entry.stored_as in names]
    own, reference = entries[0].stored_as, entries[0].stored_as_reference
    if suite is not None:
        meant = reference if entries[0].under(suite) == entries[0].reference else own
        if meant in names:
            return [meant]
    return [name for name in dict.fromkeys((own, reference)) if name in names]


def run_id(store: Database, start: str) -> str:
    """The id of the one run whose id begins with `start`.

    Raises:
        UsageError: If no run's id does, or several do.
    """
    found = [row[0] for row in store.rows("select run_id from runs where starts_with(run_id, ?)", [start])]
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} runs have an id that begins with {start!r}",
            expected="the id of one run, or the start of it",
            found=", ".join(found[:5]) or None,
            hint="qubastore show runs",
        )
    return str(found[0])


def complete_runs_of(store: Database, model_id: str) -> list[RunName]:
    """Every complete run of a model, sorted by dataset, condition, framing, precision and decoder."""
    rows = store.rows(
        """
        with kinds as (select run_id, unnest(kept) as kind from shards),
        counted as (select run_id, kind, count(*) as n from kinds group by run_id, kind),
        kept_everywhere as (
            select counted.run_id, list(counted.kind) as kept
            from counted join runs on runs.run_id = counted.run_id and runs.n_shards = counted.n
            group by counted.run_id
        )
        select run.run_id, run.dataset_id, run.dataset, run.framing, run.condition, run.precision,
            run.decoder, run.label_space, kept
        from run_details as run join kept_everywhere using (run_id)
        where run.model_id = ? and run.complete
        order by run.dataset, run.condition, run.framing, run.precision, run.decoder, run.run_id
        """,
        [model_id],
    )
    return [RunName(*row[:8], frozenset(row[8] or ())) for row in rows]  # type: ignore[call-arg]


def run_text(runs: Sequence[RunName], run: RunName) -> str:
    """The text by which `named_run` finds a run: the dataset's name if that is unambiguous, else the run's id."""
    return run.dataset if _meant(runs, run.dataset) == [run] else run.run_id


def _meant(runs: Sequence[RunName], text: str) -> list[RunName]:
    found = [run for run in runs if run.dataset == text] or [run for run in runs if run.run_id.startswith(text)]
    return usual(found) or found if len(found) > 1 else found


def usual(runs: Sequence[RunName]) -> list[RunName]:
    """The runs on unaltered images in fp32: those decoded by Pillow, or, if there are none, by another decoder."""
    found = [run for run in runs if (run.condition, run.precision) == (CLEAN, "fp32")]
    return [run for run in found if run.decoder == PILLOW] or found


def named_run(store: Database, model: str, runs: Sequence[RunName], text: str) -> RunName:
    """The complete run of a model with a dataset's name or the start of a run's id.

    If there are several runs over the dataset, it is that of `usual`.

    Raises:
        UsageError: If no run matches, or several do.
    """
    found = _meant(runs, text)
    if not found and (
        others := store.rows("select run_id, model from run_details where starts_with(run_id, ?)", [text])
    ):
        raise UsageError(
            f"run {others[0][0]} is a run of {others[0][1]}",
            expected=f"a complete run of {model}",
            hint="qubastore show runs",
        )
    if len(found) != 1:
        known = sorted({run.dataset for run in runs})
        raise UsageError(
            f"{len(found) or 'no'} complete runs of {model} are on {text}",
            expected="exactly one: give the name of a dataset, or the start of a run's id",
            found=", ".join(f"{run.run_id} ({run.place}, {run.way})" for run in found)
            or f"runs on {', '.join(known) or 'nothing'}",
            hint="qubastore show runs",
        )
    return found[0]
