"""Whether a model fits a task: its classes, its head, its preprocessing, the decoder."""

from __future__ import annotations

import shlex

from qubastore.conditions import PILLOW
from qubastore.datasets.label_spaces import label_space
from qubastore.errors import ModelError, UsageError
from qubastore.evaluators.loaders.features import no_features
from qubastore.evaluators.planning.identify import PlannedModel
from qubastore.evaluators.planning.tasks import Task
from qubastore.evaluators.worker.tensors import MODES
from qubastore.models.spec import ModelSpec


def check_fit(model: PlannedModel, task: Task, keep: tuple[str, ...]) -> None:
    """Refuse what a model cannot be run on.

    Args:
        model: The model.
        task: A dataset under a framing and a condition.
        keep: Kinds of output to keep.

    Raises:
        ModelError: if the model does not fit.
        UsageError: if the request does not.
    """
    dataset, condition = task.dataset, task.condition
    space = label_space(dataset.label_space)
    classes = space.n_outputs or len(dataset.classes)
    if not model.model.has_head:
        _check_fit_of_backbone(model, task, keep)
    elif space.rule != "none" and model.model.num_classes != classes:
        raise ModelError(
            f"{model.title} does not fit the dataset {dataset.name}",
            expected=f"{classes} classes, those of the label space {dataset.label_space}",
            found=f"{model.model.num_classes} classes",
            hint="choose a model trained on these classes",
        )
    if condition.is_attack and space.rule != "identity":
        raise UsageError(
            f"{condition} maximises the loss over the model's own classes, but {dataset.name} has others",
            expected=f"a dataset in the model's own classes, not in the label space {space.name}",
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
    if "features" in keep and model.model.feature_width is None:
        raise no_features(model.title)


def _check_fit_of_backbone(model: PlannedModel, task: Task, keep: tuple[str, ...]) -> None:
    """Refuse what a backbone without a head cannot be asked for: answers."""
    if label_space(task.dataset.label_space).rule != "none":
        raise ModelError(
            f"{model.title} has no head, so it has no answers on {task.dataset.name}",
            expected="a task to probe: NAME=PATH,layout=splits with train and test, or a task of docs/vtab.md",
            hint=f"{_ingest(model)}, then qubastore probe",
        )
    if task.condition.is_attack:
        raise UsageError(f"{task.condition} maximises a loss over classes, and {model.title} has no head")
    if "logits" in keep or "features" not in keep:
        raise UsageError(
            f"{model.title} has no head, so it has features to keep and no logits",
            found=f"--keep {','.join(keep)}",
            hint="--keep outputs,features",
        )


def _ingest(model: PlannedModel) -> str:
    spec = model.source.spec
    if isinstance(spec, ModelSpec):
        return f"qubastore ingest --model {shlex.quote(str(spec))} --dataset NAME=PATH,layout=splits"
    return "ingest(store, [model], own_datasets(NAME, PATH, 'splits'))"


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
