"""The cost of one image for a network: multiply-accumulates and activations, counted by torch in a forward pass.

MACs are half of the floating-point operations that `torch.utils.flop_counter` counts in convolutions, matrix products
and attention. Activations are the output elements of those operations (Radosavovic et al., "Designing network design
spaces", CVPR 2020, section 3, with matrix products as well as convolutions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def forward_cost(module: torch.nn.Module, inputs: torch.Tensor) -> tuple[Any, int, int]:
    """Run a network once and count its operations.

    Args:
        module: The network, in eval mode.
        inputs: A batch of one image.

    Returns:
        The output of the network, its MACs, and its activations.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    class Counter(FlopCounterMode):
        """Also sums the output elements of every counted operation."""

        activations = 0

        def _count_flops(self, func_packet: Any, out: Any, args: Any, kwargs: Any) -> Any:
            if func_packet in self.flop_registry:
                first = out[0] if isinstance(out, (tuple, list)) else out
                self.activations += first.numel()
            return super()._count_flops(func_packet, out, args, kwargs)  # type: ignore[no-untyped-call]

    # Fused attention is not counted on the CPU, so use the unfused one, whose matrix products are counted.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        counter = Counter(display=False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            returned = module(inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return returned, counter.get_total_flops() // 2, counter.activations
