"""Batch normalisation that several processes agree on, on every device."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

BatchNormKind = Literal["bn", "sync_bn"]


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose running statistics are the same in all processes: all of them evaluate, and resume,
    the same model. (``nn.SyncBatchNorm`` does not work on CPUs.)

    Args:
        channels: C.
        kind: what a training batch is normalised by in several processes: ``sync_bn`` the mean and variance over the
            batches of all of them, ``bn`` over the process's own.

    Raises:
        ValueError: for another kind.
    """

    def __init__(self, channels: int, kind: BatchNormKind = "sync_bn") -> None:
        super().__init__(channels)
        if kind not in ("bn", "sync_bn"):
            raise ValueError(f"norm '{kind}' is unknown: choose bn, sync_bn or null for none")
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W to the same shape and type."""
        if not self.training or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.kind == "sync_bn"):
            mean, var, count = _statistics(x.float())
        self._track(mean.detach(), var.detach(), count)
        if self.kind == "bn":
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        scale = self.weight * (var + self.eps).rsqrt()
        centred = x - mean.view(-1, 1, 1)
        return (centred * scale.view(-1, 1, 1) + self.bias.view(-1, 1, 1)).type_as(x)

    def _track(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        for statistic, value in (
            (self.running_mean, mean),
            (self.running_var, var * count / (count - 1).clamp(min=1)),
        ):
            assert statistic is not None
            statistic.lerp_(value, self.momentum)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel over the batches of all processes, and over how many positions."""
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    count = mean.new_full((1,), x.numel() / x.shape[1])
    means, variances, counts = _gather(torch.cat([mean, var, count])).split([len(mean), len(mean), 1], dim=1)
    total = counts.detach().sum()
    mean = (counts / total * means).sum(0)
    # variances within the processes, and of the processes' means: no difference of large numbers
    var = (counts / total * (variances + (means - mean) ** 2)).sum(0)
    return mean, var, total


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is the gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def _gather(row: Tensor) -> Tensor:
    """Every process's vector as rows, in rank order. A sum with zeros elsewhere: exact, whatever the backend."""
    place = torch.zeros(dist.get_world_size(), 1, dtype=row.dtype, device=row.device)
    place[dist.get_rank()] = 1
    gathered: Tensor = _Sum.apply(place * row)
    return gathered
