"""Batch normalisation with the statistics of all processes, on CPUs too.

    model = synchronise(build_model(config), device)

torch's SyncBatchNorm refuses CPU tensors; `CpuSyncBatchNorm` serves the processes that talk through gloo.
"""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from abet.models.compiling import uncompiled
from abet.models.precision import at_least_float32


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """``model`` with every BatchNorm2d, also the temperature's, sharing its batch statistics over all processes.

    Call it before the optimiser is made and before the model is wrapped. Parameters and buffers are the same objects
    under the same names, so state dicts stay interchangeable. The model is changed in place; the result is another
    object only when ``model`` itself is a BatchNorm2d. With one process, layers compute exactly what they did.
    """
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    if isinstance(model, nn.BatchNorm2d):
        return CpuSyncBatchNorm.of(model)
    for name, child in model.named_children():
        setattr(model, name, synchronise(child, device))
    return model


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are those of the batches of all processes, however uneven.

    One float64 all-reduce of 2C + 1 numbers forward and one of 2C backward. The gradients of weight and bias stay this
    process's own: whoever wraps the model averages them, as all others. In evaluation, with one process, or without a
    process group it is nn.BatchNorm2d, bit by bit.
    """

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "CpuSyncBatchNorm":
        """A layer around the parameters and buffers of ``norm``."""
        result = cls(
            norm.num_features,
            eps=norm.eps,
            momentum=norm.momentum,
            affine=norm.affine,
            track_running_stats=norm.track_running_stats,
            device="meta",
        )
        result.weight, result.bias = norm.weight, norm.bias
        result.running_mean, result.running_var = norm.running_mean, norm.running_var
        result.num_batches_tracked = norm.num_batches_tracked
        return result.train(norm.training)

    @uncompiled
    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape, type and memory format.

        Raises:
            ValueError: in training, a channel has no second value in any process.
        """
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        statistics = global_statistics(input)
        if statistics.values < 2:
            raise ValueError(f"Expected more than 1 value per channel over all processes, got {tuple(input.shape)}")
        if self.track_running_stats:
            self._track(statistics)
        result: Tensor = _Normalise.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, statistics, self.eps
        )
        return result

    @torch.no_grad()
    def _track(self, statistics: "Statistics") -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = statistics.variance * (statistics.values / (statistics.values - 1))
        for running, value in ((self.running_mean, statistics.mean), (self.running_var, unbiased)):
            running.copy_((1 - share) * running.double() + share * value)


class Statistics(NamedTuple):
    """Of each channel, over all processes."""

    mean: Tensor
    """(C,) float64."""
    variance: Tensor
    """(C,) float64, biased, not below 0."""
    values: int
    """How many per channel."""


@torch.no_grad()
def global_statistics(maps: Tensor) -> Statistics:
    """The statistics of all processes' (B, C, H, W) batches.

    Each process measures its own as batch_norm does; sum, square sum and count are then added up.
    """
    channels = maps.shape[1]
    count = maps.numel() // channels
    sums = torch.zeros(2 * channels + 1, dtype=torch.float64)
    if count:  # batch_norm has no statistics of nothing
        unused = torch.zeros(channels, dtype=at_least_float32(maps))  # running statistics: their type is the results'
        mean, variance = (part.double() for part in torch.batch_norm_update_stats(maps, unused, unused.clone(), 0.0))
        sums = count * torch.cat([torch.ones(1, dtype=torch.float64), mean, variance + mean**2])
    dist.all_reduce(sums)
    total = max(float(sums[0]), 1.0)
    mean, squares = (sums[1:] / total).reshape(2, channels)
    return Statistics(mean, (squares - mean**2).clamp_min(0), int(sums[0]))


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, with statistics that depend on every process's x.

    With xhat the normalised x and sums over the N values of all processes (Ioffe and Szegedy 2015, section 3):
    dx = weight / sqrt(variance + eps) * (dy - sum(dy) / N - xhat * sum(dy * xhat) / N).
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, statistics: Statistics, eps: float) -> Tensor:
        mean, variance = (part.to(at_least_float32(x)) for part in statistics[:2])
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, statistics, ctx.eps = inputs
        mean, variance = (part.to(at_least_float32(x)) for part in statistics[:2])
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.count = statistics.values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        eps = ctx.eps
        scale = (variance + eps).rsqrt()
        sums = torch.zeros(2, len(mean), dtype=torch.float64)
        if x.numel():
            # batch_norm's own kernel for sum(dy * xhat) and sum(dy)
            kernel = torch.ops.aten.native_batch_norm_backward
            _, products, plain = kernel(dy, x, weight, None, None, mean, scale, True, eps, [False, True, True])
            sums = torch.stack([products, plain]).double()
        local = sums.to(mean.dtype, copy=True)
        dist.all_reduce(sums)
        slope = scale if weight is None else scale * weight
        # -slope * (xhat * sum(dy * xhat) + sum(dy)) / N is one more normalisation with other weights
        products, plain = (-slope.double() * sums / ctx.count).to(mean.dtype)
        dx = F.batch_norm(x, mean, variance, products, plain, training=False, eps=eps)
        dx = dx.addcmul_(dy, slope.to(dx.dtype)[:, None, None])
        needs_weight = weight is not None and ctx.needs_input_grad[1]
        return dx, local[0] if needs_weight else None, local[1] if ctx.needs_input_grad[2] else None, None, None
