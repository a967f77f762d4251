"""Find the layer that is a network's classifier, linear or a 1 x 1 convolution: its input is the feature vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qubastore.errors import ModelError
from qubastore.evaluators.loaders.fixed_images import fixed_inputs

if TYPE_CHECKING:
    import torch

    from qubastore.evaluators.loaders.loaded import LoadedModel


def find_classifier(loaded: LoadedModel) -> torch.nn.Linear | torch.nn.Conv2d | None:
    """The layer whose output is the network's output: linear, or a 1 x 1 convolution over a single pixel.

    This is the layer that the model's library names as its classifier (timm), else any such layer, but only if a
    forward pass confirms it: the layer is used once, takes one vector per image, and its output is that of the network
    up to a factor and a constant per image (a temperature, a log-softmax). Layers that are used only in training,
    inside the network, or for each patch of an image do not pass that test.

    Args:
        loaded: A network on any device.

    Returns:
        The layer, or None if no layer passes.
    """
    import torch

    seen: dict[torch.nn.Linear | torch.nn.Conv2d, list[tuple[Any, Any]]] = {}

    def note(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = first_tensor(args, kwargs)
        # The activations of the others would fill the memory.
        is_vector = given is not None and given.ndim == 2
        seen.setdefault(layer, []).append((given, output) if is_vector else (None, None))

    layers = [
        part
        for part in loaded.module.modules()
        if isinstance(part, torch.nn.Linear) or (isinstance(part, torch.nn.Conv2d) and part.kernel_size == (1, 1))
    ]
    hooks = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
    try:
        inputs = fixed_inputs(loaded.preprocessing)
        parameter = next(loaded.module.parameters(), None)
        with torch.inference_mode():
            outputs = loaded.module(inputs if parameter is None else inputs.to(parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    found = [layer for layer, uses in seen.items() if len(uses) == 1 and _is_output(*uses[0], outputs)]
    named = _named_by_library(loaded)
    return named if named in found else found[-1] if found else None


def no_features(name: str) -> ModelError:
    """The error for a model whose features are requested, but whose classifier was not found."""
    return ModelError(
        f"features of {name} cannot be determined",
        expected="a linear layer or 1 x 1 convolution that takes one vector per image and gives the network's output",
        found="no such layer",
        hint="--keep outputs,logits; or, for a timm model, ,num_classes=0: without its head it gives features",
    )


def n_features(classifier: torch.nn.Linear | torch.nn.Conv2d) -> int:
    """The length of the vector that a classifier takes."""
    import torch

    return classifier.in_features if isinstance(classifier, torch.nn.Linear) else classifier.in_channels


def first_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """The first tensor among the arguments of a layer, positional or by keyword; None if there is none.

    An image of a single pixel, as a convolution takes it, is given as the vector that it is.
    """
    import torch

    found = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
    return found.flatten(1) if found is not None and found.shape[2:] == (1, 1) else found


def _is_output(given: torch.Tensor | None, output: Any, expected: torch.Tensor) -> bool:
    import torch

    if given is None or given.ndim != 2 or not isinstance(output, torch.Tensor):
        return False
    if output.shape[2:] == (1, 1):
        output = output.flatten(1)
    if output.shape != expected.shape:
        return False
    return torch.equal(output, expected) or torch.allclose(_standard(output), _standard(expected), atol=1e-3)


def _standard(rows: torch.Tensor) -> torch.Tensor:
    """The rows, standardised to mean 0 and standard deviation 1; a constant row becomes NaN, which equals nothing."""
    rows = rows.double()
    centred = rows - rows.mean(dim=1, keepdim=True)
    return centred / centred.pow(2).mean(dim=1, keepdim=True).sqrt()


def _named_by_library(loaded: LoadedModel) -> torch.nn.Module | None:
    """The classifier of a timm model according to timm; None for other networks, and for those with several."""
    import torch

    get_classifier: Any = getattr(loaded.module, "get_classifier", None)
    named = get_classifier() if loaded.loader == "timm" and callable(get_classifier) else None
    return named if isinstance(named, torch.nn.Module) else None
