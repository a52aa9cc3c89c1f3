"""Multi-scale deformable attention as one Triton kernel each way; see :mod:`pe_dense.layers.deformable_attention`.

Nothing of the size positions x channels is ever held: a program reads the four cells around each position, adds them up
in registers, and in the backward pass reads them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS = 16  # queries times heads per program


@triton.jit
def _axis(at: Any, cells: Any) -> Any:
    """The cell before a position along an axis, and how far from its centre the position is; NaN stays NaN."""
    at = tl.maximum(at, -2.0, propagate_nan=tl.PropagateNan.ALL)
    at = tl.minimum(at, cells + 1.0, propagate_nan=tl.PropagateNan.ALL)
    cell = tl.floor(at)
    return cell.to(tl.int32), at - cell


@triton.jit
def _position(weights: Any, locations: Any, i: Any, used: Any, width: Any, height: Any) -> Any:
    """Weight of position ``i``, and its cell and what is left over, across and down."""
    weight = tl.load(weights + i, mask=used, other=0.0)
    column, right = _axis(tl.load(locations + 2 * i, mask=used, other=0.0) * width - 0.5, width)
    line, down = _axis(tl.load(locations + 2 * i + 1, mask=used, other=0.0) * height - 0.5, height)
    return weight, column, right, line, down


@triton.jit
def _forward_kernel(
    value: Any, shapes: Any, locations: Any, weights: Any, out: Any,
    rows: Any, tokens: Any, heads: Any, dim: Any, levels: Any, points: Any,
    ROWS: tl.constexpr, DIM: tl.constexpr,
) -> None:  # fmt: skip
    """``ROWS`` of one image's queries times heads; arguments as in :func:`attend`, ``rows`` is Q * M."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    used = row < rows
    image = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, DIM)
    within = channel < dim
    value += image * tokens * heads * dim
    first = (image * rows + row) * levels * points
    total = tl.zeros((ROWS, DIM), tl.float32)
    start = 0
    for level in range(levels):
        height = tl.load(shapes + 2 * level)
        width = tl.load(shapes + 2 * level + 1)
        for point in range(points):
            i = first + level * points + point
            weight, column, right, line, down = _position(weights, locations, i, used, width, height)
            for corner in tl.static_range(4):
                cx = column + corner % 2
                cy = line + corner // 2
                share = (right if corner % 2 else 1 - right) * (down if corner // 2 else 1 - down)
                there = used & (cx >= 0) & (cx < width) & (cy >= 0) & (cy < height)
                at = ((start + cy * width + cx) * heads + row % heads) * dim
                mask = there[:, None] & within[None, :]
                cell = tl.load(value + at[:, None] + channel[None, :], mask=mask, other=0.0).to(tl.float32)
                total += (weight * share)[:, None] * cell
        start += height * width
    target = out + (image * rows + row)[:, None] * dim + channel[None, :]
    tl.store(target, total.to(out.dtype.element_ty), mask=used[:, None] & within[None, :])


@triton.jit
def _backward_kernel(
    value: Any, shapes: Any, locations: Any, weights: Any, grad: Any,
    grad_value: Any, grad_locations: Any, grad_weights: Any,
    rows: Any, tokens: Any, heads: Any, dim: Any, levels: Any, points: Any,
    ROWS: tl.constexpr, DIM: tl.constexpr,
) -> None:  # fmt: skip
    """The gradients of ``ROWS`` of one image's queries times heads; ``grad_value`` is float32 and is added to."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    used = row < rows
    image = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, DIM)
    within = channel < dim
    value += image * tokens * heads * dim
    grad_value += image * tokens * heads * dim
    first = (image * rows + row) * levels * points
    source = grad + (image * rows + row)[:, None] * dim + channel[None, :]
    given = tl.load(source, mask=used[:, None] & within[None, :], other=0.0).to(tl.float32)
    start = 0
    for level in range(levels):
        height = tl.load(shapes + 2 * level)
        width = tl.load(shapes + 2 * level + 1)
        for point in range(points):
            i = first + level * points + point
            weight, column, right, line, down = _position(weights, locations, i, used, width, height)
            by_weight = tl.zeros((ROWS,), tl.float32)
            by_x = tl.zeros((ROWS,), tl.float32)
            by_y = tl.zeros((ROWS,), tl.float32)
            for corner in tl.static_range(4):
                cx = column + corner % 2
                cy = line + corner // 2
                across = right if corner % 2 else 1 - right
                along = down if corner // 2 else 1 - down
                there = used & (cx >= 0) & (cx < width) & (cy >= 0) & (cy < height)
                at = ((start + cy * width + cx) * heads + row % heads) * dim
                mask = there[:, None] & within[None, :]
                place = at[:, None] + channel[None, :]
                cell = tl.load(value + place, mask=mask, other=0.0).to(tl.float32)
                tl.atomic_add(grad_value + place, (weight * across * along)[:, None] * given, mask=mask)
                product = tl.sum(cell * given, axis=1)
                by_weight += across * along * product
                by_x += (2 * (corner % 2) - 1) * along * product
                by_y += (2 * (corner // 2) - 1) * across * product
            tl.store(grad_weights + i, by_weight, mask=used)
            tl.store(grad_locations + 2 * i, by_x * weight * width, mask=used)
            tl.store(grad_locations + 2 * i + 1, by_y * weight * height, mask=used)
        start += height * width


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
        ctx.save_for_backward(value, shapes, locations, weights)
        out = value.new_empty(*weights.shape[:2], value.shape[2] * value.shape[3])
        grid, sizes = _launch(value, weights)
        _forward_kernel[grid](value, shapes, locations, weights, out, *sizes)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:  # type: ignore[override]  # one result
        value, shapes, locations, weights = ctx.saved_tensors
        grad_value = torch.zeros_like(value, dtype=torch.float32)
        grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
        grid, sizes = _launch(value, weights)
        _backward_kernel[grid](
            value, shapes, locations, weights, grad.contiguous(), grad_value, grad_locations, grad_weights, *sizes
        )
        return grad_value.to(value.dtype), None, grad_locations, grad_weights


def _launch(value: Tensor, weights: Tensor) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Grid of programs, and the sizes that both kernels take."""
    batch, tokens, heads, dim = value.shape
    rows, (levels, points) = weights.shape[1] * heads, weights.shape[-2:]
    sizes = (rows, tokens, heads, dim, levels, points, _ROWS, triton.next_power_of_2(dim))
    return (triton.cdiv(rows, _ROWS), batch), sizes


def attend(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """As :func:`pe_dense.layers.deformable_attention.deformable_attention`.

    Args:
        value: B x S x M x D, float32, bfloat16 or float16.
        shapes: (height, width) of each map.
        locations: B x Q x M x L x P x 2, float32.
        weights: B x Q x M x L x P, float32.

    Returns:
        B x Q x (M * D) of the type of ``value``.
    """
    sizes = torch.tensor(list(shapes), dtype=torch.int32).to(value.device, non_blocking=True)
    out: Tensor = _Attend.apply(value, sizes, locations, weights)
    return out
