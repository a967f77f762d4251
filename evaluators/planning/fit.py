"""Whether a model fits a task: its classes, its head, its preprocessing, the decoder."""

from __future__ import annotations

import shlex

from qubastore.conditions import PILLOW
from qubastore.datasets.dataset import Dataset
from qubastore.datasets.label_spaces import UNLABELLED, label_space
from qubastore.errors import ModelError, UsageError
from qubastore.evaluators.loaders.features import no_features
from qubastore.evaluators.pixels.tensors import MODES
from qubastore.evaluators.planning.identify import PlannedModel
from qubastore.evaluators.planning.tasks import Task
from qubastore.models.loaders import PROBE
from qubastore.runs.answers import answer_space, n_outputs
from qubastore.runs.outputs import DEFAULT_KEEP


def kept_kinds(model: PlannedModel, dataset: Dataset, keep: tuple[str, ...] | None) -> tuple[str, ...]:
    """The kinds of output that a run keeps: those requested, else the dataset's choice, as the model has them."""
    if keep:
        return keep
    if not model.model.has_head:
        return ("outputs", "features")
    own = dataset.keep or DEFAULT_KEEP
    # The features of a probe are those of its backbone.
    return DEFAULT_KEEP if model.model.loader == PROBE and "features" in own else own


def check_fit(model: PlannedModel, task: Task, keep: tuple[str, ...]) -> str:
    """Refuse what a model cannot be run on.

    Args:
        model: The model.
        task: A dataset under a framing and a condition.
        keep: Kinds of output to keep.

    Returns:
        How its outputs become the dataset's classes: the name of a label space.

    Raises:
        ModelError: if the model does not fit.
        UsageError: if the request does not.
    """
    dataset, condition = task.dataset, task.condition
    space = answer_space(model.model, dataset.label_space, dataset.classes)
    if space is None:
        raise _other_classes(model, dataset)
    if not model.model.has_head:
        _check_fit_of_backbone(model, task, keep)
    if condition.is_attack and space == UNLABELLED:
        raise UsageError(
            f"{condition} moves images away from their labels, and {dataset.name} has none",
            expected="a dataset with labels",
        )
    if condition.is_attack and label_space(space).rule != "identity":
        raise UsageError(
            f"{condition} maximises the loss over the model's own classes, but {dataset.name} has others",
            expected=f"a dataset in the model's own classes, not in the label space {space}",
        )
    if condition.is_attack and model.model.loader == "onnx":
        raise UsageError(
            f"{condition} needs gradients, and {model.title} runs in onnxruntime, which has none",
            expected="the network in PyTorch: timm, hf, hub, export or python",
        )
    if condition.is_attack and model.preprocessing is None:
        raise ModelError(
            f"{model.title} preprocesses its images itself, so {condition} has no pixels to alter",
            expected="a timm data config: attacks work on pixels in [0, 1], with the normalisation inside the model",
        )
    if condition.is_transformation and model.preprocessing is None:
        raise ModelError(
            f"{model.title} preprocesses its images itself, so {condition} cannot be applied before its crop",
            hint="return a timm data config instead of a function",
        )
    if task.framing != "model" and model.preprocessing is None:
        raise ModelError(
            f"{model.title} preprocesses its images itself, so {dataset.name} cannot be framed as {task.framing}",
            hint="return a timm data config instead of a function, or --framing model",
        )
    if "features" in keep and model.model.loader == PROBE:
        raise UsageError(
            f"the features of {model.title} are those of its backbone",
            hint=f"--keep outputs,logits; and --model {shlex.quote(model.head.backbone if model.head else 'BACKBONE')}"
            " --keep outputs,features in another ingest",
        )
    if "features" in keep and model.model.feature_width is None:
        raise no_features(model.title)
    return space


def _other_classes(model: PlannedModel, dataset: Dataset) -> ModelError:
    """The error for a model with other classes than a dataset."""
    if model.model.loader == PROBE:
        return ModelError(
            f"{model.title} does not fit the dataset {dataset.name}",
            expected=f"the {model.model.num_classes} classes that it was fitted on, in their order",
            found=f"{len(dataset.classes)} classes: {', '.join(dataset.classes[:5])}, ...",
        )
    expected = n_outputs(dataset.label_space, len(dataset.classes))
    if model.model.num_classes == expected:
        labels = model.model.labels
        named = labels if isinstance(labels, str) else ", ".join((labels or [])[:5]) + ", ..."
        return ModelError(
            f"{model.title} does not fit the dataset {dataset.name}: its classes have other names, or another order",
            expected=", ".join(dataset.classes[:5]) + ", ...",
            found=named,
            hint="name the folders of the images as its id2label in config.json names the classes, in that order",
        )
    backbone = f"{model.source.spec},num_classes=0" if model.model.loader == "timm" else None
    return ModelError(
        f"{model.title} does not fit the dataset {dataset.name}",
        expected=f"{expected} classes, those of the label space {dataset.label_space}",
        found=f"{model.model.num_classes} classes",
        hint="choose a model trained on these classes"
        + (f"; or probe its features: {backbone}" if backbone else "; or probe its features: layout=splits"),
    )


def _check_fit_of_backbone(model: PlannedModel, task: Task, keep: tuple[str, ...]) -> None:
    """Refuse what a backbone without a head cannot be asked for: answers."""
    if task.condition.is_attack:
        raise UsageError(
            f"{task.condition} maximises a loss over classes, and {model.title} has no head",
            hint="fit one: qubastore probe --save-as NAME, then --model probe:NAME",
        )
    if "logits" in keep or "features" not in keep:
        raise UsageError(
            f"{model.title} has no head, so it has features to keep and no logits",
            found=f"--keep {','.join(keep)}",
            hint="--keep outputs,features",
        )


def check_decoder(model: PlannedModel, task: Task, decoder: str) -> None:
    """Refuse a model whose images a decoder cannot prepare.

    Raises:
        ModelError: saying why.
    """
    if decoder == PILLOW:
        return
    if model.preprocessing is None:
        raise ModelError(
            f"{model.title} preprocesses its images itself, so the decoder {decoder} has nothing to decode",
            hint=f"--decoder {PILLOW}; or return a timm data config instead of a function",
        )
    interpolation = model.preprocessing.framed(task.framing).under(task.condition).interpolation
    if interpolation not in MODES:
        raise ModelError(
            f"{model.title} resizes images with the filter {interpolation}, which the decoder {decoder} does not have",
            expected=f"one of {', '.join(MODES)}",
            hint=f"--decoder {PILLOW}",
        )


def check_precision(model: PlannedModel, precision: str) -> None:
    """Refuse a precision that a runtime does not follow: its outputs would be stored under the wrong name.

    Raises:
        UsageError: naming what it computes in.
    """
    if model.model.loader == "onnx" and precision != "fp32":
        raise UsageError(
            f"{model.title} runs in onnxruntime, which computes in the graph's own precision, not in {precision}",
            expected="--precision fp32",
        )
