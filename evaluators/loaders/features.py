"""Which linear layer is a network's classifier: what enters it is the feature vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qubastore.errors import ModelError
from qubastore.evaluators.loaders.fixed_images import fixed_inputs

if TYPE_CHECKING:
    import torch

    from qubastore.evaluators.loaders.loaded import LoadedModel


def find_classifier(loaded: LoadedModel) -> torch.nn.Linear | None:
    """The linear layer whose output is the network's output.

    The layer that the model's own library calls its classifier (timm), else any that is as wide as there are classes,
    but only where running the network shows it: the layer is used once, takes one vector per image, and what it gives
    is what the network returns, up to a factor and a constant for each image (a temperature, a log-softmax). A layer
    that training alone uses, one inside, or one that is asked for each patch of an image fails that test.

    Args:
        loaded: A network on any device.

    Returns:
        The layer; None where none can be shown to be the classifier.
    """
    import torch

    seen: dict[torch.nn.Linear, list[tuple[Any, Any]]] = {}
    layers = [part for part in loaded.module.modules() if isinstance(part, torch.nn.Linear)]
    hooks = [
        layer.register_forward_hook(
            lambda layer, args, kwargs, output: seen.setdefault(layer, []).append((first_tensor(args, kwargs), output)),
            with_kwargs=True,
        )
        for layer in layers
    ]
    try:
        inputs = fixed_inputs(loaded.preprocessing)
        parameter = next(loaded.module.parameters(), None)
        with torch.inference_mode():
            answers = loaded.module(inputs if parameter is None else inputs.to(parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    found = [layer for layer, uses in seen.items() if len(uses) == 1 and _is_answer(*uses[0], answers)]
    named = _named_by_library(loaded)
    return named if named in found else found[-1] if found else None


def no_features(name: str) -> ModelError:
    """The error about a model whose features are asked for, and whose classifier cannot be shown."""
    return ModelError(
        f"features of {name} cannot be told",
        expected="a linear layer that takes one vector per image and whose output is the network's",
        found="none that does",
        hint="--keep outputs,logits",
    )


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """The tensor that a layer was called with, by place or by keyword; None where there is none."""
    import torch

    return next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)


def _is_answer(given: torch.Tensor | None, output: Any, answers: torch.Tensor) -> bool:
    import torch

    if given is None or given.ndim != 2 or not isinstance(output, torch.Tensor) or output.shape != answers.shape:
        return False
    return torch.equal(output, answers) or torch.allclose(_standard(output), _standard(answers), atol=1e-3)


def _standard(rows: torch.Tensor) -> torch.Tensor:
    """Rows with mean 0 and standard deviation 1; a row without spread becomes NaN, which equals nothing."""
    rows = rows.double()
    centred = rows - rows.mean(dim=1, keepdim=True)
    return centred / centred.pow(2).mean(dim=1, keepdim=True).sqrt()


def _named_by_library(loaded: LoadedModel) -> torch.nn.Module | None:
    """What timm calls the classifier of a model; None for other networks, and for those with several."""
    import torch

    ask: Any = getattr(loaded.module, "get_classifier", None)
    named = ask() if loaded.loader == "timm" and callable(ask) else None
    return named if isinstance(named, torch.nn.Module) else None
