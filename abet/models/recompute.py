"""Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): a block keeps its input alone, and runs once more in
the backward pass.

    recompute_blocks(model)

The same bits on a CPU: dropout draws the same channels again, and running statistics see a batch once.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class RecomputableBlock(nn.Module):
    """A residual block: `compute` is what it does."""

    recompute = False
    """Whether training keeps the block's input alone."""

    def compute(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, channels, ceil(h / stride), ceil(w / stride)); ``x`` stays as it is."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """See `compute`."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return self.compute(x)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _statistics_apart(self)

        return cast(Tensor, checkpoint(self.compute, x, use_reentrant=False, context_fn=contexts))


def recompute_blocks(model: nn.Module) -> None:
    """Let every residual block of ``model`` be recomputed in the backward passes of training, from now on."""
    for module in model.modules():
        if isinstance(module, RecomputableBlock):
            module.recompute = True


@contextmanager
def _statistics_apart(block: nn.Module) -> Iterator[None]:
    """While inside, what the block does to its buffers (running statistics, counters) is done to copies.

    Not by ``track_running_stats``: without statistics, a layer would save other tensors than the first time.
    """
    own = [(module, name, buffer) for module in block.modules() for name, buffer in module._buffers.items()]
    for module, name, buffer in own:
        module._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for module, name, buffer in own:
            module._buffers[name] = buffer
