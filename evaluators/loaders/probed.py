"""`probe:NAME`: a backbone and the head of a probe that the store keeps, as one network with gradients."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch

from qubastore.errors import ModelError
from qubastore.evaluators.loaders.features import find_classifier, no_features
from qubastore.evaluators.loaders.loaded import LoadedModel
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.loaders import PROBE
from qubastore.models.model import Model
from qubastore.statistics.logistic import LinearClassifier


@dataclass(frozen=True)
class ProbedModel:
    """A backbone and the linear classifier of its features, for `ModelSource`.

    Attributes:
        name: `probe:NAME`.
        backbone: The backbone's row in the store.
        source: How to load the backbone.
        classifier: The head.
    """

    name: str
    backbone: Model
    source: ModelSource
    classifier: LinearClassifier

    def load(self) -> LoadedModel:
        """The network, unchecked; see `of`."""
        return self.of(self.source.load())

    def of(self, backbone: LoadedModel) -> LoadedModel:
        """The network: the loaded backbone, with this head in place of its own.

        Raises:
            ModelError: if the layer that takes the backbone's features cannot be found.
        """
        head = ProbeLayer(self.classifier)
        # The module may be someone else's, such as that of a model in memory.
        backbone = replace(backbone, module=copy.deepcopy(backbone.module))
        if backbone.output_type == "features":
            module: torch.nn.Module = torch.nn.Sequential(backbone.module, head)
        else:
            layer = find_classifier(backbone)
            if layer is None:
                raise no_features(backbone.name)
            module = _replaced(backbone.module, layer, head)
        return replace(
            backbone,
            name=self.name,
            loader=PROBE,
            module=module.eval(),
            output_type="logits",
            parameters=None,
            texts=None,
        )


class ProbeLayer(torch.nn.Module):
    """A linear classifier of standardised features, in float64: its coefficients may be large and cancel.

    Args:
        classifier: Its coefficients.
    """

    center: torch.Tensor
    scale: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor

    def __init__(self, classifier: LinearClassifier) -> None:
        super().__init__()
        for name, value in vars(classifier).items():
            self.register_buffer(name, torch.from_numpy(value.copy()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(n, width) features, or (n, width, 1, 1) -> logits float32, of the same number of dimensions."""
        flat = features.flatten(1).double()
        logits = (((flat - self.center) / self.scale) @ self.weights.T + self.bias).float()
        return logits if features.ndim == 2 else logits[:, :, None, None]


def _replaced(module: torch.nn.Module, layer: torch.nn.Module, head: ProbeLayer) -> torch.nn.Module:
    """The network with `head` in place of a layer."""
    if module is layer:
        return head
    for parent in module.modules():
        for name, child in parent.named_children():
            if child is layer:
                setattr(parent, name, head)
                return module
    raise ModelError("the classifier of a network is not part of it", expected="a layer among its modules")
