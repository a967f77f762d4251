"""Adversarial attacks in pixel space: inputs in [0, 1], normalisation inside the model, eval mode, float32.

FGSM: Goodfellow et al., "Explaining and harnessing adversarial examples", ICLR 2015, equation in section 4.
PGD: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018, section 2.1 (L-infinity).
Both are untargeted and maximise the cross-entropy of the label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qubastore.errors import OutputError
from qubastore.hashing import identifier

if TYPE_CHECKING:
    import torch


def fgsm(
    network: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor, labels: torch.Tensor, *, eps: float
) -> torch.Tensor:
    """Attack with FGSM: one step of size `eps` along the sign of the gradient.

    Args:
        network: Pixels (n, 3, h, w) in [0, 1] -> logits (n, n_classes).
        pixels: (n, 3, h, w) float32 in [0, 1].
        labels: (n,) int64.
        eps: Largest change of a pixel, in the range [0, 1] of pixels.

    Returns:
        Adversarial pixels (n, 3, h, w) in [0, 1]; a pixel with gradient 0 is unchanged.
    """
    return (pixels + eps * _gradient(network, pixels, labels).sign()).clamp(0, 1)


def pgd(
    network: Callable[[torch.Tensor], torch.Tensor],
    pixels: torch.Tensor,
    labels: torch.Tensor,
    *,
    eps: float,
    alpha: float,
    steps: int,
    seeds: Sequence[int] | None,
) -> torch.Tensor:
    """Attack with PGD: `steps` steps of size `alpha`, each projected onto the `eps`-ball around the image and [0, 1].

    Args:
        network: Pixels (n, 3, h, w) in [0, 1] -> logits (n, n_classes).
        pixels: (n, 3, h, w) float32 in [0, 1].
        labels: (n,) int64.
        eps: Largest change of a pixel, in the range [0, 1] of pixels.
        alpha: Size of a step, in the same range.
        steps: Number of steps.
        seeds: One per image, for a uniformly random start in the ball; None starts at the image itself.

    Returns:
        Adversarial pixels (n, 3, h, w) in [0, 1].
    """
    adversarial = pixels
    if seeds is not None:
        adversarial = (pixels + eps * _uniform(seeds, pixels)).clamp(0, 1)
    for _ in range(steps):
        moved = adversarial + alpha * _gradient(network, adversarial, labels).sign()
        adversarial = moved.clamp(pixels - eps, pixels + eps).clamp(0, 1)
    return adversarial


def sample_seed(key: str, condition: str) -> int:
    """The seed of a sample, from its key and the condition only, so not from the batch, the shard or the node."""
    return int(identifier("attack", condition, key), 16) >> 1


def _gradient(
    network: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The gradient of the summed cross-entropy: summed, so that an image's gradient does not depend on its batch."""
    import torch

    with torch.enable_grad():
        inputs = pixels.detach().clone().requires_grad_(True)
        loss = torch.nn.functional.cross_entropy(network(inputs), labels, reduction="sum")
        if not loss.requires_grad:
            raise OutputError(
                "the network has no gradient with respect to its input",
                expected="a network whose operations torch can differentiate",
                hint="leave out adversarial conditions for this model",
            )
        (gradient,) = torch.autograd.grad(loss, inputs)
    return gradient.detach()


def _uniform(seeds: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """Uniform noise in [-1, 1), one generator per image, drawn on the CPU so that it is the same for every device."""
    import torch

    noise = [
        torch.rand(like.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float32) * 2 - 1
        for seed in seeds
    ]
    return torch.stack(noise).to(like.device)
