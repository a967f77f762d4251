"""A model on a device, ready for forward passes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qubastore.conditions import Condition
from qubastore.errors import OutputError
from qubastore.evaluators.loaders.features import find_classifier, first_tensor, no_features
from qubastore.evaluators.loaders.loaded import LoadedModel
from qubastore.evaluators.worker.batch_size import Sizes
from qubastore.evaluators.worker.normalisation import Normalisation
from qubastore.evaluators.worker.resolution import at_resolution
from qubastore.models.model import Model

if TYPE_CHECKING:
    import torch


@dataclass
class HeldModel:
    """A model on a device, ready for forward passes.

    Attributes:
        batch_sizes: Images per forward pass, halved when memory runs out.
        settled_sizes: The same before that; they do not change.
    """

    loaded: LoadedModel
    module: torch.nn.Module
    model: Model
    batch_sizes: Sizes
    settled_sizes: Sizes
    input_size: tuple[int, int] | None
    normalisation: Normalisation | None
    resized: dict[int, torch.nn.Module] = field(default_factory=dict)
    compiled: dict[int, Any] = field(default_factory=dict)
    capturing: bool = False
    captured: list[torch.Tensor | None] = field(default_factory=list)
    hooked: bool = False
    repeated: set[str] = field(default_factory=set)

    def watch_features(self) -> None:
        """Capture the input of the classifier in every pass from now on, while `capturing` is true.

        Raises:
            ModelError: if no layer can be verified as the classifier.
        """
        if self.hooked:
            return
        layer = find_classifier(self.loaded)
        if layer is None:
            raise no_features(self.loaded.name)

        def capture(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.capturing:
                self.captured.append(first_tensor(args, kwargs))

        layer.register_forward_pre_hook(capture, with_kwargs=True)
        # Copies for other sizes and compiled code were made without the hook.
        self.resized, self.hooked = {}, True
        self.compiled.clear()

    def features(self, n: int) -> torch.Tensor:
        """The features captured in a pass over n images, (n or more, feature_width) float32, on the device.

        Raises:
            OutputError: if they are not one vector per image, of the width that is recorded for the model.
        """
        captured, width = self.captured, self.model.feature_width
        found = captured[0] if len(captured) == 1 else None
        if found is None or found.ndim != 2 or len(found) < n or found.shape[1] != width:
            shapes = ", ".join("nothing" if each is None else str(tuple(each.shape)) for each in captured)
            raise OutputError(
                f"features of {self.loaded.name} cannot be determined in this pass",
                expected=f"one vector of {width} numbers per image at its classifier",
                found=shapes or "nothing: its classifier was not called",
                hint="--keep outputs,logits",
            )
        return found.detach().float()

    def compile(self, module: torch.nn.Module) -> Any:
        """The network compiled with torch.compile, once."""
        import torch

        if id(module) not in self.compiled:
            self.compiled[id(module)] = torch.compile(module, dynamic=False)
        return self.compiled[id(module)]

    def use(self, condition: Condition, device: torch.device) -> torch.nn.Module:
        """The network for inputs under a condition.

        Raises:
            ResolutionError: if it cannot take inputs of that size.
        """
        size = condition.resolution
        if size is None:
            return self.module
        if size not in self.resized:
            # Keep only one: each is a copy of the network, and jobs are ordered by size.
            self.compiled.clear()
            self.resized = {size: at_resolution(self.module, size, name=self.loaded.name, device=device)}
        return self.resized[size]

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels in [0, 1], normalised for the network, in channels-last order."""
        import torch

        if self.normalisation is not None:
            return self.normalisation.of_pixels(pixels)
        return pixels.contiguous(memory_format=torch.channels_last)
