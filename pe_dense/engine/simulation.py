"""One training step on shapes alone: the bytes that are alive at once, and the floating-point operations.

No number is computed and no memory taken, so that a model of any size can be run anywhere.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from pe_dense.engine.analysis import tensors_in
from pe_dense.structures import Instances

aten = torch.ops.aten

# FlopCounterMode would decompose every other operator as well, which takes most of the time
_FLOPS = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        aten._scaled_dot_product_flash_attention_backward
    ],
}

_NEED_VALUES = {
    "aten::_local_scalar_dense", "aten::_unique2", "aten::unique_consecutive", "aten::nonzero", "aten::index.Tensor",
    "torchvision::nms",
}  # fmt: skip


@dataclass(frozen=True)
class StepCost:
    """What one forward and backward pass takes, in bytes and FLOPs (a multiply-add is two).

    Attributes:
        activations: most bytes alive at once, the batch included, apart from weights, their copies and gradients.
        with_copies: the same with the low-precision copies of weights that autocast makes.
        with_gradients: the same with copies, and with the gradients as the backward pass makes them.
        forward: FLOPs of the forward pass.
        backward: FLOPs of the backward pass, what it recomputes included.
    """

    activations: int
    with_copies: int
    with_gradients: int
    forward: int
    backward: int


@contextmanager
def imitated(model: nn.Module) -> Iterator[nn.Module]:
    """Inside, the tensors of a model that was built on the meta device pass for tensors on a CPU.

    Args:
        model: on the meta device; it stays unusable for anything else.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield model.to_empty(device="cpu")


def training_batch(
    images: int, height: int, width: int, objects: int, labels: Sequence[str] = ("instances",)
) -> list[dict[str, Any]]:
    """Samples of a given size with labels whose values are zero.

    Args:
        images: how many samples.
        height, width: of the images.
        objects: boxes and masks of each image.
        labels: which ones: "instances", "depth", "sem_seg".
    """
    size = (height, width)

    def make(label: str) -> Any:
        if label != "instances":
            return torch.zeros(size, dtype=torch.int64 if label == "sem_seg" else torch.float32)
        boxes, classes = torch.zeros(objects, 4), torch.zeros(objects, dtype=torch.int64)
        return Instances(size, boxes, classes, masks=torch.zeros(objects, *size, dtype=torch.bool))

    return [
        {
            "image": torch.zeros(3, *size, dtype=torch.uint8),
            "height": height,
            "width": width,
            **{label: make(label) for label in labels},
        }
        for _ in range(images)
    ]


def training_step(
    model: nn.Module, batch: list[dict[str, Any]], precision: str = "fp32", selected: float = 0.25
) -> StepCost:
    """Run a forward and a backward pass, and watch.

    Imitated tensors (:func:`imitated`) have no values, so what depends on them is assumed: non-maximum suppression
    keeps every box, and ``selected`` of the candidates are chosen where a model picks rows (the quota of foreground
    regions in R-CNN, which a crowded image fills).

    Args:
        model: in training mode ``model(batch) -> dict[str, Tensor]``; its gradients are set to None afterwards.
        batch: of one process.
        precision: "fp32" or "bf16" (autocast).
        selected: share of the candidates that data-dependent choices keep; without effect on real tensors.
    """
    watch = _Watch(model, batch, selected)
    hooks = [p.register_post_accumulate_grad_hook(watch.gradient) for p in model.parameters() if p.requires_grad]
    model.train()
    try:
        with watch:
            with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext(), _NormsInFloat32():
                losses = model(batch)
            total = torch.stack(list(losses.values())).sum()
            forward = watch.flops
            total.backward()
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad(set_to_none=True)
    activations, with_copies, with_gradients = watch.peaks
    return StepCost(activations, with_copies, with_gradients, forward, watch.flops - forward)


class _NormsInFloat32(TorchFunctionMode):
    """Autocast on a GPU computes norms in float32, on a CPU it does not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (F.layer_norm, F.group_norm):
            args = (args[0].float(), *args[1:])
        return func(*args, **(kwargs or {}))


class _Watch(TorchDispatchMode):
    """Follows every storage from its making to its end.

    Attributes:
        flops: counted so far.
        peaks: of the activations; with copies of weights; with gradients too. In bytes.
    """

    def __init__(self, model: nn.Module, batch: Any, selected: float) -> None:
        super().__init__()
        self.selected = selected
        self.flops = 0
        self.peaks = [0, 0, 0]
        self._weights = {_key(t) for t in (*model.parameters(), *model.buffers())}
        self._alive: dict[int, tuple[int, int]] = {}  # storage -> bytes, kind: 0 activation, 1 copy, 2 gradient
        self._bytes = [0, 0, 0]
        for tensor in tensors_in(batch):
            self._add(tensor, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = self._assumed(func, args)
        if out is None:
            out = func(*args, **kwargs)
        if func.overloadpacket in _FLOPS:
            self.flops += _FLOPS[func.overloadpacket](*args, **kwargs, out_val=out)
        copy = func is aten._to_copy.default and _key(args[0]) in self._weights
        for value in (out,) if isinstance(out, Tensor) else tree_leaves(out):
            if isinstance(value, Tensor):
                self._add(value, int(copy))
        return out

    def _assumed(self, func: Any, args: Any) -> Any:
        """Result of an operator that needs values, if these have none; None for all other operators."""
        name = func.name()
        if name not in _NEED_VALUES or not isinstance(args[0], FakeTensor):
            return None
        if name == "aten::_local_scalar_dense":
            return 0
        if name == "aten::_unique2":  # a single group, which is what torchvision's NMS loops over
            return tuple(args[0].new_empty(1) for _ in range(3))
        if name == "torchvision::nms":
            return torch.zeros(len(args[0]), dtype=torch.int64)
        if name == "aten::unique_consecutive":  # no two are alike
            return tuple(torch.zeros_like(args[0]) for _ in range(3))
        if name == "aten::index.Tensor":
            return self._picked(*args)
        return torch.zeros(int(args[0].numel() * self.selected), args[0].dim(), dtype=torch.int64)

    def _picked(self, values: Tensor, index: Sequence[Tensor | None]) -> Tensor | None:
        """What a boolean mask picks; None for other indices, which need no values."""
        mask = index[0] if len(index) == 1 else None
        if mask is None or mask.dtype != torch.bool:
            return None
        return values.new_empty(int(mask.numel() * self.selected), *values.shape[mask.ndim :])

    def gradient(self, parameter: Tensor) -> None:
        """The storage of ``parameter.grad`` is a gradient from now on."""
        assert parameter.grad is not None
        key = _key(parameter.grad)
        size, kind = self._alive[key]
        self._bytes[kind] -= size
        self._bytes[2] += size
        self._alive[key] = (size, 2)

    def _add(self, tensor: Tensor, kind: int) -> None:
        key = _key(tensor)
        if key in self._alive or key in self._weights:
            return
        storage = tensor.untyped_storage()
        self._alive[key] = (storage.nbytes(), kind)
        weakref.finalize(storage, self._remove, key)
        self._bytes[kind] += storage.nbytes()
        running = 0
        for i, value in enumerate(self._bytes):
            running += value
            self.peaks[i] = max(self.peaks[i], running)

    def _remove(self, key: int) -> None:
        size, kind = self._alive.pop(key)
        self._bytes[kind] -= size


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
