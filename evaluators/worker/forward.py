"""Forward passes of one model over batches: precision, compilation, attacks, and batches that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qubastore.conditions import COMPILED, Condition
from qubastore.datasets.decoding import open_image
from qubastore.errors import IngestError, OutputError
from qubastore.evaluators.loaders.fixed_images import not_repeatable
from qubastore.evaluators.worker.attacks import fgsm, pgd
from qubastore.evaluators.worker.batch_size import batch_end, work_of
from qubastore.evaluators.worker.held_model import HeldModel
from qubastore.models.fingerprints import same_answers

if TYPE_CHECKING:
    import torch


class ForwardPasses:
    """Runs models on batches on a device.

    Args:
        device: The device.
        device_name: Its name, for messages.
        precision: Precision of the passes, a key of `conditions.SIGNIFICANT_BITS`.
    """

    def __init__(self, device: torch.device, device_name: str, precision: str) -> None:
        self._device, self._device_name, self._precision = device, device_name, precision

    def prepared(self, held: HeldModel, batch: Sequence[bytes]) -> torch.Tensor:
        """The normalised inputs of a model that preprocesses images itself."""
        import torch

        prepare: Any = held.loaded.preprocessing
        stacked = torch.stack([prepare(open_image(data)) for data in batch]).to(self._device, torch.float32)
        return stacked.contiguous(memory_format=torch.channels_last)

    def forward(
        self,
        held: HeldModel,
        inputs: torch.Tensor,
        condition: Condition,
        sample_ids: Sequence[int],
        labels: torch.Tensor,
        seeds: Sequence[int],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The logits and features of a batch, float32 on the device, which may still be computing them.

        The model's batch size is halved when memory runs out. A batch that is larger than it is cut by the samples'
        places in the dataset. Inputs are normalised, except for attacks, which alter pixels and use the first label of
        each sample.
        """
        import torch

        parts: list[torch.Tensor] = []
        features: list[torch.Tensor] = []
        first = 0
        work = work_of(condition)
        while first < len(inputs):
            size = held.batch_sizes[work]
            chosen = slice(first, batch_end(sample_ids, size, first))
            part = inputs[chosen]
            try:
                if condition.is_attack:
                    right = labels[chosen, 0].to(torch.int64)
                    part = held.normalise(attacked(held, part, right, condition, seeds[chosen]))
                module = held.use(condition, self._device)
                held.captured.clear()
                # A network may return its results on another device.
                logits = self.call(held, module, part, size).float().to(self._device)[: len(part)]
                captured = [held.features(len(part)).to(self._device)[: len(part)]] if held.capturing else []
                if work not in held.repeated:
                    self._check_repeatable(held, module, part, size, logits.cpu().numpy())
                    held.repeated.add(work)
                parts.append(logits)
                features += captured
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                if size == 1:
                    raise IngestError(
                        f"{held.loaded.name} does not fit the memory of {self._device_name}, even with a single image",
                        hint="choose a larger GPU, or --precision bf16",
                    ) from error
                # Halves of the size, so that smaller batches are parts of the larger ones.
                size //= 2
                while size > 1 and size >= len(part):
                    size //= 2
                held.batch_sizes[work] = size
                continue
            first += len(part)
        held.captured.clear()
        return _joined(parts), _joined(features) if features else None

    def _check_repeatable(
        self, held: HeldModel, module: torch.nn.Module, part: torch.Tensor, size: int, logits: NDArray[np.float32]
    ) -> None:
        """Check that a network gives the same outputs for the same batch, by running a batch again.

        Only the first batch of each kind of work is checked.

        Raises:
            ModelError: if they differ.
        """
        repeated = self.call(held, module, part, size).float().cpu().numpy()[: len(part)]
        tolerance = 1e-4 if self._precision.startswith("fp32") else 2e-2
        if not same_answers(logits, repeated, tolerance):
            raise not_repeatable(held.loaded.name, logits, repeated)

    def call(self, held: HeldModel, module: torch.nn.Module, part: torch.Tensor, size: int) -> torch.Tensor:
        """The logits of a batch; for compiled code it is padded to `size`, so that it is compiled only once."""
        import torch

        if trained := [type(part).__name__ for part in module.modules() if part.training]:
            raise OutputError(
                f"{trained[0]} is in train mode", expected="eval mode: batch statistics change the outputs"
            )
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        kind = kinds.get(self._precision.removesuffix(COMPILED))
        call: Any = module
        if self._precision.endswith(COMPILED):
            call = held.compile(module)
            padding = part.new_zeros(size - len(part), *part.shape[1:])
            part = torch.cat([part, padding]).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self._device.type, kind, enabled=kind is not None):
            logits: torch.Tensor = call(part)
        return logits


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return parts[0] if len(parts) == 1 else torch.cat(parts)


def attacked(
    held: HeldModel, pixels: torch.Tensor, labels: torch.Tensor, condition: Condition, seeds: Sequence[int]
) -> torch.Tensor:
    """The adversarial pixels for one model, computed in float32 whatever the run's precision."""

    def network(values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = held.module(held.normalise(values))
        return logits

    eps = condition.number("eps")
    capturing, held.capturing = held.capturing, False
    try:
        return _attack(network, pixels, labels, condition, eps, seeds)
    finally:
        held.capturing = capturing


def _attack(
    network: Any,
    pixels: torch.Tensor,
    labels: torch.Tensor,
    condition: Condition,
    eps: float,
    seeds: Sequence[int],
) -> torch.Tensor:
    """Run the attack that a condition names."""
    if condition.kind == "fgsm":
        return fgsm(network, pixels, labels, eps=eps)
    return pgd(
        network,
        pixels,
        labels,
        eps=eps,
        alpha=condition.number("alpha"),
        steps=int(condition.parameters["steps"]),
        seeds=seeds or None,
    )
