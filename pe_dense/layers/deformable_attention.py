"""Attention to a few positions, predicted per query, on feature maps of several resolutions.

Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, equation 3). A query reads each map at a few
positions, bilinearly and with zeros around the map. That is a weighted sum of four times as many rows of a table, one
row per cell and head: ``embedding_bag``, which holds none of the rows that it adds up.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Sequence[tuple[int, int]]
_FORWARD_POINTS = 1 << 17  # positions worked on at a time: what lies in between stays in the processor's caches
_BACKWARD_POINTS = 1 << 20  # more, so that each row of the table is added to a few times only
_SUM = 0  # the number of embedding_bag's mode "sum"


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention with its projections; parameter names as in the official files.

    Args:
        dim: channels of queries and values.
        num_heads: M; divides ``dim``.
        num_levels: L, feature maps.
        num_points: P, positions per head and map.

    Raises:
        ValueError: if the heads do not divide the channels.
    """

    def __init__(self, dim: int, num_heads: int = 8, num_levels: int = 4, num_points: int = 4) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"deformable attention: dim {dim} is not divisible by num_heads {num_heads}")
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        positions = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(dim, 2 * positions)
        self.attention_weights = nn.Linear(dim, positions)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.init_weights()

    def init_weights(self) -> None:
        """Whatever the query, each head looks in a direction of its own, each point one cell further (section A.4)."""
        angle = torch.arange(self.num_heads, dtype=torch.float32) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        reach = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        bias = (direction[:, None, None] * reach[:, None]).expand(-1, self.num_levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.flatten())
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, query: Tensor, reference: Tensor, value: Tensor, shapes: Shapes, padding: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            query: B x Q x C.
            reference: B x Q x L x 2 points (x, y) as fractions of each map, from which offsets count in cells; or
                B x Q x L x 4 boxes (centre x, y, width, height), from whose centres the furthest of the first
                initial offsets reaches to the edge.
            value: B x S x C, the cells of all maps one after another.
            shapes: (height, width) of each map.
            padding: B x S, True for cells that count as zero.

        Returns:
            B x Q x C.
        """
        batch, queries, _ = query.shape
        layout = (self.num_heads, self.num_levels, self.num_points)
        cells = self.value_proj(value)
        if padding is not None:
            cells = cells.masked_fill(padding[..., None], 0.0)
        cells = cells.view(batch, -1, self.num_heads, cells.shape[-1] // self.num_heads)
        offsets = self.sampling_offsets(query).float().view(batch, queries, *layout, 2)
        weights = self.attention_weights(query).float().view(batch, queries, self.num_heads, -1).softmax(-1)
        centre = reference[:, :, None, :, None, :2]
        if reference.shape[-1] == 4:
            locations = centre + offsets * reference[:, :, None, :, None, 2:] * (0.5 / self.num_points)
        else:
            sizes = torch.tensor([[width, height] for height, width in shapes], dtype=torch.float32)
            locations = centre + offsets / sizes.to(query.device, non_blocking=True)[:, None]
        out = deformable_attention(cells, shapes, locations, weights.view(batch, queries, *layout))
        return self.output_proj(out)


def deformable_attention(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of values at positions between the cells of feature maps.

    Positions and sums are float32 whatever the type of ``value``. On a GPU with Triton one kernel does it all;
    elsewhere, and while a compiler or exporter traces, PyTorch's own operations.

    Args:
        value: B x S x M x D, the cells of all maps one after another (M heads); S is the sum of height * width.
        shapes: (height, width) of each of the L maps.
        locations: B x Q x M x L x P x 2, positions (x, y) as fractions of a map's width and height: 0 and 1 are the
            outer edges of the first and last cell. Beyond the edges values fall to zero.
        weights: B x Q x M x L x P.

    Returns:
        B x Q x (M * D) of the type of ``value``.

    Raises:
        ValueError: if the sizes do not fit together.
    """
    _check(value, shapes, locations, weights)
    locations, weights = locations.float(), weights.float()
    tracing = torch.compiler.is_compiling()
    if value.is_cuda and _has_triton() and not tracing:
        from pe_dense.layers.deformable_attention_triton import attend  # there is no Triton on every machine

        return attend(value, shapes, locations, weights)
    if tracing:
        images = zip(value.float().flatten(1, 2), locations, weights)
        out = torch.stack([_attend(*image, _Cells.of(shapes, weights)) for image in images])
    else:
        out = _DeformableAttention.apply(value.float(), locations, weights, shapes)
    return out.to(value.dtype)


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _check(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> None:
    cells = sum(height * width for height, width in shapes)
    batch, tokens, heads, _ = value.shape
    expected = (batch, weights.shape[1], heads, len(shapes), weights.shape[-1])
    if tokens != cells or tuple(weights.shape) != expected or tuple(locations.shape) != (*expected, 2):
        raise ValueError(
            f"deformable attention: value {tuple(value.shape)} and maps {list(shapes)} ({cells} cells in all) ask for "
            f"weights of B x Q x {heads} x {len(shapes)} x P and locations of the same and 2; got "
            f"{tuple(weights.shape)} and {tuple(locations.shape)}"
        )


@dataclass
class _Axis:
    """Columns or rows of the map that each head, level and point lies on, N in all.

    Attributes:
        size: N float32, how many there are.
        last: N float32, the last one with another behind it; 0 where there is one only.
        two: N float32, 0 where there is one only, else 1.
        stride: N int32, table rows from one to the next.
        step: N int32, the same, but 0 where there is no next.
    """

    size: Tensor
    last: Tensor
    two: Tensor
    stride: Tensor
    step: Tensor

    @classmethod
    def of(cls, size: Tensor, stride: Tensor) -> _Axis:
        two = size > 1
        return cls(size.float(), (size - 2).clamp(min=0).float(), two.float(), stride.int(), (stride * two).int())

    def place(self, fraction: Tensor) -> _Between:
        """Between which cells positions (q x N fractions of the map's size) lie."""
        at = (fraction * self.size).sub_(0.5)
        cell = torch.minimum(at, self.last).clamp_(min=0).to(torch.int32).clamp_(min=0)  # the latter for NaN
        return _Between.of(cell, at - cell, self)


@dataclass
class _Between:
    """Positions along an axis, and their shares in the two cells on the map that are nearest, q x N each.

    Attributes:
        cell: int32, the first of the two.
        offset: of the position from its centre, in cells; the centre of the second is at 1.
        near, far: shares of the first and the second, zero at a distance of one cell and beyond.
        axis: of the map.
    """

    cell: Tensor
    offset: Tensor
    near: Tensor
    far: Tensor
    axis: _Axis

    @classmethod
    def of(cls, cell: Tensor, offset: Tensor, axis: _Axis) -> _Between:
        # of relu, whose slope at 0 is 0, so that autograd finds the slopes behind a cell's centre, as grid_sample does
        at = offset.clamp(-1, 2)
        ahead = 1 - at
        before_second, before_first = ahead.relu(), (-at).relu_()
        near = before_second.sub(before_first, alpha=2)
        far = (ahead + 1).sub_(before_second, alpha=2).add_(before_first).mul_(axis.two)
        return cls(cell, offset, near, far, axis)

    def blend(self, first: Tensor, second: Tensor) -> Tensor:
        """What lies at the positions, from what lies in the two cells."""
        return torch.addcmul(self.near * first, self.far, second)

    def slope(self, first: Tensor, second: Tensor) -> Tensor:
        """How :meth:`blend` changes with the fraction of the map's size."""
        cell = self.offset.floor()
        before, between, behind = ((cell == k).float() for k in (-1, 0, 1))
        rise = (before - between).mul_(first).addcmul_((between - behind).mul_(self.axis.two), second)
        return rise.mul_(self.axis.size)


@dataclass
class _Cells:
    """Per head, level and point (N in all): the map that it lies on.

    Attributes:
        columns, rows: of the map.
        base: N int32, table row of the map's first cell and of the head.
        heads: M.
    """

    columns: _Axis
    rows: _Axis
    base: Tensor
    heads: int

    @classmethod
    def of(cls, shapes: Shapes, weights: Tensor) -> _Cells:
        heads, levels, points = weights.shape[-3:]
        numbers, start = [], 0
        for rows, columns in shapes:
            numbers.append([columns, heads, rows, columns * heads, start])
            start += rows * columns * heads
        table = torch.tensor(numbers).to(weights.device, non_blocking=True).T[:, None, :, None]
        width, right, height, down, first = table.expand(-1, heads, -1, points).flatten(1).unbind()
        head = torch.arange(heads, device=weights.device).repeat_interleave(levels * points)
        return cls(_Axis.of(width, right), _Axis.of(height, down), (first + head).int(), heads)

    def place(self, locations: Tensor) -> tuple[_Between, _Between]:
        """Between which columns and rows positions (q x M x L x P x 2) lie."""
        return self.columns.place(locations[..., 0].flatten(1)), self.rows.place(locations[..., 1].flatten(1))

    def corners(self, x: _Between, y: _Between) -> list[Tensor]:
        """Table rows of the four cells around positions: upper left, upper right, lower left, lower right."""
        upper = y.cell * self.rows.stride + x.cell * self.columns.stride + self.base
        lower = upper + self.rows.step
        return [upper, upper + self.columns.step, lower, lower + self.columns.step]


def _corner_weights(weights: Tensor, x: _Between, y: _Between) -> list[Tensor]:
    upper, lower = weights * y.near, weights * y.far
    return [upper * x.near, upper * x.far, lower * x.near, lower * x.far]


def _attend(table: Tensor, locations: Tensor, weights: Tensor, cells: _Cells) -> Tensor:
    """q x (M * D) from one image's table and q queries."""
    x, y = cells.place(locations)
    shape = (weights.shape[0] * cells.heads, -1)
    parts = [
        F.embedding_bag(rows.view(shape), table, mode="sum", per_sample_weights=w.view(shape))
        for rows, w in zip(cells.corners(x, y), _corner_weights(weights.flatten(1), x, y))
    ]
    return (parts[0] + parts[1] + parts[2] + parts[3]).view(weights.shape[0], -1)


class _DeformableAttention(torch.autograd.Function):
    """Works in pieces, and computes in the backward pass again what would be large to keep."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, locations: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
        ctx.save_for_backward(value, locations, weights)
        ctx.shapes = shapes
        table = value.flatten(1, 2)
        cells = _Cells.of(shapes, weights)
        out = table.new_empty(*weights.shape[:2], cells.heads * table.shape[-1])
        for b, part in _pieces(weights, _FORWARD_POINTS):
            out[b, part] = _attend(table[b], locations[b, part], weights[b, part], cells)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:  # type: ignore[override]  # one result
        value, locations, weights = ctx.saved_tensors
        table, cells = value.flatten(1, 2), _Cells.of(ctx.shapes, weights)
        grad_table = torch.zeros_like(table) if ctx.needs_input_grad[0] else None
        grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
        for b, part in _pieces(weights, _BACKWARD_POINTS):
            rows = grad[b, part].reshape(-1, table.shape[-1])
            x, y = cells.place(locations[b, part])
            given = weights[b, part].flatten(1)
            corners = cells.corners(x, y)
            upper_left, upper_right, lower_left, lower_right = (_products(table[b], i, rows) for i in corners)
            left, right = y.blend(upper_left, lower_left), y.blend(upper_right, lower_right)
            upper, lower = x.blend(upper_left, upper_right), x.blend(lower_left, lower_right)
            moved = torch.stack([x.slope(left, right), y.slope(upper, lower)], dim=-1).mul_(given[..., None])
            grad_locations[b, part] = moved.view_as(grad_locations[b, part])
            grad_weights[b, part] = x.blend(left, right).view_as(grad_weights[b, part])
            if grad_table is not None:
                _add_to_table(grad_table[b], rows, corners, _corner_weights(given, x, y))
        return None if grad_table is None else grad_table.view_as(value), grad_locations, grad_weights, None


def _pieces(weights: Tensor, points: int) -> Iterator[tuple[int, slice]]:
    """Image and range of queries with about so many positions."""
    step = max(1, points // math.prod(weights.shape[2:]))
    for b in range(weights.shape[0]):
        for start in range(0, weights.shape[1], step):
            yield b, slice(start, start + step)


def _products(table: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Dot product of each position's table row with the gradient of its sum: q x N.

    It is the gradient of ``embedding_bag`` by its weights, here without the sums, which nobody needs again.
    """
    size = index.numel() // len(rows)
    bags = torch.arange(len(rows), dtype=torch.int32, device=index.device)
    flat = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        rows, table, index.flatten(), bags * size, bags.repeat_interleave(size), _SUM
    )
    return flat.view_as(index)


def _add_to_table(grad_table: Tensor, rows: Tensor, corners: list[Tensor], weights: list[Tensor]) -> None:
    """Gradient of the table: sorted by table row, the positions of a row are a bag of rows of the gradient.

    One order serves all four corners: positions that share one share all.
    """
    ordered, order = corners[0].flatten().sort()
    counts = ordered.unique_consecutive(return_counts=True)[1]
    starts = counts.cumsum(0) - counts
    first = order.index_select(0, starts)
    bags, sources = starts.int(), (order // (order.numel() // len(rows))).int()
    for corner, weight in zip(corners, weights):
        given = weight.flatten().index_select(0, order)
        part = F.embedding_bag(sources, rows, bags, mode="sum", per_sample_weights=given)
        grad_table.index_add_(0, corner.flatten().index_select(0, first), part)
