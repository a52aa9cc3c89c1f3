"""One model in several processes: a replica in each (DDP), or a shard in each (FSDP2)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm

from pe_dense.engine import distributed as dist
from pe_dense.engine.initialization import initialize


def replicate(model: nn.Module, device: torch.device, static_graph: bool) -> nn.Module:
    """The model itself in a single process, else in DistributedDataParallel.

    Args:
        model: on ``device``, the same in every process.
        device: of this process.
        static_graph: every step uses the same parameters in the same way, once (used on GPUs only).
    """
    if dist.world_size() == 1:
        return model
    # On the CPU a resumed run equals an uninterrupted one bit for bit. DDP's second step would rearrange the buckets,
    # and with them the order in which more than two processes add up; a search for unused parameters prevents that.
    exact = device.type == "cpu"
    if exact:
        warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified", category=UserWarning)
    # buffers are constants here; the argument that says so got another name in later versions of PyTorch
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False, "gradient_as_bucket_view": True}
    options.update({"find_unused_parameters": True} if exact else {"static_graph": static_graph})
    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None, **options)


def shard(
    full: nn.Module | None,
    build: Callable[[], nn.Module],
    device: torch.device,
    bf16: bool = False,
    reshard_after_forward: bool = True,
    compile_units: bool = False,
) -> nn.Module:
    """Build a model whose parameters are spread over all processes (``fully_shard``, FSDP2).

    The units gathered and freed one by one are what sub-modules list in ``shard_units()`` (an encoder's blocks); all
    other parameters form one unit. No process but the main one ever holds the whole model.

    Args:
        full: in the main process the model with its weights, on the CPU; None elsewhere, or in all processes if the
            weights are loaded afterwards.
        build: makes a model of the same structure; called under ``torch.device("meta")``, so it must not load weights.
        device: of this process.
        bf16: gather units in bfloat16 (shards and their gradients stay float32); the other parameters stay float32.
        reshard_after_forward: free a unit between its forward and its backward, and gather it again.
        compile_units: ``torch.compile`` each unit.
    """
    with torch.device("meta"):
        model = build()
    mesh = init_device_mesh(device.type, (dist.world_size(),))
    units = shard_units(model)
    # the block's residual stream and rotations stay float32, autocast decides about each operation
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for unit in units:
        if compile_units:
            unit.compile()
        fully_shard(
            unit,
            mesh=mesh,
            reshard_after_forward=reshard_after_forward,
            mp_policy=policy if bf16 else MixedPrecisionPolicy(),
        )
    fully_shard(model, mesh=mesh)
    model.to_empty(device=device)
    if dist.broadcast_object(full is not None):
        _fill(model, full, device)
    else:
        initialize(model)
    return model


def shard_units(model: nn.Module) -> list[nn.Module]:
    """What the sub-modules of a model list in ``shard_units()``."""
    listed = [getattr(module, "shard_units", None) for module in model.modules()]
    return [unit for units in listed if callable(units) for unit in units()]


@torch.no_grad()
def _fill(model: nn.Module, full: nn.Module | None, device: torch.device) -> None:
    """Parameters and buffers from the main process, one tensor at a time."""
    source: dict[str, Tensor] = {**dict(full.named_parameters()), **dict(full.named_buffers())} if full else {}
    for name, target in [*model.named_parameters(), *model.named_buffers()]:
        value = (
            source[name].detach().to(device) if full else torch.empty(target.shape, dtype=target.dtype, device=device)
        )
        if isinstance(target, DTensor):
            value = distribute_tensor(value, target.device_mesh, target.placements).to_local()
        elif dist.world_size() > 1:
            torch.distributed.broadcast(value, 0)
        local(target).copy_(value)


def is_sharded(model: nn.Module) -> bool:
    """Whether :func:`shard` made it: then all processes must call it equally often."""
    return isinstance(model, FSDPModule)


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor; shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors on the CPU of the main process, empty elsewhere. Called by every process."""
    gathered: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = whole(tensor.detach())
        if dist.is_main():
            gathered[name] = value.cpu().contiguous()
    return gathered


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """L2 norm of all gradients together, over all shards."""
    return whole(get_total_norm([p.grad for p in parameters if p.grad is not None]))
